"""A gateway is killed and another takes over its address: received against published states.

Three clients, one of each kind of queue. Their messages are compared with the published ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

import ime_live
from ime_live.client.connecting import QueueName
from ime_live.contracts import Contract
from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Serve
from tests.support.gateways import Gateway

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]

QUEUES: tuple[QueueName, ...] = ("latest", "drop_oldest", "block")
ROUNDS = 40


class Witness:
    """A client that notes what it gets: of each contract, versions and what was skipped."""

    def __init__(self, stream: ime_live.Stream[ime_live.Payload], pause: float) -> None:
        self.stream = stream
        self.seen: dict[str, list[int]] = {}
        self.skipped = 0
        self._pause = pause

    async def watch(self) -> None:
        """Read until cancelled."""
        async for message in self.stream:
            name = message.contract_name
            assert name is not None
            version = round(message.timestamp.timestamp() * 1_000_000)
            self.seen.setdefault(name, []).append(version)
            self.skipped += message.skipped
            if self._pause:
                await asyncio.sleep(self._pause)

    def is_at(self, newest: dict[str, int]) -> bool:
        """Whether it has these versions last."""
        return {name: versions[-1] for name, versions in self.seen.items()} == newest


class Record:
    """Publishes, and notes what was."""

    def __init__(self, publisher: Publisher, payload: Payload, contracts: list[Contract]) -> None:
        self.versions: dict[str, list[int]] = {c.contract_name: [] for c in contracts}
        self._publisher, self._payload, self._contracts = publisher, payload, contracts
        self._count = 0

    @property
    def newest(self) -> dict[str, int]:
        """The last version of each contract."""
        return {name: versions[-1] for name, versions in self.versions.items()}

    async def publish(self, rounds: int, pause: float = 0.0) -> None:
        """Change every contract so many times."""
        for _ in range(rounds):
            for contract in self._contracts:
                self._count += 1
                outcome = await self._publisher.publish(
                    contract.contract_id,
                    self._payload(Aggregate={"trade_count": self._count}),
                )
                self.versions[contract.contract_name].append(outcome.version)
            await asyncio.sleep(pause)


async def test_client_resumes_at_another_gateway(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    contracts = market.take(6)
    record = Record(publisher, payload, contracts)
    # One more that nobody trades: it never has a timestamp.
    names = [contract.contract_name for contract in (*contracts, market.one())]
    gateway = serve()
    async with AsyncExitStack() as stack:
        witnesses = {}
        for queue in QUEUES:
            stream = await stack.enter_async_context(
                ime_live.connect(
                    gateway.url(""),
                    names,
                    proxy=None,
                    queue=queue,
                    queue_size=100,
                    max_reconnect_delay=0.1,
                )
            )
            await eventually(lambda stream=stream: stream.connected)
            # The client with a slot per contract is slow as well, so that slots are replaced.
            witnesses[queue] = Witness(stream, 0.002 if queue == "latest" else 0.0)
        tasks = [asyncio.create_task(witness.watch()) for witness in witnesses.values()]

        async def settled() -> None:
            for witness in witnesses.values():
                await eventually(lambda witness=witness: witness.is_at(record.newest), 15)

        async def killed() -> Gateway:
            gateway.process.kill()
            gateway.process.wait()
            for witness in witnesses.values():
                await eventually(lambda witness=witness: not witness.stream.connected)
            return gateway

        # Without an outage every state arrives.
        await record.publish(ROUNDS)
        await settled()
        before = {name: list(versions) for name, versions in record.versions.items()}
        assert witnesses["block"].seen == before
        assert witnesses["drop_oldest"].seen == before

        # After an outage: the newest state of each contract, and every later one.
        await killed()
        await record.publish(ROUNDS)
        conflated = record.newest
        gateway = serve(port=gateway.port)
        await settled()
        await record.publish(ROUNDS)
        await settled()
        expected = {
            name: [*before[name], conflated[name], *versions[2 * ROUNDS :]]
            for name, versions in record.versions.items()
        }
        assert witnesses["block"].seen == expected
        assert witnesses["drop_oldest"].seen == expected

        # A kill in the middle of a burst, which goes on all the while.
        burst = asyncio.create_task(record.publish(3 * ROUNDS, 0.005))
        await eventually(lambda: len(record.versions[names[0]]) > 4 * ROUNDS - ROUNDS // 2)
        await killed()
        gateway = serve(port=gateway.port)
        await burst
        await settled()

        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 3
        for queue, witness in witnesses.items():
            for name, versions in witness.seen.items():
                assert versions == sorted(set(versions)), f"{queue}: out of order or twice"
                assert set(versions) <= set(record.versions[name]), f"{queue}: never published"
        assert witnesses["block"].skipped == witnesses["drop_oldest"].skipped == 0
        assert witnesses["latest"].skipped == witnesses["latest"].stream.skipped > 0


@pytest.mark.thorough
async def test_selection_change_survives_an_outage(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    kept, dropped, added = market.take(3)
    for contract in (kept, dropped, added):
        await publisher.publish(contract.contract_id, payload())
    gateway = serve()
    async with ime_live.connect(
        gateway.url(""),
        [kept.contract_name, dropped.contract_name],
        proxy=None,
        max_reconnect_delay=0.1,
    ) as stream:
        first = {(await anext(stream)).contract_name for _ in range(2)}
        assert first == {kept.contract_name, dropped.contract_name}
        gateway.process.kill()
        await eventually(lambda: not stream.connected)
        changes = [
            asyncio.create_task(stream.add([added.contract_name, "NOPE"])),
            asyncio.create_task(stream.remove([dropped.contract_name])),
        ]
        await asyncio.sleep(0.05)
        assert not changes[0].done()
        gateway = serve(port=gateway.port)
        async with asyncio.timeout(15):
            unknown, _ = await asyncio.gather(*changes, return_exceptions=True)
            assert str(unknown) == "unknown contract: NOPE"
            # Only what was added: of the others there is nothing new.
            assert (await anext(stream)).contract_name == added.contract_name
        assert set(stream.contracts.contract_names) == {kept.contract_name, added.contract_name}
        # It also survives the next outage.
        gateway.process.kill()
        await eventually(lambda: not stream.connected)
        for contract in (kept, dropped, added):
            await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 99}))
        serve(port=gateway.port)
        async with asyncio.timeout(15):
            second = {(await anext(stream)).contract_name for _ in range(2)}
        assert second == {kept.contract_name, added.contract_name}


async def test_full_queue_loses_nothing_when_the_gateway_dies(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    contracts = market.take(2)
    record = Record(publisher, payload, contracts)
    names = [contract.contract_name for contract in contracts]
    gateway = serve()
    async with ime_live.connect(
        gateway.url(""), names, proxy=None, queue="block", queue_size=2, max_reconnect_delay=0.1
    ) as stream:
        await eventually(lambda: stream.connected)
        await record.publish(5)
        await eventually(lambda: stream._receiver.full)
        gateway.process.kill()
        gateway.process.wait()
        await eventually(lambda: not stream.connected)
        await record.publish(5)
        serve(port=gateway.port)
        witness = Witness(stream, 0.0)
        task = asyncio.create_task(witness.watch())
        await eventually(lambda: witness.is_at(record.newest), 15)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        held = 0
        for name, versions in record.versions.items():
            seen = witness.seen[name]
            assert seen == sorted(set(seen))
            assert set(seen) <= set(versions)
            held += sum(version <= versions[4] for version in seen)
        # The messages that filled the queue, and at least one more.
        assert held >= 3
        assert stream.skipped == 0
