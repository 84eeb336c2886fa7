"""Live selections: worked out once for all streams with the same filters, and kept current."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import cast

import msgspec
import pytest

from ime_live.contracts import Contract, Market
from ime_live.errors import RefusedError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.query.stream_query import StreamSelection
from ime_live.gateway.stream.live_selections import LiveSelections
from ime_live.gateway.upstream.upstream import Upstream
from ime_live.market import timestamp_of
from ime_live.messages import ContractFilter, ControlMessage, NamedContracts
from ime_live.registry import Registry
from ime_live.timezones import zone_of
from tests.support.clock import GivenClock
from tests.support.hub_world import A, World, Writer

ALL = Identity("a", None, None)
FUTURES = StreamSelection({}, (ContractFilter.of("name", markets=["IMEFutures"]),))
LIMIT = 4


def future(number: int) -> Contract:
    return Contract(contract_id=str(number), contract_name=f"F{number}", market=Market.FUTURES)


class Gateway:
    """The parts that live selections use; counts what is wanted."""

    def __init__(self) -> None:
        self.world = World()
        self.wanted: Counter[str] = Counter()
        self.meanwhile: Callable[[], object] = lambda: None
        """Happens while contracts are acquired."""
        self.registry = Registry(map(future, (1, 2)))
        self.selections = LiveSelections(
            contract_cache=self,
            upstream=cast("Upstream", self),
            hub=self.world.hub,
            limit=LIMIT,
            clock=GivenClock(lambda: self.world.now),
            timestamp=lambda version: timestamp_of(version, zone_of("UTC")),
        )

    def start_acquire(self, ids: Iterable[str]) -> set[asyncio.Task[None]]:
        for contract_id in ids:
            self.wanted[contract_id] += 1
            if self.wanted[contract_id] == 1:
                self.world.open(contract_id)
        return set()

    async def wait_for_arrivals(self, arrivals: Collection[Awaitable[None]]) -> None:
        assert not arrivals
        self.meanwhile()

    def release(self, ids: Iterable[str]) -> None:
        for contract_id in ids:
            self.wanted[contract_id] -= 1
            assert self.wanted[contract_id] >= 0, "released twice"
            if not self.wanted[contract_id]:
                del self.wanted[contract_id]
                self.world.states.close(contract_id)

    async def follow(self, *contracts: Contract) -> None:
        """The registry has these contracts now."""
        self.registry = Registry(contracts)
        self.selections.on_registry()
        task = asyncio.create_task(self.selections.run())
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def test_streams_with_equal_filters_share_a_selection(gateway: Gateway) -> None:
    first = gateway.selections.open(FUTURES, ALL)
    assert gateway.selections.open(FUTURES, Identity("b", 7.0, None)) is first
    other = gateway.selections.open(FUTURES, Identity("b", None, ("F1",)))
    assert (list(first.contracts), list(other.contracts)) == (["1", "2"], ["1"])
    assert gateway.wanted == {"1": 2, "2": 1}
    for live in (first, other, first):
        gateway.selections.close(live)
    assert (gateway.wanted, len(gateway.selections)) == ({}, 0)


async def test_group_is_shared_and_changed_in_place(gateway: Gateway) -> None:
    live = gateway.selections.open(FUTURES, ALL)
    gateway.selections.open(FUTURES, ALL)
    writers = Writer(), Writer()
    first, second = (
        gateway.world.hub.join(live.contracts, writer, live=live) for writer in writers
    )
    assert first.group is second.group
    await gateway.follow(*map(future, (2, 3)))
    assert first.group is second.group
    assert gateway.wanted == {"2": 1, "3": 1}
    for contract_id in ("1", "2", "3"):
        gateway.world.states.publish(contract_id, gateway.world.now + 1, A)
    gateway.world.tick()
    for writer in writers:
        assert [message.contract for message in writer.messages] == ["F2", "F3"]
    assert writers[0].writes[0] is writers[1].writes[0]


async def test_selection_closed_while_a_listing_is_acquired_releases_it(gateway: Gateway) -> None:
    live = gateway.selections.open(FUTURES, ALL)
    gateway.meanwhile = lambda: gateway.selections.close(live)
    await gateway.follow(*map(future, (1, 2, 3)))
    assert gateway.wanted == {}


async def test_selection_at_the_limit_leaves_out_later_listings(gateway: Gateway) -> None:
    gateway.registry = Registry(map(future, (5, 6, 7)))
    live = gateway.selections.open(FUTURES, ALL)
    await gateway.follow(*map(future, (1, 2, 5, 6, 7)))
    assert sorted(live.contracts) == ["1", "5", "6", "7"]
    assert live.matches.left_out == ("F2",)
    with pytest.raises(RefusedError, match="too many contracts: 5, at most 4"):
        gateway.selections.open(FUTURES, ALL)
    await gateway.follow(*map(future, (1, 2, 5, 6)))
    assert sorted(live.contracts) == ["1", "2", "5", "6"]
    gateway.selections.open(FUTURES, ALL)


def test_refused_selection_is_removed_with_its_contracts(gateway: Gateway) -> None:
    gateway.registry = Registry(map(future, range(LIMIT + 1)))
    with pytest.raises(RefusedError, match="too many contracts: 5, at most 4"):
        gateway.selections.open(FUTURES, ALL)
    assert (gateway.wanted, len(gateway.selections)) == ({}, 0)


async def test_slow_subscriber_gets_several_listings_in_one_message(gateway: Gateway) -> None:
    live = gateway.selections.open(FUTURES, ALL)
    writer = Writer()
    subscriber = gateway.world.hub.join(live.contracts, writer, live=live)
    gateway.selections.watch(live, subscriber)
    gateway.world.hub.pause(subscriber)
    await gateway.follow(*map(future, (1, 2, 3)))
    renamed = msgspec.structs.replace(future(3), contract_name="G3")
    await gateway.follow(future(2), renamed)
    assert not writer.writes
    gateway.world.hub.resume(subscriber)
    [frame] = writer.writes
    data = msgspec.json.decode(frame[frame.index(b"{") :], type=ControlMessage).data
    assert data.added == NamedContracts(["G3"], [])
    assert data.removed == NamedContracts(["F1"], [])


async def test_failing_subscriber_does_not_affect_listings_of_others(gateway: Gateway) -> None:
    live = gateway.selections.open(FUTURES, ALL)
    writers = Writer(), Writer()
    for writer in writers:
        subscriber = gateway.world.hub.join(live.contracts, writer, live=live)
        gateway.selections.watch(live, subscriber)
    writers[0].error = BrokenPipeError(32, "gone")
    await gateway.follow(*map(future, (1, 2, 3)))
    assert len(writers[1].writes) == 1
    assert len(gateway.world.failures) == 1
