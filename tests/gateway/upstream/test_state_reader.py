"""StateReader: round trips are shared, nothing is kept, and a store that hangs holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import msgspec
import pytest
import structlog

from ime_live.errors import IncompleteError, PayloadError, StoreError
from ime_live.gateway.upstream.state_reader import StateReader
from ime_live.store.records import LastState
from tests.support.clock import FakeClock

MakePayload = Callable[..., dict[str, Any]]


class World:
    """A store that answers when it is told to, and what was asked of it."""

    def __init__(self, payload: MakePayload, time_limit: float) -> None:
        self._payload = payload
        self.requested: list[list[str]] = []
        self.price = 1
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.left: set[str] = set()
        self.broken: LastState | PayloadError | None = None
        self.clock = FakeClock()
        self.reader = StateReader(self, clock=self.clock, time_limit=time_limit)

    async def states(self, ids: Iterable[str], /) -> Mapping[str, LastState | PayloadError]:
        ids = list(ids)
        self.requested.append(ids)
        payload = self._payload(Aggregate={"last_price": self.price})
        await self.open.wait()
        if self.error is not None:
            raise self.error
        if self.left:
            found = {
                i: LastState(5, msgspec.json.encode(payload)) for i in ids if i not in self.left
            }
            raise IncompleteError("BUSY", found=found, left=self.left)
        state = self.broken or LastState(5, msgspec.json.encode(payload))
        return {i: state for i in ids if i != "none"}

    async def price_of(self, contract_id: str) -> int:
        found = (await self.reader.read([contract_id]))[contract_id]
        if isinstance(found, PayloadError):
            raise found
        return int(msgspec.json.decode(found["Aggregate"])["last_price"])

    async def when_requested(self, readings: int) -> None:
        async with asyncio.timeout(5):
            while len(self.requested) < readings:  # noqa: ASYNC110 - nothing sets an event
                await asyncio.sleep(0)


@pytest.fixture
async def world(payload: MakePayload) -> AsyncIterator[World]:
    made = World(payload, time_limit=10)
    yield made
    await made.reader.aclose()


async def test_requests_of_one_turn_share_a_round_trip(world: World) -> None:
    answers = await asyncio.gather(*(world.reader.read([str(n % 3), "none"]) for n in range(30)))
    assert world.requested == [["0", "none", "1", "2"]]
    assert all(set(answer) == {"0", "1", "2"} for answer in answers)


async def test_requests_during_a_read_share_the_next_round_trip(world: World) -> None:
    world.open.clear()
    first = asyncio.create_task(world.price_of("1"))
    await world.when_requested(1)
    world.price = 2
    later = [asyncio.create_task(world.price_of(str(n % 2))) for n in range(30)]
    await asyncio.sleep(0)
    assert world.requested == [["1"]]
    world.open.set()
    # The read for the first one began before the price changed; the others see the change.
    assert await first == 1
    assert await asyncio.gather(*later) == [2] * 30
    assert world.requested == [["1"], ["0", "1"]]


async def test_states_are_not_cached(world: World) -> None:
    for price in (1, 2, 3):
        world.price = price
        assert await world.price_of("1") == price
    assert len(world.requested) == 3


async def test_cancelled_request_does_not_affect_others(world: World) -> None:
    world.open.clear()
    leaves, stays = (asyncio.create_task(world.price_of("1")) for _ in range(2))
    await world.when_requested(1)
    leaves.cancel()
    world.open.set()
    assert await stays == 1
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_store_error_reaches_all_requests_and_is_logged_once_per_outage(world: World) -> None:
    world.error = StoreError("away")
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            found = await asyncio.gather(
                *(world.price_of("1") for _ in range(5)), return_exceptions=True
            )
            assert [str(error) for error in found] == ["away"] * 5
        world.error = None
        assert await world.price_of("1") == 1
        world.error = StoreError("away again")
        with pytest.raises(StoreError):
            await world.price_of("1")
    assert [line["error"] for line in logs] == ["away", "away again"]
    assert len(world.requested) == 5


async def test_unexpected_error_reaches_its_requests_and_reading_continues(world: World) -> None:
    world.error = ZeroDivisionError("a defect")
    with pytest.raises(ZeroDivisionError):
        await world.price_of("1")
    world.error = None
    assert await world.price_of("1") == 1


async def test_hanging_store_times_out(payload: MakePayload) -> None:
    world = World(payload, time_limit=0.05)
    world.open.clear()
    with structlog.testing.capture_logs() as logs:
        first = asyncio.create_task(world.price_of("1"))
        await world.when_requested(1)
        second = asyncio.create_task(world.price_of("1"))
        for task in (first, second):
            with pytest.raises(StoreError, match="did not answer within"):
                await task
        # The first reading still hangs; a later client does not wait for it.
        third = asyncio.create_task(world.price_of("1"))
        await world.when_requested(2)
        world.open.set()
        assert await third == 1
    assert len(logs) == 1
    await world.reader.aclose()


async def test_closing_cancels_reads_under_way(payload: MakePayload) -> None:
    world = World(payload, time_limit=0.05)
    world.open.clear()
    waiting = asyncio.create_task(world.price_of("1"))
    await world.when_requested(1)
    await world.reader.aclose()
    with pytest.raises(StoreError):
        await waiting


@pytest.mark.parametrize("broken", [LastState(5, b"{}"), PayloadError("version b'x' is not one")])
async def test_unreadable_state_is_an_error_logged_once_per_minute(
    world: World, broken: LastState | PayloadError
) -> None:
    world.broken = broken
    with structlog.testing.capture_logs() as logs:
        for n in range(100):
            found = await world.reader.read([str(n), "none"])
            assert found.keys() == {str(n)}
            assert isinstance(found[str(n)], PayloadError)
        world.clock.now += 61
        await world.reader.read(["1"])
        world.broken = None
        assert await world.price_of("1") == 1
    assert [(line["contract_id"], line.get("repeated")) for line in logs] == [
        ("0", None),
        ("1", 99),
    ]


async def test_contracts_of_an_unreachable_shard_fail_their_requests_only(
    world: World,
) -> None:
    world.left = {"2"}
    good, mixed, bad = await asyncio.gather(
        world.price_of("1"),
        world.reader.read(["1", "2"]),
        world.reader.read(["2"]),
        return_exceptions=True,
    )
    assert good == 1
    assert isinstance(mixed, StoreError)
    assert isinstance(bad, StoreError)
    assert len(world.requested) == 1
