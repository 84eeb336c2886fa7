"""The status loop compares with the store before it informs clients, also in an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from ime_live.errors import StoreError
from ime_live.gateway.upstream import status_loop as status_loop_module
from ime_live.gateway.upstream.status_loop import StatusLoop


class Channel:
    def __init__(self, contract_id: str) -> None:
        self.contract_id = contract_id


class SubscriberGroup:
    def __init__(self, *ids: str) -> None:
        self.channels = [Channel(i) for i in ids]


class World:
    """The status messages, the comparisons and the feed, as the loop sees them."""

    def __init__(self) -> None:
        self.groups: list[SubscriberGroup] = []
        self.went = asyncio.Event()
        self.sent: list[tuple[list[SubscriberGroup], set[str]]] = []
        self.requested: list[set[str]] = []
        self.behind: set[str] = set()
        self.error: StoreError | None = None
        self.hangs = False
        self.reached = True
        parts: Any = cast("Any", self)
        self.loop = StatusLoop(parts, parts, parts, interval=3600.0)

    def send(self, groups: Iterable[SubscriberGroup], current: Collection[str]) -> Iterable[None]:
        self.sent.append((list(groups), set(current)))
        self.went.set()
        return iter([None] * 3)

    async def current(self, ids: Iterable[str]) -> Collection[str]:
        self.requested.append(set(ids))
        if self.hangs:
            await asyncio.sleep(3600)
        if self.error is not None:
            raise self.error
        return set(ids) - self.behind

    async def go(self) -> tuple[list[SubscriberGroup], set[str]]:
        """Report a change, and return the next status messages."""
        self.loop.on_change()
        await self.gone()
        return self.sent[-1]

    async def gone(self) -> None:
        """Wait for the next status messages."""
        self.went.clear()
        async with asyncio.timeout(15):
            await self.went.wait()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    task = asyncio.create_task(made.loop.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


async def test_round_without_watchers_reads_nothing(world: World) -> None:
    world.loop.on_change()
    for _ in range(20):
        await asyncio.sleep(0)
    assert (world.requested, world.sent) == ([], [])


async def test_round_compares_all_watched_contracts_at_once(world: World) -> None:
    world.groups = [SubscriberGroup("1", "2"), SubscriberGroup("2", "3")]
    world.behind = {"3", "4"}
    assert await world.go() == (world.groups, {"1", "2"})
    assert world.requested == [{"1", "2", "3"}]


async def test_client_joining_during_a_round_is_not_part_of_it(world: World) -> None:
    first = SubscriberGroup("1")
    world.groups = [first]

    async def current(ids: Iterable[str]) -> Collection[str]:
        world.groups = [first, SubscriberGroup("2")]
        return list(ids)

    world.current = current  # type: ignore[method-assign]
    assert await world.go() == ([first], {"1"})


async def test_rounds_run_at_the_interval() -> None:
    world = World()
    world.groups = [SubscriberGroup("1")]
    parts: Any = cast("Any", world)
    task = asyncio.create_task(StatusLoop(parts, parts, parts, interval=0.001).run())
    for _ in range(3):
        await world.gone()
    task.cancel()
    await asyncio.wait([task])


async def test_contracts_are_not_current_when_the_comparison_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.groups = [SubscriberGroup("1")]
    world.error = StoreError("away")
    with capture_logs() as lines:
        for _ in range(2):
            assert await world.go() == (world.groups, set())
        world.error, world.hangs = None, True
        monkeypatch.setattr(status_loop_module, "_COMPARE_TIMEOUT", 0.001)
        assert await world.go() == (world.groups, set())
        world.hangs = False
        assert await world.go() == (world.groups, {"1"})
        world.error = StoreError("away again")
        await world.go()
    assert [line["error"] for line in lines] == ["away", "away again"]


async def test_unreachable_store_is_not_compared(world: World) -> None:
    world.groups = [SubscriberGroup("1")]
    world.reached = False
    assert await world.go() == (world.groups, set())
    assert not world.requested
