"""A store that goes back, is emptied or is written to by others: gateways and clients follow.

A confirmed state reaches every client, also those without status messages. Until then
nobody claims to be current.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ime_live.contracts import Contract
from ime_live.market import version_of
from ime_live.publisher import Publisher
from ime_live.timezones import TEHRAN, zone_of
from tests.stream.conftest import Serve, register
from tests.support.gateways import Gateway, receive
from tests.support.marks import thorough
from tests.support.servers import Server

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]

CONTRACTS = [Contract(contract_id=str(n), contract_name=f"GOLD{n}") for n in range(1, 30)]
_fresh = iter(CONTRACTS)
INTERVAL = 0.3  # seconds between two status messages
SECOND = 1_000_000


def trades(message: dict[str, Any]) -> int:
    count: int = message["data"]["Aggregate"]["trade_count"]
    return count


class Reader:
    """A client that takes down what it is sent."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - a `websockets` client
        self.client = client
        self.states: list[dict[str, Any]] = []
        self.statuses: list[dict[str, Any]] = []

    async def run(self) -> None:
        while True:
            message = await receive(self.client, 60)
            kept = self.states if message["channel"] == "IME Stream" else self.statuses
            kept.append(message)

    @property
    def counts(self) -> list[int]:
        return [trades(message) for message in self.states]

    @property
    def timestamp(self) -> str:
        """The timestamp of the last state."""
        text: str = self.states[-1]["timestamp"]
        return text

    @property
    def current(self) -> bool:
        """Whether the last status says that the contract is current."""
        said: bool = self.statuses[-1]["data"]["current"]
        return said

    async def becomes_current(self, eventually: Eventually) -> bool:
        """Wait for some statuses in a row that say so; that a contract is not is known for 1 s."""
        have = len(self.statuses)

        def said() -> list[bool]:
            return [status["data"]["current"] for status in self.statuses[have + 1 :]]

        await eventually(lambda: said()[-3:] == [True] * 3, 15)
        return all(await self.next_statuses(2, eventually))

    async def next_statuses(self, count: int, eventually: Eventually) -> list[bool]:
        """Return ``current`` of the next statuses, without the first, which may be under way."""
        have = len(self.statuses)
        await eventually(lambda: len(self.statuses) > have + count, 15)
        return [status["data"]["current"] for status in self.statuses[have + 1 :]]


class World:
    """A Valkey with a dump, two gateways, and at both a client of each kind of one contract."""

    def __init__(self, server: Server, gateways: list[Gateway], publisher: Publisher) -> None:
        self.server = server
        self.gateways = gateways
        self.publisher = publisher
        contract = next(_fresh)
        self.id, self.name = contract.contract_id, contract.contract_name
        self.watching: list[Reader] = []
        self.plain: list[Reader] = []
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def readers(self) -> list[Reader]:
        return self.watching + self.plain

    async def next_statuses(self, count: int, eventually: Eventually) -> list[bool]:
        """Return ``current`` of the next statuses at all gateways, read at the same time."""
        waits = (watching.next_statuses(count, eventually) for watching in self.watching)
        return [said for of_one in await asyncio.gather(*waits) for said in of_one]

    async def becomes_current(self, eventually: Eventually) -> bool:
        """Wait at all gateways at the same time, as `Reader.becomes_current` does at one."""
        waits = (watching.becomes_current(eventually) for watching in self.watching)
        return all(await asyncio.gather(*waits))

    async def connect(self, stack: AsyncExitStack) -> None:
        for gateway in self.gateways:
            for readers, requested in (
                (self.watching, {"snapshot": "true", "status": "true"}),
                (self.plain, {"snapshot": "true"}),
            ):
                client = await stack.enter_async_context(gateway.by_id(self.id, **requested))
                readers.append(Reader(client))
                self.tasks.append(asyncio.create_task(readers[-1].run()))

    async def publish(self, data: dict[str, Any]) -> bool:
        """Publish as our publishers do; whether it was a change."""
        return (await self.publisher.publish(self.id, data)).published

    def send(self, message: dict[str, Any]) -> None:
        """Publish as somebody does who stores nothing."""
        self.server.client.publish(f"ime:live:{{{self.id}}}", msgspec.json.encode(message))

    def stale(self, gateway: Gateway) -> list[dict[str, Any]]:
        """The log lines on stale messages of the contract."""
        lines = gateway.events("stale message dropped")
        return [line for line in lines if line["contract_id"] == self.id]

    async def crash(self) -> None:
        """Kill the server, and start it with what was saved last."""
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("valkey"), "--save", "") as made:
        yield made


