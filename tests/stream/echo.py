"""Echo: ``ime-live serve`` whose streams send every message back, for Autobahn's cases.

Run as ``python -m tests.stream.echo serve …``. All of the gateway is as shipped: the handshake,
the connection's protocol class, pings, closes, limits. Only the `websockets` object that the
protocol class frames with also answers each message that it has read. It is the one place that
sees whole messages of both kinds, and needs no name that the gateway keeps to itself.
"""

from __future__ import annotations

from typing import Final
from unittest.mock import patch

from websockets.frames import Frame, Opcode
from websockets.protocol import Event, Protocol, State

from ime_live.__main__ import main

_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class EchoingProtocol(Protocol):
    """Frames of one connection; each whole message is sent back."""

    _is_text = False
    _message = b""

    def events_received(self) -> list[Event]:
        """The frames that have come, for the gateway; their echoes wait in `data_to_send`."""
        events = super().events_received()
        for event in events:
            if isinstance(event, Frame) and event.opcode in _DATA:
                self._take(event)
        return events

    def _take(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._is_text, self._message = frame.opcode is Opcode.TEXT, b""
        self._message += bytes(frame.data)
        if not frame.fin or self.state is not State.OPEN:
            return
        if not self._is_text:
            self.send_binary(self._message)
        elif _is_utf8(self._message):  # to refuse any other is the gateway's part
            self.send_text(self._message)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


if __name__ == "__main__":
    with patch("ime_live.gateway.stream.websocket.Protocol", EchoingProtocol):
        main()
