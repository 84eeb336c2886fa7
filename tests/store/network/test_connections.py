"""Connections to Redis: sockets, passwords, TLS, Sentinel and clusters."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest

from ime_live.errors import SettingsError, StoreError
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.store.network.connections import Connections
from ime_live.store.pubsub import PubSub
from ime_live.store.store import Store
from tests.support.rows import each_row
from tests.support.servers import MASTER, SLOTS, Server, free_port, is_ok, until
from tests.support.serving import serving
from tests.support.tls import TlsProxy


def store_of(url: str) -> Store:
    return Store(StoreSettings(redis_url=url))


async def test_missing_socket_or_host_is_a_store_error() -> None:
    async with Store(StoreSettings(redis_url="unix:///nowhere/valkey.sock")) as store:
        with pytest.raises(
            StoreError, match=r"^Redis at /nowhere/valkey.sock cannot be reached: no such file"
        ):
            await store.ping()
    async with Store(StoreSettings(redis_url="redis://no-such-host.invalid")) as store:
        with pytest.raises(
            StoreError, match=r"^Redis at no-such-host.invalid:6379 cannot be found: "
        ):
            await store.ping()


async def test_connection_times_out_without_an_answer() -> None:
    async def silent(*_: object) -> None:
        await asyncio.Event().wait()

    async with serving(silent) as port:
        url = f"redis://127.0.0.1:{port}"
        async with Store(StoreSettings(redis_url=url, redis_timeout=0.05)) as store:
            with pytest.raises(
                StoreError, match=rf"^Redis at 127.0.0.1:{port} did not answer within 0.05 s$"
            ):
                await store.ping()


async def test_connection_uses_passwords(own_valkey: EmbeddedValkey) -> None:
    async with Store(StoreSettings(redis_url=own_valkey.url)) as store:
        await store.connections.client().run([("CONFIG", "SET", "requirepass", "p@ss/word")])
    place = own_valkey.url.removeprefix("redis://")
    url = f"redis://:p%40ss%2Fword@{place}/3"
    async with Store(StoreSettings(redis_url=url, key_prefix="x:")) as store:
        await store.ping()
    for login, reason in ((":wrong-secret@", "refused the login"), ("", "refused the login")):
        async with Store(StoreSettings(redis_url=f"redis://{login}{place}")) as store:
            with pytest.raises(StoreError, match=f"^Redis at {place} {reason}") as caught:
                await store.ping()
            assert "wrong-secret" not in str(caught.value)


@each_row(
    "url",
    [
        "redis://localhost/1",
        "redis://u:p@localhost:6379/15",
        "redis://localhost?db=1",
        "rediss://localhost/1",
        "unix:///run/valkey.sock?db=1",
        "redis+sentinel://localhost/mymaster/1",
        "redis+sentinel://localhost/mymaster?db=1",
    ],
)
def test_database_other_than_0_needs_a_prefix_of_its_own(url: str) -> None:
    with pytest.raises(SettingsError, match="because Pub/Sub ignores databases, got the default"):
        Connections(StoreSettings(redis_url=url))
    with pytest.raises(SettingsError, match="because Pub/Sub ignores databases, got the default"):
        Publisher(url)
    assert Connections(StoreSettings(redis_url=url, key_prefix="test:"))
    assert Publisher(url, key_prefix="test:")


@each_row(
    "url",
    [
        "redis://localhost/0",
        "redis://localhost?db=0",
        "unix:///run/valkey.sock?db=0",
        "redis+sentinel://localhost/mymaster/0",
        "redis+cluster://localhost/0",
    ],
)
def test_database_0_may_have_the_default_prefix(url: str) -> None:
    assert Connections(StoreSettings(redis_url=url))


async def test_connection_uses_tls(own_valkey: EmbeddedValkey, tmp_path: Path) -> None:
    proxy = TlsProxy(tmp_path)
    port = int(own_valkey.url.rpartition(":")[2])
    async with proxy.before(port) as place:
        url = f"rediss://{place}?ssl_ca_certs={quote(str(proxy.ca))}"
        async with store_of(url) as store:
            await store.ping()
            heard = asyncio.Event()
            subscriber = PubSub(
                store,
                on_message=lambda _id, _raw: heard.set(),
                on_contracts=lambda _ids: None,
                on_connected=lambda: None,
                on_disconnected=lambda _error: None,
            )
            confirmed = subscriber.subscribe(["1"])
            assert await confirmed is False
            listening = asyncio.create_task(subscriber.run())
            async with asyncio.timeout(10):
                while not subscriber.connected:  # noqa: ASYNC110 - it sets no event of ours
                    await asyncio.sleep(0.001)
                await store.publish([("1", b"{}")])
                await heard.wait()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        for wrong, reason in (
            (f"rediss://{place}", "certificate that is not trusted"),
            (url.replace("127.0.0.1", "localhost"), "certificate that is not trusted"),
        ):
            async with store_of(wrong) as store:
                with pytest.raises(StoreError, match=reason):
                    await store.ping()
        async with store_of(
            f"rediss://{place}?ssl_cert_reqs=none&ssl_check_hostname=false"
        ) as store:
            await store.ping()


async def test_sentinel_and_its_master_are_reached_by_tls(
    own_valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    proxy = TlsProxy(tmp_path)
    conf = tmp_path / "sentinel.conf"
    conf.touch()
    port = int(own_valkey.url.rpartition(":")[2])
    with Server(tmp_path / "sentinel", str(conf), "--sentinel") as sentinel:
        async with proxy.before(port) as master, proxy.before(sentinel.port) as place:
            monitor = ("SENTINEL", "MONITOR", MASTER, *master.split(":"), 1)
            sentinel.client.execute_command(*monitor)
            options = f"ssl_ca_certs={quote(str(proxy.ca))}"
            async with store_of(f"rediss+sentinel://{place}/{MASTER}?{options}") as store:
                await store.ping()
            async with store_of(f"redis+sentinel://{place}/{MASTER}") as store:
                with pytest.raises(StoreError, match="no Sentinel answers"):
                    await store.ping()


async def test_sentinel_and_its_master_have_separate_passwords(
    own_valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    conf = tmp_path / "sentinel.conf"
    conf.touch()
    async with store_of(own_valkey.url) as store:
        await store.connections.client().run([("CONFIG", "SET", "requirepass", "master's")])
    with Server(tmp_path / "sentinel", str(conf), "--sentinel") as sentinel:
        monitor = ("SENTINEL", "MONITOR", MASTER, *own_valkey.url[8:].split(":"), 1)
        sentinel.client.execute_command(*monitor)
        sentinel.client.execute_command("ACL", "SETUSER", "default", "resetpass", ">its own")
        url = f"redis+sentinel://:master%27s@{sentinel.address}/{MASTER}"
        async with store_of(f"{url}?sentinel_password=its%20own") as store:
            await store.ping()
        async with store_of(f"{url}?sentinel_password=wrong") as store:
            with pytest.raises(StoreError) as caught:
                await store.ping()
            assert "wrong" not in "".join(traceback.format_exception(caught.value))


async def test_cluster_is_reached_by_tls(tmp_path: Path) -> None:
    proxy = TlsProxy(tmp_path)
    announced = free_port()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--save", "")
    with Server(tmp_path / "node", *options, "--cluster-announce-port", str(announced)) as node:
        node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        until(lambda: is_ok(node))
        async with proxy.before(node.port, announced) as place:
            url = f"rediss+cluster://{place}?ssl_ca_certs={quote(str(proxy.ca))}"
            async with store_of(url) as store:
                await store.ping()
                [stored] = await store.publish([("1", b"{}")])
                assert not isinstance(stored, StoreError)


async def test_cancellation_is_not_lost_on_the_way_to_redis(valkey: EmbeddedValkey) -> None:
    connections = Connections(StoreSettings(redis_url=valkey.url))
    client = connections.client()

    async def lives() -> None:
        while True:
            with connections.errors():
                await client.ping()
                await client.ping()

    for steps in range(12):  # at each place where it may wait
        task = asyncio.create_task(lives())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=10)
        assert done, f"it lives on after {steps} steps"
    with connections.errors():
        await connections.aclose()