@pytest.fixture(scope="module")
def gateways(server: Server, _serve_all: Serve) -> list[Gateway]:
    asyncio.run(register(server.url, *CONTRACTS))
    return [_serve_all(server.url, status_interval=INTERVAL) for _ in range(2)]


@pytest.fixture
async def world(
    server: Server, gateways: list[Gateway], eventually: Eventually
) -> AsyncIterator[World]:
    await register(server.url, *CONTRACTS)  # a test before may have emptied the store
    async with AsyncExitStack() as stack, Publisher(server.url) as publisher:
        made = World(server, gateways, publisher)
        await made.connect(stack)
        await eventually(lambda: all(reader.statuses for reader in made.watching), 15)
        yield made
        for task in made.tasks:
            assert not task.done(), "a client was closed"
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


async def goes_back(world: World, payload: Payload, eventually: Eventually) -> None:
    """State 1 is saved, 2 is published, and the server comes back with 1."""
    await world.publish(payload(Aggregate={"trade_count": 1}))
    world.server.client.save()
    await world.publish(payload(Aggregate={"trade_count": 2}))
    await eventually(lambda: all(reader.counts == [1, 2] for reader in world.readers), 15)
    await world.crash()
    await eventually(lambda: all(g.get("/ready").status == 200 for g in world.gateways), 15)


async def test_confirmed_state_of_a_reverted_store_reaches_every_client(
    world: World, payload: Payload, eventually: Eventually
) -> None:
    await goes_back(world, payload, eventually)
    lost = world.plain[0].timestamp
    # The state is equal, but clients may have another one.
    assert await world.publish(payload(Aggregate={"trade_count": 1}))
    # Also clients that do not ask for the status, and within seconds.
    await eventually(lambda: all(reader.counts == [1, 2, 1] for reader in world.readers), 15)
    [timestamp] = {reader.timestamp for reader in world.readers}
    assert timestamp > lost
    assert await world.becomes_current(eventually)
    for gateway, watching in zip(world.gateways, world.watching, strict=True):
        assert watching.statuses[-1]["data"]["contracts"] == {world.id: timestamp}
        answer = gateway.get(f"/live/data/aggregate/contract/id?contract_ids={world.id}").json()
        assert answer["Data"][world.id]["trade_count"] == 1
        report = gateway.get(f"/live/status?contract_ids={world.id}").json()
        assert report["contracts"][world.name]["timestamp"] == timestamp
        async with gateway.by_id(world.id, since=lost) as resumed:
            message = await receive(resumed)
            assert (trades(message), message["timestamp"]) == (1, timestamp)
    # It goes on from there, once for each.
    await world.publish(payload(Aggregate={"trade_count": 3}))
    await eventually(lambda: all(reader.counts == [1, 2, 1, 3] for reader in world.readers), 15)


