"""Close a connection so that the peer still reads the last bytes (RFC 9112, 9.6).

A socket that is closed while the peer is still sending resets the connection. After a reset the
peer loses the data that it has not read yet: the response or the close frame with the reason. So
only our half is closed, and incoming data is discarded until the peer closes its half.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableSet
from typing import Any, Final

from ime_live.clock import Clock

CLOSE_TIMEOUT: Final = 5.0
"""Seconds in which a peer must read the last data and close its half."""

QUIET: Final = 0.5
"""Seconds without a byte after which a peer has probably sent everything."""

# Seconds between two reads of a connection. uvloop reads up to 256 kB at once, so 25 MB/s take 1 %
# of a core.
_PAUSE: Final = 0.01

# Limit for all connections together, which takes 5 % of a core. Without it, a hundred peers that
# sent without end took 50 %.
_READS_PER_SECOND: Final = 500


class SlowReader:
    """Limits the rate at which a process reads data that it discards.

    So peers that send without end take little CPU, however many they are. Reading must continue, or
    the end of a connection would not be noticed.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], object],
        clock: Clock,
    ) -> None:
        """Make a reader for all connections of a process.

        Args:
            call_later: runs a callable after a delay [s].
            clock: the machine's clock, for durations.
        """
        self._call_later = call_later
        self._monotonic = clock.monotonic
        self._due = 0.0
        """When the last of the paused connections resumes reading [s]."""

    def pause(self, transport: asyncio.Transport) -> None:
        """Pause reading briefly; call this after each read of data that is discarded."""
        transport.pause_reading()
        now = self._monotonic()
        self._due = max(self._due + 1 / _READS_PER_SECOND, now + _PAUSE)
        self._call_later(self._due - now, transport.resume_reading)


class LingeringClose(asyncio.Protocol):
    """Protocol of a transport after the last write: closes our half, then the connection."""

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
        """Take over a transport and close our half.

        Args:
            transport: the transport; the peer must not have closed its half.
            connections: all connections of the process; the server waits for them when it stops.
            loop: event loop of the transport.
            slow_reader: the slow reader of the process.
            timer: timer that aborts the connection. By default it is aborted `CLOSE_TIMEOUT`
                seconds after all data was written to the kernel.
            quiet: time without a byte from the peer after which our half is closed [s]. Some
                proxies end the connection when our half is closed.
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
        # asyncio then calls `resume_writing` as soon as the buffer is empty.
        transport.set_write_buffer_limits(high=0)
        if quiet:
            self._silence = loop.call_later(quiet, transport.write_eof)
        else:
            transport.write_eof()
        transport.resume_reading()
        if not transport.get_write_buffer_size():
            self.resume_writing()

    def resume_writing(self) -> None:
        """Start the timer, because all data was written to the kernel."""
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
        """Let the transport close, because the peer has closed its half."""

    def shutdown(self) -> None:
        """Do nothing: this connection is ending already."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, because the connection has ended."""
        del exc
        for timer in (self._timer, self._silence):
            if timer is not None:
                timer.cancel()
        self._connections.discard(self)
