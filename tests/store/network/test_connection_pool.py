"""Resets of connections, on asyncio and uvloop: a command after one is answered all the same."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from ime_live.errors import StoreError
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.store.lease import Lease
from ime_live.store.network.connection_pool import Pool, TcpConnection, retry_once
from ime_live.store.network.connections import Connections
from ime_live.store.network.topology import Single
from ime_live.store.store import Store
from tests.support.marks import thorough
from tests.support.proxy import Proxy
from tests.support.servers import PATIENCE, ClusterServers, Server, free_port
from tests.support.serving import serving
from tests.support.tls import TlsProxy

Run = Callable[[Coroutine[Any, Any, None]], None]
MakePayload = Callable[..., dict[str, Any]]


@pytest.fixture(params=[thorough(asyncio.run), uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs on each kind of loop, since they treat a closed transport differently."""
    made: Run = request.param
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of a Valkey."""
    with EmbeddedValkey(tcp=True) as valkey:
        yield int(valkey.url.rpartition(":")[2])


async def at_once(do: Callable[[], Awaitable[object]]) -> None:
    """Do something so often at a time that several connections are used."""
    await asyncio.gather(*(do() for _ in range(6)))


@pytest.mark.parametrize("noticed", [True, False])
def test_commands_after_a_reset_are_answered(
    run: Run, server: int, payload: MakePayload, noticed: bool
) -> None:
    async def main() -> None:
        async with (
            Proxy(server) as proxy,
            Store(StoreSettings(redis_url=proxy.url)) as store,
            Lease(StoreSettings(redis_url=proxy.url), "a") as lease,
            Publisher(proxy.url) as publisher,
        ):

            async def use() -> None:
                await store.ping()
                await lease.take()
                await publisher.publish("1", payload())
                await store.contracts()

            for _ in range(4):
                await at_once(use)
                await proxy.reset()
                if noticed:
                    await asyncio.sleep(0.02)  # the loop hears of it before the next command does
            await at_once(use)

    run(main())


def test_outage_is_a_store_error_and_leaves_no_connection(run: Run, server: int) -> None:
    async def main() -> None:
        async with Proxy(server) as proxy, Store(StoreSettings(redis_url=proxy.url)) as store:
            for _ in range(3):
                await at_once(store.ping)
                await proxy.cut()
                for _ in range(3):
                    with pytest.raises(StoreError, match="refused the connection"):
                        await store.ping()
                await proxy.mend()
                await at_once(store.ping)

    run(main())


def test_commands_in_flight_are_retried_or_fail_as_store_errors(run: Run, server: int) -> None:
    async def main() -> None:
        answered = 0
        async with Proxy(server) as proxy, Store(StoreSettings(redis_url=proxy.url)) as store:

            async def ask() -> None:
                nonlocal answered
                for _ in range(30):
                    try:
                        await store.ping()
                        answered += 1
                    except StoreError:  # broken twice in a row
                        await asyncio.sleep(0)

            async def disturb() -> None:
                for _ in range(20):
                    await proxy.reset()
                    await asyncio.sleep(0.005)

            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(disturb(), *(ask() for _ in range(20)))
            await store.ping()
        assert answered

    run(main())


def test_pool_recovers_after_its_connections_were_broken(run: Run, server: int) -> None:
    async def main() -> None:
        pool = Pool(host="127.0.0.1", port=server, retry=retry_once())
        async with aclosing(pool):
            client: Any = Redis.from_pool(pool)

            async def waiting_for(other: Collection[str] = ()) -> Collection[str]:
                """Connections that wait for a list, once there are others than these."""
                async with asyncio.timeout(PATIENCE):
                    while True:
                        clients = await client.client_list()
                        ids = {each["id"] for each in clients if "b" in each["flags"]}
                        if ids.difference(other):
                            return ids
                        await asyncio.sleep(0.002)

            waiting = asyncio.create_task(client.blpop(["list"], timeout=PATIENCE))
            before = await waiting_for()
            pool.abort()
            await waiting_for(before)  # again, on another connection
            await client.rpush("list", "item")
            assert await waiting == (b"list", b"item")
            pool.abort("the reason")
            with pytest.raises(RedisConnectionError, match="the reason"):
                await client.ping()

    run(main())


def test_pool_recovers_after_resets_and_breaks_over_tls(
    run: Run, server: int, tmp_path: Path
) -> None:
    tls = TlsProxy(tmp_path)

    async def main() -> None:
        async with Proxy(server) as proxy, tls.before(proxy.port) as place:
            url = f"rediss://{place}?ssl_ca_certs={quote(str(tls.ca))}"
            async with Store(StoreSettings(redis_url=url)) as store:
                topology = store.connections.client()
                assert isinstance(topology, Single)
                for _ in range(3):
                    await at_once(store.ping)
                    await proxy.reset()
                    await at_once(store.ping)
                    topology._pool.abort()
                await at_once(store.ping)

    run(main())


def test_closing_does_not_wait_for_a_hanging_server(run: Run, server: int) -> None:
    async def main() -> None:
        async with Proxy(server) as proxy:
            store = Store(StoreSettings(redis_url=proxy.url, redis_timeout=10 * PATIENCE))
            await store.ping()
            proxy.freeze()
            waiting = asyncio.create_task(store.ping())
            await asyncio.sleep(0.01)
            async with asyncio.timeout(PATIENCE):
                await store.aclose()
                with pytest.raises(StoreError):
                    await waiting

    run(main())


async def test_hanging_connection_attempt_can_be_cancelled() -> None:
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # The port accepts no connection, and from the second one on the kernel does not answer.
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        connection: Any = TcpConnection(
            host="127.0.0.1", port=listener.getsockname()[1], socket_connect_timeout=None
        )
        attempt = asyncio.create_task(connection.connect())
        await asyncio.sleep(0.02)
        assert not attempt.done()
        connection.abort("it is not needed any more")
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(RedisConnectionError, match="not needed"):
                await attempt


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("unable to perform operation on <TCPTransport closed=True>"),
        AttributeError("'NoneType' object has no attribute 'write'"),
        TypeError("'int' object is not subscriptable"),
        IndexError("list index out of range"),
        EOFError(),
        asyncio.InvalidStateError("invalid state"),
        MemoryError(),
    ],
)
async def test_every_exception_of_redis_py_becomes_a_store_error(error: Exception) -> None:
    connections = Connections(StoreSettings(redis_url="redis://:secret@localhost"))
    with (
        capture_logs() as logs,
        pytest.raises(StoreError, match="cannot be used") as caught,
        connections.errors(),
    ):
        raise error
    assert caught.value.__cause__ is error
    assert [line["exc_info"] for line in logs] == [error]


async def test_cancellation_is_not_a_store_error() -> None:
    connections = Connections(StoreSettings(redis_url="redis://localhost"))

    async def swallows() -> None:
        with connections.errors():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise RuntimeError("of a library that turns it into something else") from None

    task = asyncio.create_task(swallows())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_server_that_became_a_replica_is_replaced_by_the_master(
    tmp_path: Path,
) -> None:
    """Behind one address, as of a load balancer that follows the master."""
    with Server(tmp_path / "a", "--save", "") as old, Server(tmp_path / "b", "--save", "") as new:
        async with Proxy(old.port) as proxy, Store(StoreSettings(redis_url=proxy.url)) as store:
            await store.publish([("1", b"{}")])
            old.client.execute_command("REPLICAOF", "127.0.0.1", new.port)
            proxy.target = new.port
            [stored] = await store.publish([("1", b"{}")])
            assert not isinstance(stored, StoreError), stored
            assert new.client.hget("ime:last:{1}", "version") == str(stored.version)


# -- links that are half open ----------------------------------------------------------------


SHORT = 0.3
"""Seconds within which a server must answer where a test waits for that to be over."""


async def times_out(do: Callable[[], Awaitable[object]]) -> None:
    """Do something over a half-open link."""
    with pytest.raises(StoreError, match="did not answer within"):
        await do()


def test_timeout_renews_all_idle_connections(run: Run, server: int) -> None:
    async def main() -> None:
        async with Proxy(server) as proxy:
            settings = StoreSettings(redis_url=proxy.url, redis_timeout=SHORT)
            async with Store(settings) as store:
                for _ in range(2):
                    await at_once(store.ping)
                    proxy.half_open()
                    await times_out(store.ping)
                    await at_once(store.ping)

    run(main())


def test_timeout_renews_shared_connections_of_every_user(
    run: Run, server: int, payload: MakePayload
) -> None:
    async def main() -> None:
        async with Proxy(server) as proxy:
            settings = StoreSettings(redis_url=proxy.url, redis_timeout=SHORT)
            async with Store(settings) as store:
                shared = store.connections
                lease = Lease(settings, "a", connections=shared)
                publisher = Publisher(connections=shared)
                other = Store(settings, connections=shared)

                async def use() -> None:
                    await lease.take()
                    await publisher.publish("1", payload())
                    await other.contracts()

                for do in (lease.take, lambda: publisher.publish("1", payload()), other.ping):
                    await at_once(use)
                    proxy.half_open()
                    await times_out(do)
                    await at_once(use)

    run(main())


async def test_closing_one_user_keeps_shared_connections_open(
    server: int, payload: MakePayload
) -> None:
    settings = StoreSettings(redis_url=f"redis://127.0.0.1:{server}")
    async with Store(settings) as store:
        shared = store.connections
        async with (
            Lease(settings, "a", connections=shared),
            Publisher(connections=shared),
            Store(settings, connections=shared),
        ):
            pass
        await store.ping()


def test_timeout_renews_idle_connections_to_all_cluster_nodes(run: Run, tmp_path: Path) -> None:
    ids = [str(n) for n in range(50)]  # some at each node

    async def main() -> None:
        ports = [free_port() for _ in range(3)]
        async with AsyncExitStack() as stack:
            proxies = [await stack.enter_async_context(Proxy(port)) for port in ports]
            pairs = [(port, proxy.port) for port, proxy in zip(ports, proxies, strict=True)]
            servers = await asyncio.to_thread(ClusterServers, tmp_path, replicas=0, ports=pairs)
            stack.callback(servers.__exit__, None, None, None)
            settings = StoreSettings(redis_url=servers.url, redis_timeout=SHORT)
            store = await stack.enter_async_context(Store(settings))
            await at_once(lambda: store.versions(ids))
            for proxy in proxies:
                proxy.half_open()
            await times_out(lambda: store.versions(ids[:1]))
            await at_once(lambda: store.versions(ids))

    run(main())


async def _answer_in_parts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each command by its second word, in parts of a few bytes."""
    while data := await reader.read(65_536):
        words = data.split(b"\r\n")
        answers = b"".join(
            {b"a": b"$5\r\n1\r\n23\r\n", b"b": b"-ERR no\r\n", b"c": b"*2\r\n:1\r\n$-1\r\n"}[word]
            for word in words
            if word in (b"a", b"b", b"c")
        )
        for start in range(0, len(answers) or 1, 7):
            writer.write(answers[start : start + 7] or b"+OK\r\n" * data.count(b"*"))
            await writer.drain()
            await asyncio.sleep(0)


@pytest.mark.parametrize("keys", ["a", "abc", "b", "cabbac" * 20])
def test_replies_that_arrive_in_parts_are_read_in_order(run: Run, keys: str) -> None:
    async def main() -> None:
        async with serving(_answer_in_parts) as port:
            options = {"host": "127.0.0.1", "port": port, "retry": retry_once(), "protocol": 2}
            redis = Single(options)
            replies = await redis.run([("GET", key) for key in keys])
            await redis.aclose()
        expected = {"a": b"1\r\n23", "b": "no", "c": [1, None]}
        got = [str(each) if isinstance(each, Exception) else each for each in replies]
        assert got == [expected[key] for key in keys]

    run(main())