async def test_client_resuming_at_a_gateway_that_knows_less_follows(
    world: World, serve: Serve, payload: Payload, eventually: Eventually
) -> None:
    await goes_back(world, payload, eventually)
    lost = world.plain[0].timestamp
    newcomer = await asyncio.to_thread(serve, world.server.url, status_interval=INTERVAL)
    async with (
        newcomer.by_id(world.id, since=lost, status="true") as resumed,
        newcomer.by_id(world.id, snapshot="true", status="true") as fresh,
    ):
        readers = [Reader(resumed), Reader(fresh)]
        tasks = [asyncio.create_task(reader.run()) for reader in readers]
        await eventually(lambda: all(reader.statuses for reader in readers), 15)
        assert [reader.counts for reader in readers] == [[], [1]]
        await world.publish(payload(Aggregate={"trade_count": 1}))
        # A client that had 2 gets 1 again, and a client that has 1 does not.
        await eventually(lambda: readers[0].counts == [1], 15)
        await eventually(lambda: all(r.counts == [1, 2, 1] for r in world.readers), 15)
        assert readers[0].timestamp == world.plain[0].timestamp > lost
        assert all(await asyncio.gather(*(r.becomes_current(eventually) for r in readers)))
        for reader in readers:
            contracts = reader.statuses[-1]["data"]["contracts"]
            assert contracts == {world.id: reader.timestamp}
        assert readers[1].counts == [1]
        await world.publish(payload(Aggregate={"trade_count": 3}))
        await eventually(lambda: [r.counts for r in readers] == [[1, 3], [1, 3]], 15)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def reading(gateway: Gateway, *ids: str, **requested: str) -> AsyncIterator[Reader]:
    """A client that watches contracts, and what it is sent."""
    async with gateway.by_id(*ids, status="true", **requested) as client:
        reader = Reader(client)
        task = asyncio.create_task(reader.run())
        try:
            yield reader
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def lose_a_state(world: World, contract: str, payload: Payload, ev: Eventually) -> str:
    """State 1 is saved, a client is sent 2 and leaves, and the server comes back with 1.

    Returns:
        The timestamp with which the client left.
    """
    publish = world.publisher.publish
    await publish(contract, payload(Aggregate={"trade_count": 1}))
    world.server.client.save()
    async with reading(world.gateways[0], contract, snapshot="true") as before:
        await publish(contract, payload(Aggregate={"trade_count": 2}))
        await ev(lambda: before.counts == [1, 2], 15)
        lost = before.timestamp
    await world.crash()
    await ev(lambda: all(g.get("/ready").status == 200 for g in world.gateways), 15)
    return lost


@pytest.mark.parametrize("sections", [{}, thorough({"sections": "Aggregate"})])
async def test_client_alone_with_a_lost_state_gets_the_confirmed_state(
    world: World, payload: Payload, eventually: Eventually, sections: dict[str, str]
) -> None:
    # The contract has no other subscriber, so no gateway knows of another state.
    contract, publish = next(_fresh).contract_id, world.publisher.publish
    lost = await lose_a_state(world, contract, payload, eventually)

    async def nothing_confirmed(gateway: Gateway) -> None:
        async with (
            reading(gateway, contract, snapshot="true", since=lost, **sections) as resumed,
            reading(gateway, contract, snapshot="true", **sections) as fresh,
        ):
            # It is current for clients with the store's state; for others that is unknown.
            assert await fresh.becomes_current(eventually)
            assert fresh.counts == [1]
            assert not any(s["data"]["current"] for s in resumed.statuses)
            assert not any(await resumed.next_statuses(10, eventually))
            assert resumed.counts == []

    await asyncio.gather(*map(nothing_confirmed, world.gateways))
    async with (
        reading(world.gateways[0], contract, since=lost, **sections) as resumed,
        reading(world.gateways[0], contract, snapshot="true", **sections) as fresh,
        reading(world.gateways[1], contract, since=lost, **sections) as another,
    ):
        await eventually(lambda: all(r.statuses for r in (resumed, another, fresh)), 15)
        await publish(contract, payload(Aggregate={"trade_count": 1}))
        both = (resumed, another)
        await eventually(lambda: all(reader.counts == [1] for reader in both), 15)
        assert all(reader.timestamp > lost for reader in both)
        assert all(await asyncio.gather(*(r.becomes_current(eventually) for r in both)))
        # A second confirmation changes nothing, and sends nothing.
        await publish(contract, payload(Aggregate={"trade_count": 1}))
        assert all(await resumed.next_statuses(3, eventually))
        assert [r.counts for r in (resumed, another, fresh)] == [[1], [1], [1]]
    # A later client gets it at once.
    async with reading(world.gateways[1], contract, since=lost, **sections) as late:
        await eventually(lambda: late.counts == [1], 15)
        assert await late.becomes_current(eventually)


