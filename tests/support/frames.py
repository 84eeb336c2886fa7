"""Read the frames in the bytes that a client is sent, by the `websockets` library."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any, NamedTuple

import msgspec
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from ime_live.gateway.hub import frames as wire
from ime_live.market import SECTIONS, Aggregate, Payload, PayloadSections, version_of
from ime_live.market_json import read_payload


class Message(NamedTuple):
    """A message as a client understands it."""

    contract: str
    version: int
    payload: Payload | PayloadSections
    skipped: int | None = None

    @property
    def price(self) -> float:
        """The last price, of one that has it."""
        aggregate = self.payload.aggregate
        assert isinstance(aggregate, Aggregate)
        return aggregate.last_price


class Status(NamedTuple):
    """A status message as a client understands it."""

    feed: str | None
    since: str | None
    last_board: str | None
    current: bool
    markets: dict[str, str]
    contracts: dict[str, int | None]
    timestamp: int


class Reader:
    """Reads a stream of frames; a zone of the timestamps is UTC."""

    def __init__(self, *, compressed: bool = False, events: bool = False) -> None:
        self._events = events
        self.last_id = ""
        """Of events: what a client would come back with."""
        self._protocol = Protocol(Side.CLIENT, state=State.OPEN)
        if compressed:
            self._protocol.extensions = [
                PerMessageDeflate(
                    remote_no_context_takeover=True,
                    local_no_context_takeover=True,
                    remote_max_window_bits=wire.WINDOW_BITS,
                    local_max_window_bits=15,
                )
            ]

    def texts(self, data: bytes) -> list[bytes]:
        """The texts of the messages in ``data``, which holds whole frames or events."""
        if self._events:
            return [self._text(event) for event in data.split(b"\n\n")[:-1]]
        self._protocol.receive_data(data)
        if self._protocol.parser_exc is not None:
            raise self._protocol.parser_exc
        frames = [event for event in self._protocol.events_received() if isinstance(event, Frame)]
        assert all(frame.opcode is Opcode.TEXT and frame.fin for frame in frames)
        return [bytes(frame.data) for frame in frames]

    def _text(self, event: bytes) -> bytes:
        *head, text = event.split(b"\n")
        for line in head:
            assert line.startswith(b"id: ")
            self.last_id = line.removeprefix(b"id: ").decode()
        assert text.startswith(b"data: ")
        return text.removeprefix(b"data: ")

    def messages(self, data: bytes) -> list[Message]:
        """The messages in ``data``, all of which are of contracts."""
        return [_message(json.loads(text)) for text in self.texts(data)]

    def read(self, data: bytes) -> list[Message | Status]:
        """The messages in ``data``, in order."""
        decoded = (json.loads(text) for text in self.texts(data))
        return [
            _status(fields) if fields["channel"] == "IME Status" else _message(fields)
            for fields in decoded
        ]


def _status(fields: dict[str, Any]) -> Status:
    assert list(fields) == ["channel", "timestamp", "data"]
    data = fields["data"]
    assert list(data) == ["feed", "since", "lastBoard", "current", "markets", "contracts"]
    contracts = {
        name: None if timestamp is None else version_of(timestamp, UTC)
        for name, timestamp in data["contracts"].items()
    }
    return Status(
        data["feed"],
        data["since"],
        data["lastBoard"],
        data["current"],
        data["markets"],
        contracts,
        version_of(fields["timestamp"], UTC),
    )


def _message(fields: dict[str, Any]) -> Message:
    name_key = "ContractId" if "ContractId" in fields else "contractName"
    skipped = fields.pop("skipped", None)
    assert list(fields) == ["channel", name_key, "timestamp", "data"]
    assert fields["channel"] == "IME Stream"
    data = fields["data"]
    return Message(
        fields[name_key],
        version_of(fields["timestamp"], UTC),
        read_payload(data) if len(data) == len(SECTIONS) else _read_part(data),
        skipped,
    )


def _read_part(data: dict[str, Any]) -> PayloadSections:
    part = msgspec.convert(data, PayloadSections)
    assert json.loads(part.to_json()) == data
    return part
