"""Fencing: a writer that no longer leads is refused by the store, whenever its commands arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from redis.crc import key_slot

from ime_live.contracts import Contract
from ime_live.errors import ContractError, FencedError, StoreError
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from ime_live.store.keys import Keys
from ime_live.store.records import Stored
from ime_live.store.scripts import Script
from ime_live.store.store import Store

A, B = b'{"state":"A"}', b'{"state":"B"}'  # a store does not look into them
Client = Any  # redis-py's own, whose commands are loosely typed


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
