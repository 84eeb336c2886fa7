"""A gateway on a replica, as a relay per host: publishers write to the primary."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ime_live.contracts import Contract
from ime_live.publisher import Publisher
from tests.stream.conftest import Serve, register
from tests.stream.test_store_goes_back import Reader
from tests.support.proxy import Proxy
from tests.support.servers import Server, until

Eventually = Callable[..., Awaitable[None]]
Payload = Callable[..., dict[str, Any]]

SOON = ("--save", "", "--repl-diskless-sync-delay", "0")


def _follows(replica: Server) -> bool:
    return bool(replica.client.info("replication")["master_link_status"] == "up")


async def test_gateway_on_a_replica_misses_nothing_over_its_loss_and_a_broken_link(
    serve: Serve, tmp_path: Path, payload: Payload, eventually: Eventually
) -> None:
    # As docs/operations.md says: without data that may be old, the gateway knows that they may be.
    with Server(tmp_path / "primary", *SOON) as primary:
        await register(primary.url, Contract(contract_id="1", contract_name="ContractA"))
        async with Proxy(primary.port) as link:
            near = int(link.url.rpartition(":")[2])
            options = (
                *SOON,
                "--replicaof",
                f"127.0.0.1 {near}",
                "--replica-serve-stale-data",
                "no",
            )

            def replica(name: str, port: int = 0) -> Server:
                made = Server(tmp_path / name, *options, port=port)
                until(lambda: _follows(made))
                return made

            with await asyncio.to_thread(replica, "first") as first:
                gateway = await asyncio.to_thread(serve, first.url, status_interval=0.3)
                async with (
                    gateway.by_id("1", status="true") as client,
                    Publisher(primary.url) as publisher,
                ):
                    reader = Reader(client)
                    task = asyncio.create_task(reader.run())

                    async def publish(count: int) -> None:
                        await publisher.publish("1", payload(Aggregate={"trade_count": count}))

                    for count in range(1, 21):
                        await publish(count)
                    await eventually(lambda: reader.counts == [*range(1, 21)])
                    assert await reader.becomes_current(eventually)
                    # The replica dies, and another one takes its place.
                    first.kill()
                    await publish(21)
                    with await asyncio.to_thread(replica, "second", first.port):
                        await eventually(lambda: reader.counts[-1] == 21, 15)
                        assert await reader.becomes_current(eventually)
                        # It is cut off from the primary: what it has may be old.
                        await link.cut()
                        await publish(22)
                        await eventually(lambda: not reader.current, 15)
                        assert reader.counts[-1] == 21
                        await link.mend()
                        await eventually(lambda: reader.counts[-1] == 22, 15)
                        assert await reader.becomes_current(eventually)
                        await publish(23)
                        await eventually(lambda: reader.counts == [*range(1, 24)])
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