async def test_quiet_contract_is_current_for_a_resumed_client(
    world: World, payload: Payload, eventually: Eventually
) -> None:
    quiet, busy = next(_fresh).contract_id, next(_fresh).contract_id
    publish = world.publisher.publish
    await publish(quiet, payload(Aggregate={"trade_count": 1}))
    async with reading(world.gateways[0], quiet, busy, snapshot="true") as before:
        await publish(busy, payload(Aggregate={"trade_count": 2}))
        await eventually(lambda: before.counts[-1:] == [2], 15)
        since = before.timestamp

    async def current_at_once(gateway: Gateway) -> None:
        async with reading(gateway, quiet, busy, since=since) as resumed:
            assert all(await resumed.next_statuses(5, eventually))
            assert resumed.statuses[0]["data"]["current"]
            assert resumed.counts == []

    await asyncio.gather(*map(current_at_once, world.gateways))
    # A restart without a loss sends nothing to clients that were connected before.
    async with reading(world.gateways[0], quiet, busy, since=since) as resumed:
        assert await resumed.becomes_current(eventually)
        world.server.client.save()
        await world.crash()
        await eventually(lambda: world.gateways[0].get("/ready").status == 200, 15)
        await publish(quiet, payload(Aggregate={"trade_count": 1}))
        await publish(busy, payload(Aggregate={"trade_count": 2}))
        assert await resumed.becomes_current(eventually)
        assert resumed.counts == []


async def test_reverted_store_without_a_publisher_is_not_current(
    world: World, payload: Payload, eventually: Eventually
) -> None:
    await goes_back(world, payload, eventually)
    assert not any(await world.next_statuses(20, eventually))
    assert all(reader.counts == [1, 2] for reader in world.readers)


async def test_emptied_store_is_not_current_until_it_is_filled_again(
    world: World, payload: Payload, eventually: Eventually
) -> None:
    await world.publish(payload(Aggregate={"trade_count": 1}))
    await eventually(lambda: all(reader.counts == [1] for reader in world.readers), 15)
    assert await world.watching[0].becomes_current(eventually)
    world.server.client.flushall()
    await eventually(lambda: not any(watching.current for watching in world.watching), 15)
    assert not any(await world.next_statuses(3, eventually))
    await world.publish(payload(Aggregate={"trade_count": 1}))
    for watching in world.watching:
        await eventually(lambda watching=watching: watching.current, 15)
    assert all(reader.counts == [1] for reader in world.readers)  # equal is no news


async def test_foreign_version_far_ahead_does_not_silence_the_contract(
    world: World, payload: Payload, eventually: Eventually
) -> None:
    await world.publish(payload(Aggregate={"trade_count": 1}))
    far = time.time_ns() // 1000 + 3600 * SECOND
    world.send({"version": far, "data": payload(Aggregate={"trade_count": 666})})
    await eventually(lambda: all(reader.counts == [1, 666] for reader in world.readers), 15)
    await world.publish(payload(Aggregate={"trade_count": 2}))
    await eventually(lambda: all(reader.counts == [1, 666, 2] for reader in world.readers), 15)
    assert {version_of(r.timestamp, zone_of(TEHRAN)) for r in world.readers} == {far + 1}
    for gateway in world.gateways:
        [line] = world.stale(gateway)
        assert line["newest"] == far
        assert line["version"] < far
        assert "ahead of this clock" in line["hint"]
    # From now on versions are ahead, and nothing is dropped any more.
    for count in (3, 4):
        await world.publish(payload(Aggregate={"trade_count": count}))
    await eventually(
        lambda: all(reader.counts == [1, 666, 2, 3, 4] for reader in world.readers), 15
    )
    assert await world.becomes_current(eventually)


