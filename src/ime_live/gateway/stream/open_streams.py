"""Open streams of a process with their identities, to end them and to count usage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from itertools import islice
from typing import Final, Protocol

import structlog

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import AuthenticationError, RefusedError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.limits.usage import Usage

log = structlog.get_logger()

_LINES: Final = 500
"""Log lines that are written without a pause; the queue of lines has room for 10,000."""

_PAUSE: Final = 0.05  # seconds in which the queue of lines empties


class OpenStream(Protocol):
    """Interface to an open stream."""

    def end(self, refusal: RefusedError, /) -> None:
        """End the stream."""

    def take_usage(self) -> tuple[int, int | None]:
        """Return the number of messages and of bytes that were sent since the last call."""


class OpenStreams:
    """All open streams. The usage of a stream is counted at its end and once per day."""

    def __init__(self) -> None:
        """Start without streams."""
        self._identities: dict[OpenStream, Identity] = {}
        self._usage = Usage()

    def add(self, stream: OpenStream, identity: Identity) -> None:
        """Add a stream at its beginning."""
        self._identities[stream] = identity
        self._usage.add(identity.subject, connections=1)

    def remove(self, stream: OpenStream) -> None:
        """Remove a stream and count its usage; a second call does nothing."""
        identity = self._identities.pop(stream, None)
        if identity is not None:
            self._count(stream, identity)

    def __len__(self) -> int:
        """Return the number of open streams."""
        return len(self._identities)

    def end_oldest(self, count: int, refusal: RefusedError) -> None:
        """End a number of streams, the oldest first."""
        for stream in list(islice(self._identities, count)):
            stream.end(refusal)

    def _count(self, stream: OpenStream, identity: Identity) -> None:
        messages, size = stream.take_usage()
        self._usage.add(identity.subject, messages=messages, size=size)

    def recheck(self, check: Callable[[Identity], None]) -> None:
        """End the streams whose tokens are no longer accepted.

        Args:
            check: raises AuthenticationError for an identity that is no longer accepted.
        """
        for stream, identity in list(self._identities.items()):
            try:
                check(identity)
            except AuthenticationError as refusal:
                stream.end(refusal)

    async def report(self, day: str) -> None:
        """Log the usage since the last report, one line per subject.

        Args:
            day: the day of the report, in ISO 8601.
        """
        for stream, identity in list(self._identities.items()):
            self._count(stream, identity)
        for number, (subject, usage) in enumerate(self._usage.take(), 1):
            log.info(
                "usage",
                subject=subject,
                day=day,
                connections=usage.connections,
                messages=usage.messages,
                bytes=usage.bytes,
            )
            if number % _LINES == 0:
                await asyncio.sleep(_PAUSE)

    async def run(self, zone: tzinfo, clock: Clock = SYSTEM_CLOCK) -> None:
        """Log the usage at each midnight of a time zone, until cancelled."""
        day = clock.local(zone).date()
        while True:
            midnight = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(days=1)
            # Not until midnight at once, because the machine's clock may be set.
            if (remaining := midnight.timestamp() - clock.time()) > 0:
                await clock.sleep(min(remaining, 60.0))
                continue
            await self.report(day.isoformat())
            day = clock.local(zone).date()
