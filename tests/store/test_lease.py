"""The lease of a feed: fencing tokens of leaderships, and the status of the leader."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

import pytest

from ime_live.errors import FencedError
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market_json import MAX_AHEAD
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import UNREADABLE, Lease, LeaseState
from tests.store.test_fencing import Client

STATUS = FeedStatus(FeedState.LIVE, since=1, written=5)


@pytest.fixture
async def leases(valkey: EmbeddedValkey) -> AsyncIterator[Callable[[str], Lease]]:
    """Make a feed's view of the lease by its name."""
    made = []

    def make(name: str) -> Lease:
        made.append(Lease(StoreSettings(redis_url=valkey.url), name))
        return made[-1]

    yield make
    for lease in made:
        await lease.aclose()


async def test_each_leadership_has_a_greater_fencing_token(leases: Callable[[str], Lease]) -> None:
    one, other = leases("one"), leases("other")
    first = await one.take()
    assert first.leads
    assert first.anew
    renewed = await one.take()
    assert (renewed.leads, renewed.anew, renewed.token) == (True, False, first.token)
    standing_by = await other.take()
    assert (standing_by.leads, standing_by.token) == (False, first.token)
    await one.release()
    second = await other.take()
    assert second.leads
    assert second.token > first.token


async def test_token_grows_over_an_emptied_store(
    leases: Callable[[str], Lease], redis: Client
) -> None:
    one, other = leases("one"), leases("other")
    far = time.time_ns() // 1000 + MAX_AHEAD // 2  # as from a server whose clock was ahead
    await redis.set("ime:feed", f"{far} one")
    assert (await one.take()).token == far
    assert not (await other.take()).leads
    await redis.flushall()
    taken = await other.take()
    assert taken.anew
    assert taken.token > far


async def test_refused_leader_gets_a_greater_token(leases: Callable[[str], Lease]) -> None:
    lease = leases("one")
    first = await lease.take()
    lease.note(first.token + 1_000_000_000)
    again = await lease.take()
    assert again.leads
    assert again.anew
    assert again.token > first.token + 1_000_000_000


async def test_fencing_token_far_ahead_is_not_continued(
    leases: Callable[[str], Lease], redis: Client
) -> None:
    # As when a clock that was days ahead has been put right: stored tokens count for nothing then.
    lease = leases("one")
    far = time.time_ns() // 1000 + 2 * MAX_AHEAD
    await redis.set("ime:feed", f"{far} one")
    lease.note(far)
    taken = await lease.take()
    assert taken.anew
    assert 0 < taken.token < far
    assert await lease.take() == LeaseState(leads=True, token=taken.token, anew=False)


async def test_older_lease_of_the_same_feed_is_acquired_again(
    leases: Callable[[str], Lease], redis: Client
) -> None:
    # As when the store comes back with older data.
    lease = leases("one")
    first = await lease.take()
    await redis.set("ime:feed", f"{first.token - 1} one")
    again = await lease.take()
    assert again.anew
    assert again.token > first.token


@pytest.mark.parametrize("holder", ["other", "host:123:abcd", "9" * 20 + " other"])
async def test_lease_of_another_feed_is_respected_however_it_is_written(
    leases: Callable[[str], Lease], redis: Client, holder: str
) -> None:
    await redis.set("ime:feed", holder)
    taken = await leases("one").take()
    assert not taken.leads
    assert taken.token == 0


async def test_status_of_an_older_token_is_refused(leases: Callable[[str], Lease]) -> None:
    one = leases("one")
    newer = FeedStatus(FeedState.LIVE, since=1, token=20, error='{"token":99}')
    await one.write(newer)
    with pytest.raises(FencedError) as caught:
        await one.write(FeedStatus(FeedState.DOWN, since=1, token=10))
    assert caught.value.token == 20
    assert (await one.read())[0] == newer
    await one.write(FeedStatus(FeedState.DOWN, since=1, token=21))


@pytest.mark.parametrize("written", ["", "{}", '{"state":"live"}', '{"since":5}', "null"])
async def test_truncated_status_is_a_feed_that_is_down(
    leases: Callable[[str], Lease], redis: Client, written: str
) -> None:
    lease = leases("one")
    await lease.take()
    await redis.set("ime:status", written)
    status, led = await lease.read()
    assert led
    assert status is not None
    assert (status.state, status.error) == (FeedState.DOWN, UNREADABLE)
    await lease.write(STATUS)
    assert await lease.read() == (STATUS, True)
