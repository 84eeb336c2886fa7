"""The feed's state in the gateway: as reported, in silence, and during an outage of Redis."""

from __future__ import annotations

import msgspec
import pytest
from structlog.testing import capture_logs

from ime_live.contracts import Market
from ime_live.errors import StoreError
from ime_live.gateway.upstream.feed_monitor import CUT_OFF, NO_FEED, FeedMonitor
from ime_live.status import FeedState, FeedStatus, MarketStatus
from ime_live.store.lease import UNREADABLE
from tests.support.clock import GivenClock

NOW = 1_780_000_000_000_000
LIVE = FeedStatus(
    FeedState.LIVE,
    since=NOW - 500,
    last_board=NOW - 20,
    markets={Market.FUTURES: MarketStatus(FeedState.LIVE, NOW - 20, 5, NOW + 1000)},
    source="polling",
    error="the hub is away",
    written=NOW - 10,
)


class World:
    """A feed as the gateway sees it, and the Redis between them."""

    def __init__(self) -> None:
        self.now = NOW
        self.written: FeedStatus | None = None
        self.led = False
        self.away = False
        self.changes: list[FeedState | None] = []
        self.feed = FeedMonitor(self, clock=GivenClock(lambda: self.now), on_change=self.changed)

    async def read(self) -> tuple[FeedStatus | None, bool]:
        if self.away:
            raise StoreError("Redis at 10.0.0.1:6379 cannot be reached")
        return self.written, self.led

    def changed(self) -> None:
        self.changes.append(self.feed.state)

    async def says(self, written: FeedStatus | None, *, led: bool = True) -> FeedStatus | None:
        self.written, self.led, self.away = written, led, False
        await self.feed.poll()
        return self.feed.status

    async def cut_off(self) -> FeedStatus:
        self.away = True
        await self.feed.poll()
        assert self.feed.status is not None
        return self.feed.status


@pytest.fixture
def world() -> World:
    return World()


async def test_store_without_a_feed_has_no_feed_state(world: World) -> None:
    for led in (False, True):  # a new feed has written no status yet
        assert await world.says(None, led=led) is None
    assert world.feed.state is None
    assert world.feed.reached
    assert not world.changes


async def test_leading_feed_has_the_state_it_reports(world: World) -> None:
    assert await world.says(LIVE) is LIVE
    assert world.changes == [FeedState.LIVE]


async def test_feed_without_a_leader_is_down_since_its_last_status(world: World) -> None:
    await world.says(LIVE)
    world.now += 5_000_000
    down = await world.says(LIVE, led=False)
    assert down == msgspec.structs.replace(
        LIVE,
        state=FeedState.DOWN,
        since=LIVE.written,
        source="",
        error=NO_FEED,
        markets={Market.FUTURES: MarketStatus(FeedState.DOWN, NOW - 20, 5, NOW + 1000)},
    )
    world.now += 5_000_000
    assert await world.says(LIVE, led=False) == down
    assert await world.says(LIVE) is LIVE
    assert world.changes == [FeedState.LIVE, FeedState.DOWN, FeedState.LIVE]


async def test_feed_that_was_down_before_it_ended_stays_down_since_then(world: World) -> None:
    status = msgspec.structs.replace(LIVE, state=FeedState.DOWN, since=NOW - 900)
    down = await world.says(status, led=False)
    assert down is not None
    assert down.since == NOW - 900


@pytest.mark.parametrize("known", [None, LIVE])
async def test_feed_is_down_during_an_outage_of_the_store(
    world: World, known: FeedStatus | None
) -> None:
    await world.says(known)
    world.changes.clear()
    down = await world.cut_off()
    assert (down.state, down.since, down.error) == (FeedState.DOWN, NOW, CUT_OFF)
    assert down.last_board == (known and known.last_board)
    reached = [world.feed.reached]
    world.now += 5_000_000
    assert (await world.cut_off()).since == NOW
    assert await world.says(known) is known
    reached.append(world.feed.reached)
    assert reached == [False, True]
    assert world.changes == [FeedState.DOWN, world.feed.state]


async def test_unchanged_feed_state_is_not_reported(world: World) -> None:
    await world.says(LIVE)
    with capture_logs() as lines:
        later = msgspec.structs.replace(LIVE, last_board=NOW, written=NOW, source="webSockets")
        assert await world.says(later) is later
    assert (world.changes, lines) == ([FeedState.LIVE], [])
    market = MarketStatus(FeedState.STALE, NOW - 20)
    await world.says(msgspec.structs.replace(LIVE, markets={Market.FUTURES: market}))
    await world.says(msgspec.structs.replace(LIVE, since=NOW))
    assert len(world.changes) == 3


async def test_status_is_readable_only_after_a_look_that_could_read_it(world: World) -> None:
    def readable() -> bool:
        return world.feed.readable

    assert not readable()
    await world.says(None)
    assert readable()
    await world.cut_off()
    assert not readable()
    # Also if no feed leads, whose status then says so.
    for led in (True, False):
        await world.says(FeedStatus(FeedState.DOWN, NOW, error=UNREADABLE), led=led)
        assert not readable()
    await world.says(LIVE, led=False)
    assert readable()
