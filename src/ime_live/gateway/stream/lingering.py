"""Lingering close: end a connection so that the peer sees the last bytes (RFC 9112, 9.6).

To close a socket while the peer is still sending resets the connection, and a reset makes the peer
lose what it has not read yet: the answer or the close frame that says what is wrong. So only our
half is closed, and what still comes is thrown away until the peer closes its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableSet
from typing import Any, Final

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a peer gets to take what was written last and to close its half."""

QUIET: Final = 0.5
"""Seconds without a byte after which a peer has probably sent all that it wanted to."""

# uvloop reads up to 256 kB at a time: 25 MB/s for 1 % of a core.
_PAUSE: Final = 0.01


def read_slowly(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
    """Read nothing for a moment; for a protocol that throws away what it has just been given.

    A peer that sends without end costs the others little, and is noticed when it leaves.
    """
    transport.pause_reading()
    loop.call_later(_PAUSE, transport.resume_reading)


class LingeringClose(asyncio.Protocol):
    """Takes over a transport on which everything is written, and ends it."""

    __slots__ = ("_connections", "_loop", "_quiet", "_silence", "_timer", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        connections: MutableSet[Any],
        loop: asyncio.AbstractEventLoop,
        *,
        timer: asyncio.TimerHandle | None = None,
        quiet: float = 0.0,
    ) -> None:
        """Close our half, and the rest once the peer has closed its own.

        Args:
            transport: not one whose peer has closed its half.
            connections: all connections of the process, which its server waits for.
            loop: of the transport.
            timer: ends the connection at the latest. By default that is `CLOSE_TIMEOUT` after the
                peer has taken everything, however long that lasts.
            quiet: seconds without a byte from the peer after which our half is closed. A proxy
                between us takes the end of our half for the end of the connection.
        """
        self._transport = transport
        self._connections = connections
        self._loop = loop
        self._timer = timer
        self._quiet = quiet
        self._silence: asyncio.TimerHandle | None = None
        connections.add(self)
        transport.set_protocol(self)
        # Whatever is not taken at once pauses us, and when it is taken we are resumed.
        transport.set_write_buffer_limits(high=0)
        if quiet:
            self._silence = loop.call_later(quiet, transport.write_eof)
        else:
            transport.write_eof()
        transport.resume_reading()
        if not transport.get_write_buffer_size():
            self.resume_writing()

    def resume_writing(self) -> None:
        """Everything was taken."""
        if self._timer is None:
            self._timer = self._loop.call_later(CLOSE_TIMEOUT, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Throw it away."""
        del data
        read_slowly(self._transport, self._loop)
        if self._silence is not None:
            self._silence.cancel()
            self._silence = self._loop.call_later(self._quiet, self._transport.write_eof)

    def eof_received(self) -> None:
        """The peer has closed its half; the transport closes ours."""

    def shutdown(self) -> None:
        """The process stops; this connection is ending by itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        del exc
        for timer in (self._timer, self._silence):
            if timer is not None:
                timer.cancel()
        self._connections.discard(self)
