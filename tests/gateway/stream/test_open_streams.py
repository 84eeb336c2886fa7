"""Open streams: counted once each, ended when their token is not accepted any more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
import structlog

from ime_live.clock import Clock
from ime_live.errors import AuthenticationError, RefusedError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.stream.open_streams import OpenStreams

ALICE, BOB = Identity("alice", None, None), Identity("bob", None, None)


class Stream:
    """A stream that says what it was sent."""

    def __init__(self, streams: OpenStreams) -> None:
        self._streams = streams
        self.sent = 0
        self.ends: list[str] = []

    def end(self, refusal: RefusedError) -> None:
        self.ends.append(refusal.reason)
        self._streams.remove(self)

    def take_usage(self) -> tuple[int, int | None]:
        taken, self.sent = self.sent, 0
        return taken, taken * 100


async def test_report_counts_open_and_ended_streams_once() -> None:
    streams = OpenStreams()
    first, second = Stream(streams), Stream(streams)
    streams.add(first, ALICE)
    streams.add(second, ALICE)
    first.sent, second.sent = 2, 3
    streams.remove(first)
    streams.remove(first)
    with structlog.testing.capture_logs() as lines:
        await streams.report("2026-11-27")
        second.sent = 7
        await streams.report("2026-11-28")
        await streams.report("2026-11-29")
    found = [(each["day"], each["connections"], each["messages"], each["bytes"]) for each in lines]
    assert found[:2] == [("2026-11-27", 2, 5, 500), ("2026-11-28", 0, 7, 700)]


def test_recheck_ends_those_that_are_refused() -> None:
    streams = OpenStreams()
    first, second = Stream(streams), Stream(streams)
    streams.add(first, ALICE)
    streams.add(second, BOB)

    def check(identity: Identity) -> None:
        if identity is ALICE:
            raise AuthenticationError("invalid token")

    streams.recheck(check)
    assert (first.ends, second.ends) == (["invalid token"], [])


async def test_run_reports_at_midnight() -> None:
    moment = datetime(2026, 11, 27, 23, 59, tzinfo=UTC).timestamp()
    streams = OpenStreams()
    streams.add(Stream(streams), ALICE)

    class Day(Clock):
        def time(self) -> float:
            return moment

        async def sleep(self, seconds: float) -> None:
            nonlocal moment
            moment += seconds
            if moment > datetime(2026, 11, 28, 1, tzinfo=UTC).timestamp():
                raise asyncio.CancelledError

    with structlog.testing.capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await streams.run(UTC, Day())
    assert [(each["day"], each["subject"]) for each in lines] == [("2026-11-27", "alice")]
