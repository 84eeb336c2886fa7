"""The choice between hub and boards: with sources and a clock of the test's own, and for real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Self

import pytest

from ime_live.errors import SettingsError
from ime_live.feeds.ime.frame_source import ConnectionState
from ime_live.feeds.ime.polling import PATHS
from ime_live.feeds.ime.source import POLLED_AFTER, ExchangeSource
from ime_live.settings import SignalRHubSettings
from tests.feeds.ime.reading import settings
from tests.support.boards import future, numbers, row
from tests.support.clock import FakeClock
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal

AWAY = ConnectionState(error="nobody there")
THERE = ConnectionState(source="webSockets")
POLLED = ConnectionState(source="polling")


async def settle() -> None:
    """Let all tasks go on as far as they can without the clock."""
    for _ in range(20):
        await asyncio.sleep(0)


class WaitedClock(FakeClock):
    """A clock whose waits end when `run` has come to their time."""

    def __init__(self) -> None:
        super().__init__()
        self._alarms: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        alarm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._alarms.append((self.now + seconds, alarm))
        await alarm

    async def run(self, seconds: float) -> None:
        until = self.now + seconds
        await settle()
        while due := [each for each in self._alarms if each[0] <= until]:
            first = min(due, key=lambda each: each[0])
            self._alarms.remove(first)
            self.now = max(self.now, first[0])
            if not first[1].done():
                first[1].set_result(None)
            await settle()
        self.now = until


class Given:
    """A source that gives what the test gives it."""

    def __init__(self, state: ConnectionState) -> None:
        self.connection_state = state
        self.coming: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.begun = 0
        self.ended = 0
        self.taken = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def frames(self) -> AsyncGenerator[bytes, None]:
        self.begun += 1
        try:
            while True:
                frame = await self.coming.get()
                if isinstance(frame, Exception):
                    raise frame
                self.taken += 1
                yield frame
        finally:
            await self.may_end.wait()
            self.ended += 1

    @property
    def open(self) -> int:
        return self.begun - self.ended

    def give(self, *frames: bytes | Exception) -> None:
        for frame in frames:
            self.coming.put_nowait(frame)


class Reading:
    """A source that is read, until it is told to hold."""

    def __init__(self, *, polls: bool = True, state: ConnectionState = AWAY) -> None:
        self.clock = WaitedClock()
        self.hub = Given(state)
        self.boards = Given(POLLED)
        self.frames: list[bytes] = []
        self.source = ExchangeSource(
            SignalRHubSettings(polling_interval=2.0 if polls else 0.0),
            PATHS,
            hub=self.hub,
            poller=self.boards if polls else None,
            clock=self.clock,
        )
        self.going = asyncio.Event()
        self.going.set()
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self._read())
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.task is not None
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        assert (self.hub.open, self.boards.open) == (0, 0)

    async def _read(self) -> None:
        async for frame in self.source.frames():
            self.frames.append(frame)
            await self.going.wait()


async def test_boards_are_not_polled_while_the_hub_is_connected() -> None:
    async with Reading(state=THERE) as reading:
        reading.hub.give(b"1", b"2")
        await reading.clock.run(10 * POLLED_AFTER)  # a quiet market is no reason to poll
        assert reading.frames == [b"1", b"2"]
        assert reading.source.connection_state is THERE
        assert reading.boards.begun == 0


async def test_short_outage_of_the_hub_causes_no_polling() -> None:
    async with Reading(state=THERE) as reading:
        await reading.clock.run(60.0)
        reading.hub.connection_state = AWAY
        await reading.clock.run(POLLED_AFTER - 0.5)
        assert reading.source.connection_state is AWAY
        reading.hub.connection_state = THERE
        await reading.clock.run(60.0)
        assert reading.boards.begun == 0


@pytest.mark.parametrize("before", [0.0, 60.0])
async def test_boards_are_polled_during_an_outage_while_the_hub_is_retried(
    before: float,
) -> None:
    async with Reading(state=THERE if before else AWAY) as reading:
        await reading.clock.run(before)
        reading.hub.connection_state = AWAY
        await reading.clock.run(POLLED_AFTER - 0.5)
        assert reading.boards.begun == 0
        await reading.clock.run(1.0)
        reading.boards.give(b"a", b"b")
        await settle()
        assert reading.frames == [b"a", b"b"]
        assert (reading.source.connection_state.source, reading.source.connection_state.error) == (
            "polling",
            "nobody there",
        )
        await reading.clock.run(600.0)
        assert (reading.hub.begun, reading.hub.open) == (1, 1)
        assert (reading.boards.begun, reading.boards.open) == (1, 1)


async def test_errors_of_hub_and_polling_are_reported() -> None:
    async with Reading() as reading:
        await reading.clock.run(POLLED_AFTER + 1)
        reading.boards.connection_state = ConnectionState(source="polling", error="CDC: HTTP 500")
        assert reading.source.connection_state == ConnectionState(
            "polling", 0.0, "nobody there; CDC: HTTP 500"
        )
        reading.boards.connection_state = ConnectionState(error="all: HTTP 500")
        assert reading.source.connection_state == ConnectionState(
            "", 0.0, "nobody there; all: HTTP 500"
        )


async def test_polling_ends_with_the_hubs_first_frame() -> None:
    async with Reading() as reading:
        await reading.clock.run(POLLED_AFTER + 1)
        reading.hub.connection_state = THERE
        reading.boards.give(b"a")
        await reading.clock.run(1.0)
        assert reading.frames == [b"a"]  # a connection is not yet a board
        assert reading.source.connection_state is THERE
        reading.hub.give(b"1")
        await settle()
        reading.boards.give(b"late")
        await reading.clock.run(60.0)
        assert reading.frames == [b"a", b"1"]
        assert (reading.boards.begun, reading.boards.open) == (1, 0)


async def test_polling_ends_when_a_silent_hub_stays_connected() -> None:
    async with Reading() as reading:
        await reading.clock.run(POLLED_AFTER + 1)
        reading.hub.connection_state = THERE
        await reading.clock.run(POLLED_AFTER - 1)
        assert reading.boards.open == 1
        await reading.clock.run(2.0)
        assert reading.boards.open == 0


async def test_reconnecting_hub_without_frames_counts_as_unreachable() -> None:
    async with Reading() as reading:
        for _ in range(5):
            reading.hub.connection_state = THERE
            await reading.clock.run(2.0)
            reading.hub.connection_state = AWAY
            await reading.clock.run(2.0)
        assert (reading.boards.begun, reading.boards.open) == (1, 1)


async def test_reconnecting_hub_with_frames_counts_as_connected() -> None:
    async with Reading() as reading:
        for _ in range(10):
            reading.hub.connection_state = THERE
            await reading.clock.run(2.0)
            reading.hub.give(b"1")
            reading.hub.connection_state = AWAY
            await reading.clock.run(2.0)
        assert reading.boards.begun == 0


async def test_boards_are_polled_again_in_the_next_outage() -> None:
    async with Reading() as reading:
        for number in (1, 2):
            await reading.clock.run(POLLED_AFTER + 1)
            assert (reading.boards.begun, reading.boards.open) == (number, 1)
            reading.hub.give(b"1")
            await settle()
            assert reading.boards.open == 0


async def test_polled_frame_never_follows_a_newer_one_of_the_hub() -> None:
    async with Reading() as reading:
        await reading.clock.run(POLLED_AFTER + 1)
        reading.boards.may_end.clear()  # a poll that takes its time to end
        reading.hub.give(b"new")
        await settle()
        assert reading.frames == []
        reading.boards.give(b"old")
        reading.boards.may_end.set()
        await settle()
        assert reading.frames == [b"new"]


async def test_slow_reader_pauses_hub_and_polling() -> None:
    many = [b"%d" % number for number in range(100)]
    async with Reading(state=THERE) as reading:
        reading.going.clear()
        reading.hub.give(*many)
        await settle()
        await settle()
        assert reading.frames == [b"0"]
        assert reading.hub.taken < 40
        reading.going.set()
        await asyncio.sleep(0)
        while len(reading.frames) < 100:
            await settle()
        assert reading.frames == many  # and nothing is lost


async def test_waiting_polled_frame_is_dropped_for_the_hub() -> None:
    async with Reading() as reading:
        await reading.clock.run(POLLED_AFTER + 1)
        reading.going.clear()
        polled = [b"a%d" % number for number in range(100)]
        reading.boards.give(*polled)
        await settle()
        await settle()
        waiting = reading.boards.taken
        assert waiting < 40
        reading.hub.give(b"1")
        await settle()
        assert reading.boards.open == 0
        reading.going.set()
        for _ in range(10):
            await settle()
        assert reading.frames[-1] == b"1"
        assert reading.frames[:-1] == polled[: len(reading.frames) - 1]


async def test_disabled_polling_polls_no_board() -> None:
    async with Reading(polls=False) as reading:
        await reading.clock.run(600.0)
        assert reading.source.connection_state is AWAY
        reading.hub.give(b"1")
        await settle()
        assert reading.frames == [b"1"]


@pytest.mark.parametrize("of", ["hub", "boards"])
async def test_malformed_settings_end_the_source(of: str) -> None:
    reading = Reading()
    given: Given = getattr(reading, of)
    given.give(SettingsError("it cannot"))

    async def read() -> None:
        async for _ in reading.source.frames():
            pytest.fail("a frame")

    task = asyncio.create_task(read())
    await reading.clock.run(POLLED_AFTER + 1)
    with pytest.raises(SettingsError, match="it cannot"):
        await task
    assert (reading.hub.open, reading.boards.open) == (0, 0)


async def test_closing_the_source_stops_hub_and_polling() -> None:
    reading = Reading()
    before = asyncio.all_tasks()
    stream = reading.source.frames()
    first = asyncio.ensure_future(anext(stream))
    await reading.clock.run(POLLED_AFTER + 1)
    reading.boards.give(b"a")
    assert await first == b"a"
    assert reading.boards.open == reading.hub.open == 1
    await stream.aclose()
    assert reading.boards.open == reading.hub.open == 0
    assert asyncio.all_tasks() == before


def test_invalid_settings_are_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="--polling-url"):
        ExchangeSource(SignalRHubSettings(polling_url="nowhere"), PATHS)
    with pytest.raises(SettingsError, match="--base-url"):
        ExchangeSource(SignalRHubSettings(base_url="nowhere"), PATHS)


class Exchange:
    """The real source, read against the test hub."""

    def __init__(self, hub: Hub, **more: Any) -> None:  # noqa: ANN401 - any option
        self.hub = hub
        self.source = ExchangeSource(
            settings(hub, polling_interval=0.05, **more), PATHS, stays_away=0.3
        )
        self.frames: list[bytes] = []
        self.task: asyncio.Task[None] | None = None

    async def read(self) -> None:
        async for frame in self.source.frames():
            self.frames.append(frame)

    @property
    def connection_state(self) -> ConnectionState:
        return self.source.connection_state

    @property
    def polls(self) -> int:
        return sum(each.path.startswith("/api/") for each in self.hub.requests)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the boards of futures, see `boards.future`."""
        futures = (each for each in self.frames if b'"updateFutureMarketsInfo"' in each)
        return [number for frame in futures for number in numbers(frame)]

    async def until(self, condition: Callable[[], object]) -> None:
        def holds() -> object:
            assert self.task is not None
            if self.task.done():
                self.task.result()
            return condition()

        await self.hub.until(holds)


