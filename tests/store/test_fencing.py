"""Fencing: a writer that no longer leads is refused by the store, whenever its commands arrive."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from redis.crc import key_slot

from ime_live.contracts import Contract
from ime_live.errors import ContractError, FencedError, StoreError
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market_json import MAX_AHEAD
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import UNREADABLE, Lease, LeaseState
from ime_live.store.scripts import Script
from ime_live.store.store import Keys, Store, Stored

A, B = b'{"state":"A"}', b'{"state":"B"}'  # a store does not look into them
Client = Any  # redis-py's own, whose commands are loosely typed
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


async def write(store: Store, data: bytes, token: int | None) -> Stored | Exception:
    [stored] = await store.publish([("1", data)], token)
    return stored


# -- states --------------------------------------------------------------------------------


async def test_older_fencing_token_is_refused_and_changes_nothing(
    store: Store, redis: Client
) -> None:
    await write(store, A, 20)
    before = await redis.hgetall("ime:last:{1}")
    refused = await write(store, B, 10)
    assert isinstance(refused, FencedError)
    assert refused.token == 20
    assert "refused a write of fencing token 10: token 20 leads" in str(refused)
    assert await redis.hgetall("ime:last:{1}") == before


async def test_older_token_may_not_even_confirm_an_equal_state(store: Store, redis: Client) -> None:
    await write(store, A, 20)
    seen = await redis.hget("ime:last:{1}", "seen")
    assert isinstance(await write(store, A, 10), FencedError)
    assert await redis.hget("ime:last:{1}", "seen") == seen


async def test_claim_refuses_older_tokens_before_anything_was_written(store: Store) -> None:
    await store.claim(["1", "2"], 20)
    assert isinstance(await write(store, B, 10), FencedError)
    assert isinstance(await write(store, B, 20), Stored)
    assert isinstance(await write(store, A, 21), Stored)


async def test_claimed_contract_without_a_state_has_none(store: Store) -> None:
    await store.claim(["1"], 20)
    assert await store.last(["1"]) == {}
    assert await store.states(["1"]) == {}
    assert await store.versions(["1"]) == {}


async def test_claim_with_an_older_token_is_refused(store: Store) -> None:
    await store.claim(["1"], 20)
    with pytest.raises(FencedError) as caught:
        await store.claim(["1", "2"], 10)
    assert caught.value.token == 20


async def test_refused_contract_does_not_affect_the_others(store: Store) -> None:
    await store.publish([("1", A)], 20)
    refused, stored = await store.publish([("1", B), ("2", B)], 10)
    assert isinstance(refused, FencedError)
    assert isinstance(stored, Stored)


async def test_publisher_without_a_token_is_not_refused(store: Store) -> None:
    await write(store, A, 20)
    assert isinstance(await write(store, B, None), Stored)


@pytest.mark.parametrize("token", ["x", "-1", "1e30", "9" * 16])
async def test_malformed_fencing_token_blocks_no_writer(
    store: Store, redis: Client, token: str
) -> None:
    await redis.hset("ime:last:{1}", "token", token)
    assert isinstance(await write(store, A, 20), Stored)


async def test_publisher_raises_when_it_is_fenced(
    store: Store, valkey: EmbeddedValkey, payload: Callable[..., dict[str, Any]]
) -> None:
    await store.claim(["1"], 20)
    async with Publisher(valkey.url) as publisher:
        with pytest.raises(FencedError) as caught:
            await publisher.publish_many([("1", payload())], token=10)
        assert caught.value.token == 20
        [outcome] = await publisher.publish_many([("1", payload())], token=20)
        assert outcome.published


# -- contracts -----------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["ime:", "a{b}:"])
def test_fence_of_the_registry_has_the_prefix_and_the_registrys_slot(prefix: str) -> None:
    keys = Keys(prefix)
    assert keys.contracts_fence.startswith(prefix)  # as rules of an ACL want it
    assert key_slot(keys.contracts_fence.encode()) == key_slot(keys.contracts.encode())


async def test_contracts_of_an_older_token_are_refused(store: Store) -> None:
    contract = Contract(contract_id="1", contract_name="A")
    await store.claim([], 20)
    with pytest.raises(FencedError):
        await store.import_contracts([contract], 10)
    assert await store.contracts() == []
    await store.import_contracts([contract], 20)
    assert await store.contracts() == [contract]


async def test_import_is_refused_if_a_newer_leader_claims_while_it_is_planned(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store._run

    async def overtaken(script: Script, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        monkeypatch.setattr(store, "_run", run)
        await store.claim([], 20)
        return await run(script, calls)

    monkeypatch.setattr(store, "_run", overtaken)
    with pytest.raises(FencedError) as caught:
        await store.import_contracts([Contract(contract_id="1", contract_name="A")], 10)
    assert caught.value.token == 20
    assert await store.contracts() == []


@pytest.mark.parametrize("token", ["", "x", "1.5", "-1", f"{10**19}", f"{10**18}"])
async def test_unusable_token_of_the_registry_blocks_no_import(
    store: Store, redis: Client, token: str
) -> None:
    contract = Contract(contract_id="1", contract_name="A")
    await redis.hset("ime:fence:{ime:contracts}", "token", token)
    await store.import_contracts([contract], 20)
    assert await store.contracts() == [contract]


@pytest.mark.parametrize("record", ["", "{}", '{"contractId":"1"}', '{"contractName":"A"}', "null"])
async def test_truncated_record_is_a_contract_that_cannot_be_read(
    store: Store, redis: Client, record: str
) -> None:
    await redis.hset("ime:contracts", "1", record)
    assert isinstance((await store.registered())["1"], ContractError)
    assert isinstance((await store.registered(["1"]))["1"], ContractError)


async def test_malformed_fence_of_the_registry_is_an_error(store: Store, redis: Client) -> None:
    await redis.set(store.keys.contracts_fence, "20")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await store.import_contracts([Contract(contract_id="1", contract_name="A")], 10)


# -- the lease -----------------------------------------------------------------------------


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


async def test_token_that_is_too_far_ahead_is_not_gone_on_from(
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


async def test_older_lease_of_the_same_feed_is_acquired_anew(
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
