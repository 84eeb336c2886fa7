"""The cache follows the registry, and no fault of the store makes it forget what it knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from ime_live.contracts import Contract
from ime_live.errors import CloseCode, ContractError, RefusedError, StoreError, UnknownContractError
from ime_live.gateway.upstream import contract_cache as contract_cache_module
from ime_live.gateway.upstream.contract_cache import ContractCache


def contract(contract_id: str, name: str | None = None, *aliases: str) -> Contract:
    return Contract(
        contract_id=contract_id, contract_name=name or f"N{contract_id}", aliases=aliases
    )


class Store:
    """Holds contracts; answers each call when the test lets it, by default at once."""

    def __init__(self, *contracts: Contract) -> None:
        self.held: dict[str, Contract | ContractError] = {
            each.contract_id: each for each in contracts
        }
        self.down = False
        self.calls: list[str] = []
        self.requested = asyncio.Event()

    async def registered(
        self, ids: Sequence[str] | None = None, /
    ) -> Mapping[str, Contract | ContractError]:
        await self._answer("all" if ids is None else ",".join(ids))
        return {i: each for i, each in self.held.items() if ids is None or i in ids}

    async def _answer(self, call: str) -> None:
        self.calls.append(call)
        self.requested.set()
        await asyncio.sleep(0)
        if self.down:
            raise StoreError("Redis is away")


class Running:
    """A cache that runs, its store, and a way to let it do what is to be done."""

    def __init__(self, store: Store, interval: float = 1000.0) -> None:
        self.store = store
        self.cache = ContractCache(store, interval)
        self.task = asyncio.create_task(self.cache.run())

    async def settle(self) -> None:
        """Let it go on until it waits for something to happen."""
        for _ in range(20):
            await asyncio.sleep(0)
        assert not self.task.done()

    async def requested_again(self) -> None:
        """Wait until it asks the store by itself."""
        self.store.requested.clear()
        async with asyncio.timeout(5):
            await self.store.requested.wait()
        await self.settle()

    def put(self, *contracts: Contract) -> None:
        for each in contracts:
            self.store.held[each.contract_id] = each
        self.cache.on_changed([each.contract_id for each in contracts])

    def remove(self, *ids: str) -> None:
        for contract_id in ids:
            del self.store.held[contract_id]
        self.cache.on_changed(ids)

    @property
    def ids(self) -> set[str]:
        return {each.contract_id for each in self.cache.registry}


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    made = Running(Store(contract("1"), contract("2")))
    await made.settle()
    yield made
    made.task.cancel()
    await asyncio.wait([made.task])


def test_cache_refuses_before_it_is_loaded() -> None:
    cache = ContractCache(Store(), 1.0)
    assert not cache.loaded
    assert len(cache) == 0
    with pytest.raises(RefusedError, match="contracts are not loaded yet") as caught:
        _ = cache.registry
    assert caught.value.code is CloseCode.TRY_AGAIN_LATER


async def test_cache_loads_all_contracts(running: Running) -> None:
    assert running.cache.loaded
    assert len(running.cache) == 2
    assert running.cache.registry.by_name("N1").contract_id == "1"
    assert running.store.calls == ["all"]


async def test_cache_loads_an_empty_store() -> None:
    running = Running(Store())
    await running.settle()
    assert running.cache.loaded
    running.put(contract("1"))
    await running.settle()
    assert running.ids == {"1"}
    running.task.cancel()


async def test_announced_change_is_read_by_id(running: Running) -> None:
    running.put(contract("3"), contract("1", "Renamed", "N1"))
    await running.settle()
    assert running.store.calls == ["all", "1,3"]
    assert running.ids == {"1", "2", "3"}
    registry = running.cache.registry
    assert registry.by_name("Renamed") is registry.by_name("N1")


async def test_announced_removal_removes_the_contract(running: Running) -> None:
    running.remove("1")
    await running.settle()
    with pytest.raises(UnknownContractError):
        running.cache.registry.by_id("1")


async def test_registry_is_replaced_and_never_changed(running: Running) -> None:
    before = running.cache.registry
    running.remove("1")
    await running.settle()
    assert "1" in before


async def test_change_announced_during_a_read_is_read_afterwards(running: Running) -> None:
    running.cache.on_changed(["1"])
    await asyncio.sleep(0)
    running.put(contract("3"))
    await running.settle()
    assert running.ids == {"1", "2", "3"}


async def test_reconnect_reads_all_contracts_again(running: Running) -> None:
    running.store.held["3"] = contract("3")
    running.cache.on_connected()
    await running.settle()
    assert running.ids == {"1", "2", "3"}


async def test_empty_registry_does_not_replace_known_contracts(running: Running) -> None:
    running.store.held.clear()
    running.cache.on_connected()
    with capture_logs() as logs:
        await running.settle()
    assert running.ids == {"1", "2"}
    assert [line["event"] for line in logs] == [
        "the store has no contracts; keeping the known contracts"
    ]


async def test_record_that_cannot_be_read_keeps_the_contract_that_is_known(
    running: Running,
) -> None:
    running.store.held["1"] = ContractError("not JSON")
    running.store.held["3"] = ContractError("not JSON")
    running.cache.on_changed(["1", "3"])
    await running.settle()
    assert running.ids == {"1", "2"}
    running.cache.on_connected()
    await running.settle()
    assert running.store.calls[-1] == "all"
    assert running.ids == {"1", "2"}
    running.remove("1")
    await running.settle()
    assert running.ids == {"2"}


async def test_last_contract_can_be_removed(running: Running) -> None:
    running.remove("1")
    await running.settle()
    running.remove("2")
    await running.settle()
    assert running.ids == set()


async def test_last_contract_can_be_removed_during_a_full_read(running: Running) -> None:
    running.remove("1", "2")
    running.cache.on_connected()
    await running.settle()
    assert running.ids == set()


async def test_failed_read_keeps_known_contracts_and_is_retried(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract_cache_module, "_RETRY_DELAY", 0.001)
    running.store.down = True
    running.remove("1", "2")
    with capture_logs() as logs:
        await running.settle()
    assert running.ids == {"1", "2"}
    assert logs[0]["event"] == "contracts cannot be read"
    assert logs[0]["known"] == 2
    running.store.down = False
    # An announcement that could not be followed is not forgotten.
    await running.requested_again()
    assert running.ids == set()


async def test_failed_first_read_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_cache_module, "_RETRY_DELAY", 0.001)
    store = Store(contract("1"))
    store.down = True
    running = Running(store)
    await running.settle()
    assert not running.cache.loaded
    store.down = False
    await running.requested_again()
    assert running.ids == {"1"}
    running.task.cancel()


async def test_unannounced_change_is_read_after_the_interval() -> None:
    """A change that was not announced is known after the interval."""
    running = Running(Store(contract("1")), interval=0.005)
    await running.settle()
    running.store.held["2"] = contract("2")
    await running.requested_again()
    assert running.ids == {"1", "2"}
    assert running.store.calls[:2] == ["all", "all"]
    running.task.cancel()


async def test_two_contracts_of_one_name_are_accepted(running: Running) -> None:
    with capture_logs() as logs:
        running.put(contract("3", "N1"))
        await running.settle()
    registry = running.cache.registry
    assert registry.by_name("N1").contract_id == "1"
    assert registry.by_id("3").contract_name == "N1"
    assert logs == [
        {
            "event": "contract can only be found by its id",
            "log_level": "warning",
            "reason": "contracts 1 and 3 must have different names, got N1 twice",
        }
    ]
    running.remove("1")
    await running.settle()
    assert running.cache.registry.by_name("N1").contract_id == "3"