@pytest.fixture
async def exchange(hub: Hub) -> AsyncIterator[Exchange]:
    made = Exchange(hub)
    made.task = asyncio.create_task(made.read())
    yield made
    made.task.cancel()
    with suppress(asyncio.CancelledError):
        await made.task
    await hub.until(lambda: hub.connections == 0)


async def test_source_switches_from_hub_to_polling_and_back(hub: Hub, exchange: Exchange) -> None:
    await hub.connected("webSockets")
    hub.push(future(1))
    await exchange.until(lambda: exchange.numbers == [1])
    assert exchange.connection_state.source == "webSockets"

    hub.boards["Future/LiveMarket"] = [row("future", LastTradedPrice=700_002.0)]
    hub.refuse("negotiate", Refusal.FORBIDDEN)
    for transport in ("webSockets", "serverSentEvents", "longPolling"):
        hub.refuse(transport, Refusal.FORBIDDEN)
    hub.cut()
    await exchange.until(lambda: exchange.numbers[-1] == 2)
    assert exchange.connection_state.source == "polling"
    assert exchange.connection_state.error is not None

    hub.accept("negotiate", "webSockets", "serverSentEvents", "longPolling")
    await hub.connected("webSockets")
    hub.push(future(3))
    await exchange.until(lambda: exchange.numbers[-1] == 3)
    await exchange.until(lambda: exchange.connection_state.source == "webSockets")
    polls, beats = exchange.polls, hub.beats
    await hub.until(lambda: hub.beats >= beats + 3)  # time for six more
    assert exchange.polls <= polls + 1  # one may have been under way
    assert exchange.connection_state.error is None


async def test_source_continues_when_one_of_two_is_back(hub: Hub, exchange: Exchange) -> None:
    hub.refuse("negotiate", Refusal.HTML)
    hub.refuse("boards", Refusal.HTML)
    await exchange.until(
        lambda: (exchange.connection_state.error or "").count("HTML instead of JSON") == 4
    )
    assert exchange.connection_state.source == ""
    assert exchange.frames == []
    hub.accept("boards")
    await exchange.until(lambda: exchange.frames)
    await exchange.until(lambda: exchange.connection_state.source == "polling")
