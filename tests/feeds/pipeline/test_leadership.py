"""Leadership and the lease: one feed leads, the other takes over, the status tells the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from ime_live.errors import StoreError
from ime_live.feeds.pipeline.leadership import LEAVING, Leadership
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import LEASE, UNREADABLE, Lease, LeaseState
from tests.support.clock import FakeClock

STATUS = FeedStatus(FeedState.LIVE, since=1, written=5)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(
    valkey: EmbeddedValkey, clock: FakeClock
) -> AsyncIterator[Callable[[str], tuple[Leadership, Lease, list[str]]]]:
    """Make a feed's leadership by its name; the list tells when it came to lead."""
    leases = []

    def of(name: str) -> tuple[Leadership, Lease, list[str]]:
        lease = Lease(StoreSettings(redis_url=valkey.url), name)
        leases.append(lease)
        led: list[str] = []
        leadership = Leadership(
            lease, lambda: STATUS, on_lead=lambda: led.append(name), clock=clock
        )
        return leadership, lease, led

    yield of
    for lease in leases:
        await lease.aclose()


async def test_leader_holds_the_lease_and_writes_the_status(make: Any) -> None:  # noqa: ANN401
    one, lease, led = make("one")
    other, _, _ = make("other")
    assert await lease.read() == (None, False)

    await one.renew()
    await other.renew()
    await one.renew()

    assert (one.leads, other.leads) == (True, False)
    assert led == ["one"]  # once, not with each renewal
    status, there = await lease.read()
    assert there
    assert status is not None
    assert (status.state, status.feed) == (FeedState.LIVE, "one")


async def test_standby_takes_over_when_the_leader_stops(make: Any) -> None:  # noqa: ANN401
    one, lease, _ = make("one")
    other, _, led = make("other")
    running = asyncio.create_task(one.run())
    while not one.leads:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    status, there = await lease.read()
    assert status is not None
    assert (status.state, there) == (FeedState.DOWN, False)
    assert not one.leads

    await other.renew()  # at once: the lease was given up
    assert other.leads
    assert led == ["other"]


async def test_standby_takes_over_when_the_lease_expires(
    make: Any,  # noqa: ANN401
    redis: Any,  # noqa: ANN401
) -> None:
    one, _, _ = make("one")
    other, _, _ = make("other")
    await one.renew()

    left = await redis.pttl("ime:feed")
    assert 0 < left <= LEASE * 1000
    await redis.pexpire("ime:feed", 1)  # as if the time had passed
    async with asyncio.timeout(5):
        while not other.leads:
            await other.renew()


async def test_leader_that_cannot_renew_does_not_lead(
    own_valkey: EmbeddedValkey, clock: FakeClock
) -> None:
    async with Lease(StoreSettings(redis_url=own_valkey.url), "one") as lease:
        led: list[str] = []
        one = Leadership(lease, lambda: STATUS, on_lead=lambda: led.append("one"), clock=clock)
        await one.renew()
        own_valkey.stop()
        await one.renew()
        still = one.leads
        assert still  # for as long as nobody else can
        clock.now += LEASE
        no_more = not one.leads
        assert no_more

        own_valkey.start()
        await one.renew()
        assert one.leads
        assert led == ["one", "one"]  # the store was emptied: all is to be passed on again


async def test_standby_does_not_release_the_lease(make: Any) -> None:  # noqa: ANN401
    one, lease, _ = make("one")
    _, other_lease, _ = make("other")
    await one.renew()
    await other_lease.release()

    assert (await lease.read())[1]


@pytest.mark.parametrize(
    "value", [b'{"state": "fine"}', b"", b"\xff", b'{"state":"live","since":-1}', None]
)
async def test_status_that_cannot_be_read_is_that_of_a_feed_that_is_down(
    make: Any,  # noqa: ANN401
    redis: Any,  # noqa: ANN401
    value: bytes | None,
) -> None:
    _, lease, _ = make("one")
    if value is None:
        await redis.hset("ime:status", "a", "hash")
    else:
        await redis.set("ime:status", value)
    with capture_logs() as logs:
        first, led = await lease.read()
        assert first is not None
        assert (first.state, first.error, led) == (FeedState.DOWN, UNREADABLE, False)
        assert await lease.read() == (first, False)  # since the same moment
    assert [line["event"] for line in logs] == [UNREADABLE]
    await redis.delete("ime:status")
    assert await lease.read() == (None, False)


async def test_refused_read_of_the_status_is_an_error(
    make: Any,  # noqa: ANN401
    redis: Any,  # noqa: ANN401
) -> None:
    _, lease, _ = make("one")
    await redis.execute_command("ACL", "SETUSER", "default", "-get")
    try:
        with pytest.raises(StoreError, match="no permissions"):
            await lease.read()
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "+get")


@pytest.mark.parametrize("kind", ["rpush", "sadd"])
async def test_keys_of_another_type_are_written_over(
    make: Any,  # noqa: ANN401
    redis: Any,  # noqa: ANN401 - redis-py's
    kind: str,
) -> None:
    one, lease, led = make("one")
    for key in ("ime:feed", "ime:status"):
        await getattr(redis, kind)(key, "somebody's")
    await one.renew()
    assert (one.leads, led) == (True, ["one"])
    status, there = await lease.read()
    assert there
    assert status is not None
    assert status.feed == "one"
    for key in ("ime:feed", "ime:status"):  # while it leads
        await redis.delete(key)
        await getattr(redis, kind)(key, "somebody's")
    await one.renew()
    assert one.leads
    status, _ = await lease.read()
    assert status is not None
    assert status.feed == "one"


async def test_release_of_a_key_of_another_type_is_no_error(make: Any, redis: Any) -> None:  # noqa: ANN401
    _, lease, _ = make("one")
    await redis.rpush("ime:feed", "somebody's")
    await lease.release()


class Stalled:
    """A lease whose store answers until it is cut off, and never again."""

    holder = "one"

    def __init__(self) -> None:
        self.cut_off = asyncio.Event()
        self.writes = 0

    async def take(self) -> LeaseState:
        return LeaseState(leads=True, token=1, anew=False)

    def note(self, token: int) -> None:
        raise AssertionError

    async def release(self) -> None:
        raise AssertionError

    async def write(self, status: FeedStatus) -> None:
        self.writes += 1
        if self.cut_off.is_set():
            await asyncio.Event().wait()


async def test_closing_is_bounded_when_the_store_does_not_answer() -> None:
    lease = Stalled()
    leadership = Leadership(lease, lambda: STATUS, on_lead=lambda: None, clock=FakeClock())
    running = asyncio.create_task(leadership.run())
    while not lease.writes:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    lease.cut_off.set()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with capture_logs() as logs:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert lease.writes == 2
    assert LEAVING - 0.1 <= loop.time() - began < LEAVING + 5.0
    assert [each["event"] for each in logs] == [
        "the feed's lease cannot be released in time; it will expire"
    ]
