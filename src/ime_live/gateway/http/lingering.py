"""Close a connection so that the peer still reads the last bytes (RFC 9112, 9.6).

Closing a socket while the peer is still sending resets the connection. A reset makes the peer
lose what it has not read yet: the response or the close frame that explains the end. So only our
half is closed, and incoming data is discarded until the peer closes its half.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableSet
from typing import Any, Final

from ime_live.clock import Clock

CLOSE_TIMEOUT: Final = 5.0
"""Seconds for a peer to take what was written last and to close its half."""

QUIET: Final = 0.5
"""Seconds without a byte after which a peer has probably sent everything."""

# uvloop reads up to 256 kB at a time: 25 MB/s for 1 % of a core.
_PAUSE: Final = 0.01

# Of all connections: a twentieth of a core. A hundred that were flooded took half of one.
_READS_PER_SECOND: Final = 500


class SlowReader:
    """Lets a process read slowly what it discards.

    Peers that send without end cost others little, however many they are, and are noticed when
    they leave.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], object],
        clock: Clock,
    ) -> None:
        """Make a reader for all connections of a process.

        Args:
            call_later: runs a callable after some seconds.
            clock: measures time.
        """
        self._call_later = call_later
        self._monotonic = clock.monotonic
        self._due = 0.0
        """When the last of the paused connections is read again."""

    def pause(self, transport: asyncio.Transport) -> None:
        """Pause reading for a moment; for a protocol that discards what it reads."""
        transport.pause_reading()
        now = self._monotonic()
        self._due = max(self._due + 1 / _READS_PER_SECOND, now + _PAUSE)
        self._call_later(self._due - now, transport.resume_reading)


class LingeringClose(asyncio.Protocol):
    """Takes over a transport after the last write, and ends it."""

    __slots__ = (
        "_connections",
        "_loop",
        "_quiet",
        "_silence",
        "_slow_reader",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        connections: MutableSet[Any],
        loop: asyncio.AbstractEventLoop,
        slow_reader: SlowReader,
        *,
        timer: asyncio.TimerHandle | None = None,
        quiet: float = 0.0,
    ) -> None:
        """Close our half, and the rest once the peer has closed its own.

        Args:
            transport: the peer must not have closed its half.
            connections: all connections of the process, which its server waits for.
            loop: event loop of the transport.
            slow_reader: that of the process.
            timer: ends the connection at the latest. By default that is `CLOSE_TIMEOUT` after the
                peer has taken everything, however long that lasts.
            quiet: seconds without a byte from the peer after which our half is closed. A proxy
                between us takes the end of our half for the end of the connection.
        """
        self._transport = transport
        self._connections = connections
        self._loop = loop
        self._slow_reader = slow_reader
        self._timer = timer
        self._quiet = quiet
        self._silence: asyncio.TimerHandle | None = None
        connections.add(self)
        transport.set_protocol(self)
        # Data that is not taken at once pauses this protocol; `resume_writing` follows.
        transport.set_write_buffer_limits(high=0)
        if quiet:
            self._silence = loop.call_later(quiet, transport.write_eof)
        else:
            transport.write_eof()
        transport.resume_reading()
        if not transport.get_write_buffer_size():
            self.resume_writing()

    def resume_writing(self) -> None:
        """Start the timer: the peer has taken everything."""
        if self._timer is None:
            self._timer = self._loop.call_later(CLOSE_TIMEOUT, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Discard the data."""
        del data
        self._slow_reader.pause(self._transport)
        if self._silence is not None:
            self._silence.cancel()
            self._silence = self._loop.call_later(self._quiet, self._transport.write_eof)

    def eof_received(self) -> None:
        """The peer has closed its half; the transport closes ours."""

    def shutdown(self) -> None:
        """Do nothing: this connection is ending already."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers; the connection is gone."""
        del exc
        for timer in (self._timer, self._silence):
            if timer is not None:
                timer.cancel()
        self._connections.discard(self)
