"""The registry: contracts are read, announced, imported in one step, and removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from ime_live.contracts import Contract
from ime_live.errors import (
    ContractError,
    StoreError,
    UnknownContractError,
)
from ime_live.registry import Registry
from ime_live.store.registry import MAX_CHANGES
from ime_live.store.scripts import Script
from ime_live.store.store import Store
from tests.store.test_store import GOLD, Client

SAFFRON = Contract(contract_id="2", contract_name="زعفران0312", title="زعفران")


def named(contract_id: str, name: str, *aliases: str) -> Contract:
    return Contract(contract_id=contract_id, contract_name=name, aliases=aliases)


async def test_contracts_are_read_as_they_were_written(store: Store) -> None:
    await store.import_contracts([GOLD, SAFFRON])
    assert sorted(await store.contracts(), key=lambda c: c.contract_id) == [GOLD, SAFFRON]
    assert await store.contracts_of(["2", "3"]) == {"2": SAFFRON, "3": None}
    assert await store.contracts_of([]) == {}


async def test_unreadable_contract_is_skipped(store: Store, redis: Client) -> None:
    await store.import_contracts([GOLD])
    await redis.hset("ime:contracts", mapping={"2": "{", "3": SAFFRON.to_json(), b"\xff": "{}"})
    with capture_logs() as logs:
        assert await store.contracts() == [GOLD]
    assert len(logs) == 1  # a minute, and not one for each of them
    assert logs[0]["contract_id"] in ("2", "3", "\ufffd")
    assert store.unreadable == 3
    assert await store.contracts_of(["1", "2"]) == {"1": GOLD, "2": None}
    found = await store.registered(["1", "2", "4"])
    assert found.keys() == {"1", "2"}
    assert isinstance(found["2"], ContractError)
    assert (await store.registered()).keys() == {"1", "2", "3", "\ufffd"}
    # It can be written over, and removed.
    await store.import_contracts([SAFFRON])
    await store.remove_contracts(["3"])
    assert await store.contracts_of(["2", "3"]) == {"2": SAFFRON, "3": None}


async def test_changes_of_the_registry_are_announced(store: Store, redis: Client) -> None:
    async with redis.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe("ime:contracts")
        await store.import_contracts([GOLD, SAFFRON])
        await store.import_contracts([GOLD, named("3", "C")])
        await store.import_contracts([GOLD])  # changes nothing
        await store.remove_contracts(["1", "2"])
        heard: list[Any] = []
        while len(heard) < 3:
            message = await channel.get_message(timeout=1)
            heard += [json.loads(message["data"])] if message else []
    assert heard == [["1", "2"], ["3"], ["1", "2"]]


async def test_import_returns_its_changes(store: Store) -> None:
    await store.import_contracts([GOLD, SAFFRON])
    result = await store.import_contracts([named("3", "C"), SAFFRON, named("1", "سکه جدید")])
    assert (result.added, result.changed, result.unchanged) == (("3",), ("1",), ("2",))


async def test_renamed_contract_keeps_its_old_name_as_an_alias(store: Store) -> None:
    await store.import_contracts([named("1", "A", "X")])
    await store.import_contracts([named("1", "B", "Y")])
    await store.import_contracts([named("1", "C")])
    [contract] = await store.contracts()
    assert contract.contract_name == "C"
    assert set(contract.aliases) == {"X", "Y", "A", "B"}
    registry = Registry([contract])
    assert all(registry.by_name(name) is contract for name in "ABCXY")
    await store.import_contracts([named("1", "A")])  # back again
    [contract] = await store.contracts()
    assert set(contract.aliases) == {"X", "Y", "B", "C"}


async def test_other_spelling_of_a_name_adds_no_alias(store: Store) -> None:
    await store.import_contracts([named("1", "سکه0312")])
    await store.import_contracts([named("1", "سكه۰۳۱۲")])
    [contract] = await store.contracts()
    assert (contract.contract_name, contract.aliases) == ("سكه۰۳۱۲", ())


async def test_names_of_two_contracts_can_be_exchanged(store: Store) -> None:
    await store.import_contracts([named("1", "A"), named("2", "B")])
    await store.import_contracts([named("1", "B"), named("2", "A")])
    registry = Registry(await store.contracts())
    assert registry.by_name("A").contract_id == "2"
    assert registry.by_name("B").contract_id == "1"


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([named("3", "C"), named("3", "D")], "ids must be unique, got contract 3 twice"),
        ([named("3", "C"), named("4", " C\u200c")], "contracts 3 and 4 must have different names"),
        ([named("3", "سكه۰۳۱۲پ۰۱")], "contracts 1 and 3 must have different names"),
        ([named("3", "C"), named(" ", "D")], "contractId must not be empty"),
        ([named("3", "\u200c")], "contractName of contract 3 must not be empty"),
    ],
)
async def test_refused_import_changes_nothing(
    store: Store, batch: list[Contract], message: str
) -> None:
    await store.import_contracts([GOLD])
    with pytest.raises(ContractError, match=message):
        await store.import_contracts(batch)
    assert await store.contracts() == [GOLD]


async def test_concurrent_imports_are_all_kept(store: Store) -> None:
    batches = [[named(str(n), f"N{n}"), named("shared", f"S{n}")] for n in range(8)]
    await asyncio.gather(*(store.import_contracts(batch) for batch in batches))
    contracts = {c.contract_id: c for c in await store.contracts()}
    assert set(contracts) == {"shared", *(str(n) for n in range(8))}
    assert set(contracts["shared"].names) == {f"S{n}" for n in range(8)}


async def test_one_of_concurrent_imports_of_one_name_succeeds(store: Store) -> None:
    results = await asyncio.gather(
        *(store.import_contracts([named(str(n), "A")]) for n in range(5)), return_exceptions=True
    )
    assert sum(isinstance(r, ContractError) for r in results) == 4
    assert len(await store.contracts()) == 1


Interfere = Callable[[Callable[[], Awaitable[object]]], None]


@pytest.fixture
def before_writing(store: Store, monkeypatch: pytest.MonkeyPatch) -> Interfere:
    """Do something after a change of the registry is planned, and before it is written."""
    run = store._run

    def begin(interfere: Callable[[], Awaitable[object]]) -> None:
        async def interfered(script: Script, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
            await interfere()
            return await run(script, calls)

        monkeypatch.setattr(store, "_run", interfered)

    return begin


async def test_import_is_planned_again_after_another_program_wrote_a_contract(
    store: Store, redis: Client, before_writing: Interfere
) -> None:
    await store.import_contracts([GOLD])
    # As many contracts as before, and none of them is in the import.
    before_writing(lambda: redis.hset("ime:contracts", "1", named("1", "taken").to_json()))
    with pytest.raises(ContractError, match="must have different names, got taken twice"):
        await store.import_contracts([named("2", "taken")])
    assert await store.contracts() == [named("1", "taken")]


async def test_import_keeps_contracts_written_after_it_was_planned(
    store: Store, redis: Client, before_writing: Interfere
) -> None:
    await store.import_contracts([GOLD])
    before_writing(lambda: redis.hset("ime:contracts", "1", named("1", "renamed").to_json()))
    result = await store.import_contracts([named("1", "now")])
    assert result.changed == ("1",)
    assert await store.contracts() == [named("1", "now", "renamed")]


async def test_import_gives_up_while_others_change_the_contracts_every_time(
    store: Store, redis: Client, before_writing: Interfere
) -> None:
    before_writing(lambda: redis.hincrby("ime:contracts", "count", 1))
    with pytest.raises(StoreError, match="other programs change them all the time"):
        await store.import_contracts([GOLD])
    with pytest.raises(StoreError, match="other programs change them all the time"):
        await store.remove_contracts(["count"])
    assert await store.contracts_of(["1"]) == {"1": None}


async def test_thousands_of_contracts_are_imported_and_removed_in_one_step(
    store: Store, redis: Client
) -> None:
    many = [named(str(n), f"N{n}") for n in range(MAX_CHANGES)]
    async with redis.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe("ime:contracts")
        assert len((await store.import_contracts(many)).added) == MAX_CHANGES
        assert len(await store.contracts()) == MAX_CHANGES
        await store.remove_contracts(each.contract_id for each in many)
        assert await store.contracts() == []
        for _ in range(2):
            message = await anext(channel.listen())
            assert len(json.loads(message["data"])) == MAX_CHANGES


async def test_import_beyond_the_limit_is_refused_and_changes_nothing(store: Store) -> None:
    many = [named(str(n), f"N{n}") for n in range(MAX_CHANGES + 1)]
    with pytest.raises(ContractError, match="in parts of at most 10,000, got 10,001"):
        await store.import_contracts(many)
    assert await store.contracts() == []
    await store.import_contracts(many[1:])
    await store.import_contracts(many)  # of which one is new
    with pytest.raises(ContractError, match="in parts of at most 10,000, got 10,001"):
        await store.remove_contracts(each.contract_id for each in many)
    assert len(await store.contracts()) == MAX_CHANGES + 1


async def test_removal_of_an_unknown_contract_is_an_error(store: Store) -> None:
    await store.import_contracts([GOLD])
    with pytest.raises(UnknownContractError, match="unknown contract: 9"):
        await store.remove_contracts(["1", "9"])
    assert await store.contracts() == [GOLD]