async def test_store_reverted_while_versions_are_ahead_is_followed(
    world: World, payload: Payload, eventually: Eventually
) -> None:
    far = time.time_ns() // 1000 + 3600 * SECOND
    data = msgspec.json.encode(payload(Aggregate={"trade_count": 1}))
    key = f"ime:last:{{{world.id}}}"
    world.server.client.hset(key, mapping={"version": far, "data": data, "seen": far})
    for count in (2, 3):
        await world.publish(payload(Aggregate={"trade_count": count}))
        if count == 2:
            world.server.client.save()
    await eventually(lambda: all(reader.counts[-1:] == [3] for reader in world.readers), 15)
    await world.crash()
    # The next version is the very one that 3 had.
    await world.publish(payload(Aggregate={"trade_count": 4}))
    await eventually(lambda: all(reader.counts[-2:] == [3, 4] for reader in world.readers), 15)
    assert await world.becomes_current(eventually)


async def test_message_in_another_unit_is_named_in_the_log(
    world: World, payload: Payload, eventually: Eventually
) -> None:
    await world.publish(payload(Aggregate={"trade_count": 1}))
    await eventually(lambda: all(reader.counts == [1] for reader in world.readers), 15)
    for _ in range(3):
        world.send({"version": 1_795_700_000, "data": payload(Aggregate={"trade_count": 2})})
    for gateway in world.gateways:
        await eventually(lambda gateway=gateway: world.stale(gateway), 15)
        [line] = world.stale(gateway)
        assert line["version"] == 1_795_700_000
        assert line["newest"] == version_of(world.plain[0].timestamp, zone_of(TEHRAN))
        assert line["hint"] == "is 1795700000 not microseconds?"
    assert await world.watching[0].becomes_current(eventually)


async def test_unstored_updates_are_never_replaced(
    world: World, payload: Payload, eventually: Eventually
) -> None:
    await world.publish(payload(Aggregate={"trade_count": 1}))
    world.send({"data": payload(Aggregate={"trade_count": 2})})
    await eventually(lambda: all(reader.counts == [1, 2] for reader in world.readers), 15)
    assert not any(await world.next_statuses(20, eventually))
    assert all(reader.counts == [1, 2] for reader in world.readers)


async def test_read_only_gateway_is_not_current_and_logs_it(
    serve: Serve, tmp_path: Path, payload: Payload, eventually: Eventually
) -> None:
    # On a server of its own: another gateway would lift the state.
    with Server(tmp_path / "valkey", "--save", "") as server:
        await register(server.url, CONTRACTS[0])
        rights = ("on", "nopass", "~*", "&*", "+@read", "+@pubsub", "+@connection", "-publish")
        server.client.execute_command("ACL", "SETUSER", "reader", *rights)
        url = server.url.replace("//", "//reader:x@")
        gateway = await asyncio.to_thread(serve, url, status_interval=INTERVAL)
        async with AsyncExitStack() as stack, Publisher(server.url) as publisher:
            client = await stack.enter_async_context(
                gateway.by_id("1", snapshot="true", status="true")
            )
            reader = Reader(client)
            task = asyncio.create_task(reader.run())
            await publisher.publish("1", payload(Aggregate={"trade_count": 1}))
            foreign = {"version": time.time_ns() // 1000 + 3600 * SECOND, "data": payload()}
            server.client.publish("ime:live:{1}", msgspec.json.encode(foreign))
            await eventually(lambda: len(reader.counts) == 2, 15)
            await publisher.publish("1", payload(Aggregate={"trade_count": 2}))
            assert not any(await reader.next_statuses(20, eventually))
            [line] = await gateway.logged("version of a stored state cannot be raised")
            assert line["contract_id"] == "1"
            assert len(reader.counts) == 2
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
