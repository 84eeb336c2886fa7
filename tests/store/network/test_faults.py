"""Faults that no waiting cures: found at the start on real servers, and told from outages."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.exceptions import AuthenticationError, ResponseError

from ime_live.errors import StoreError, StoreSettingsError
from ime_live.settings import StoreSettings
from ime_live.store.network.faults import final_fault, first_words, speaks_tls
from ime_live.store.store import Store, check_settings
from tests.support.servers import (
    MASTER,
    PATIENCE,
    SLOTS,
    ClusterServers,
    Server,
    free_port,
    is_ok,
    until,
)
from tests.support.serving import serving
from tests.support.tls import TlsProxy

REDIS = shutil.which("redis-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A single server with four databases and some users."""
    with Server(tmp_path_factory.mktemp("server"), "--databases", "4", "--save", "") as made:
        for user, *rules in (
            ("full", "~*", "&*"),
            ("off", "off", "~*", "&*"),
            ("reads", "%R~ime:*", "&*"),
            ("silent", "~ime:*", "resetchannels"),
            ("other", "~other:*", "&*"),
            ("nohmget", "-hmget", "~*", "&*"),
            ("nohgetall", "-hgetall", "~*", "&*"),
            ("noscripts", "-evalsha", "~*", "&*"),
            ("noinfo", "-info", "~*", "&*"),
        ):
            made.client.execute_command("ACL", "SETUSER", user, "on", ">secret", "+@all", *rules)
        yield made


@pytest.fixture(scope="module")
def sentinel(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Sentinel over it, which asks for a password."""
    folder = tmp_path_factory.mktemp("sentinel")
    conf = folder / "sentinel.conf"
    conf.write_text(f"sentinel monitor {MASTER} 127.0.0.1 {server.port} 1\n")
    with Server(folder / "files", str(conf), "--sentinel") as made:
        yield made


async def fault_of(url: str, *, writes: bool = False, key_prefix: str = "ime:") -> str | None:
    """Return the fault that ends a process at its start, or None."""
    settings = StoreSettings(redis_url=url, key_prefix=key_prefix)
    fault = None
    try:
        await check_settings(settings, writes=writes)
    except StoreSettingsError as error:
        fault = str(error)
    assert "secret" not in str(fault)
    return fault


async def test_check_of_a_correct_server_finds_no_fault_and_writes_nothing(server: Server) -> None:
    for writes in (False, True):
        assert await fault_of(server.url, writes=writes) is None
        assert await fault_of(f"redis://full:secret@{server.address}", writes=writes) is None
        assert await fault_of(f"{server.url}/3", writes=writes, key_prefix="x:") is None
    assert server.client.dbsize() == 0


@pytest.mark.parametrize(
    ("login", "words"),
    [
        (":wrong-secret@", "refused the login: "),
        ("full:wrong-secret@", "refused the login: "),
        ("nobody:secret@", "refused the login: "),
        ("off:secret@", "refused the login: "),
        ("other:secret@", "refused a command that is needed: "),
        ("nohmget:secret@", "refused a command that is needed: "),
        ("nohgetall:secret@", "refused a command that is needed: "),
    ],
)
async def test_wrong_login_or_missing_rights_end_the_start(
    server: Server, login: str, words: str
) -> None:
    if login == ":wrong-secret@":
        server.client.config_set("requirepass", "x")
    try:
        for writes in (False, True):
            fault = await fault_of(f"redis://{login}{server.address}", writes=writes)
            assert fault is not None
            assert fault.startswith(f"Redis at {server.address} {words}")
    finally:
        server.client.config_set("requirepass", "")


@pytest.mark.parametrize("user", ["reads", "silent", "noscripts"])
async def test_missing_rights_of_publishers_do_not_affect_readers(
    server: Server, user: str
) -> None:
    url = f"redis://{user}:secret@{server.address}"
    assert await fault_of(url) is None
    fault = await fault_of(url, writes=True)
    assert fault is not None
    assert f"Redis at {server.address} refused a command that is needed: " in fault


async def test_missing_optional_rights_are_no_fault(server: Server) -> None:
    url = f"redis://noinfo:secret@{server.address}"
    assert await fault_of(url) is None
    assert await fault_of(url, writes=True) is None


async def test_missing_login_is_a_permanent_fault(tmp_path: Path) -> None:
    with Server(tmp_path / "a", "--save", "") as server:
        server.client.config_set("requirepass", "secret")
        fault = await fault_of(server.url)
        assert fault is not None
        assert " refused the login: Authentication required; --redis-url must hold" in fault
        assert await fault_of(f"redis://:secret@{server.address}") is None


async def test_unknown_login_is_a_permanent_fault(server: Server) -> None:
    fault = await fault_of(f"redis://:secret@{server.address}")
    assert fault is not None
    assert " refused the login: AUTH <password> called without any password" in fault


async def test_database_out_of_range_is_a_fault(server: Server) -> None:
    for writes in (False, True):
        fault = await fault_of(f"{server.url}/4", writes=writes, key_prefix="x:")
        assert fault == (
            f"Redis at {server.address} refused the database of --redis-url: "
            "DB index is out of range; name one that it has"
        )


async def test_single_server_named_as_another_kind_is_a_fault(
    server: Server, sentinel: Server
) -> None:
    for url, words in (
        (f"redis+cluster://{server.address}", " is no cluster: This instance has cluster support"),
        (f"redis+cluster://127.0.0.1:{free_port()},{server.address}", " is no cluster: "),
        (f"redis+sentinel://{server.address}/{MASTER}", ": one is no Sentinel ("),
        (f"redis+sentinel://{sentinel.address}/other", ": one knows no master of that name"),
        (
            f"redis+sentinel://127.0.0.1:{free_port()},{sentinel.address}/other",
            ": one knows no master of that name",
        ),
        (
            f"redis+sentinel://{sentinel.address}/{MASTER}?sentinel_password=secret",
            ": one refused the login: ",
        ),
        (f"redis+sentinel://off:secret@{sentinel.address}/{MASTER}", ") refused the login: "),
        (f"redis://{sentinel.address}", " is a Sentinel; --redis-url must be redis+sentinel://"),
        (f"redis+cluster://{sentinel.address}", " refused a command that is needed: unknown"),
    ):
        fault = await fault_of(url)
        assert fault is not None, url
        assert words in fault
    assert await fault_of(f"redis+sentinel://{sentinel.address}/{MASTER}") is None
    # One that does not know it, or is none, does no harm beside one that does.
    both = f"{server.address},{sentinel.address}"
    assert await fault_of(f"redis+sentinel://{both}/{MASTER}", writes=True) is None


async def test_cluster_named_as_a_single_server_is_a_fault(tmp_path: Path) -> None:
    with ClusterServers(tmp_path) as cluster:
        for node in (cluster.servers[0], cluster.servers[-1]):
            fault = await fault_of(node.url)
            assert fault == (
                f"Redis at {node.address} is a node of a cluster; begin --redis-url with "
                "redis+cluster:// and name no database"
            )
        for writes in (False, True):
            assert await fault_of(cluster.url, writes=writes) is None
            url = cluster.url.replace("://", "://nobody:secret@")
            assert " refused the login: " in str(await fault_of(url, writes=writes))


async def test_cluster_of_one_node_is_a_single_server_as_well(tmp_path: Path) -> None:
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--save", "")
    with Server(tmp_path / "node", *options) as node:
        node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        until(lambda: is_ok(node))
        for url in (node.url, f"redis+cluster://{node.address}"):
            assert await fault_of(url, writes=True) is None


async def test_tls_mismatch_ends_the_start(
    server: Server, sentinel: Server, tmp_path: Path
) -> None:
    proxy = TlsProxy(tmp_path)
    ca = f"ssl_ca_certs={quote(str(proxy.ca))}"
    async with proxy.before(server.port) as place:
        for url in (f"redis://{place}", f"redis+sentinel://{place}/m", f"redis+cluster://{place}"):
            assert str(await fault_of(url)).endswith(
                " speaks TLS there; begin --redis-url with rediss instead of redis"
            )
        for url, why in (
            (f"rediss://{place}", "unable to get local issuer certificate"),
            (f"rediss+cluster://{place}", "unable to get local issuer certificate"),
            (f"rediss+sentinel://{place}/m", "unable to get local issuer certificate"),
            (f"rediss://{place.replace('127.0.0.1', 'localhost')}?{ca}", "Hostname mismatch"),
        ):
            assert f" has a certificate that is not trusted: {why}" in str(await fault_of(url))
        assert await fault_of(f"rediss://{place}?{ca}", writes=True) is None
    for url in (
        f"rediss://{server.address}",
        f"rediss+sentinel://{sentinel.address}/{MASTER}",
        f"rediss+cluster://{server.address}",
    ):
        assert str(await fault_of(url)).endswith(
            " speaks no TLS there; begin --redis-url with redis instead of rediss"
        )


@pytest.mark.skipif(REDIS is None, reason="needs a server that has TLS itself")
@pytest.mark.parametrize("asks_clients", ["yes", "no"])
async def test_tls_faults_of_redis_are_named(tmp_path: Path, asks_clients: str) -> None:
    proxy = TlsProxy(tmp_path)
    own = quote(str(tmp_path / "server.pem"))
    ca = f"ssl_ca_certs={quote(str(proxy.ca))}"
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(str(REDIS), "--port", "0", "--tls-port", str(port), "--save", ""),
        *("--tls-cert-file", "server.pem", "--tls-key-file", "server.pem"),
        *("--tls-ca-cert-file", "ca.pem", "--tls-auth-clients", asks_clients),
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
    )
    place = f"127.0.0.1:{port}"
    try:
        async with asyncio.timeout(PATIENCE):
            while not await speaks_tls("127.0.0.1", port):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        assert " speaks TLS there; " in str(await fault_of(f"redis://{place}"))
        assert " is not trusted: " in str(await fault_of(f"rediss://{place}"))
        assert await fault_of(f"rediss://{place}?{ca}&ssl_certfile={own}", writes=True) is None
        without = await fault_of(f"rediss://{place}?{ca}", writes=True)
        assert (without is None) == (asks_clients == "no")
        if without is not None:
            assert without.endswith(" refused TLS: TLSV13_ALERT_CERTIFICATE_REQUIRED")
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that gives one answer to everything, and hangs up."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read(100)
        writer.close()

    async with serving(answers) as port:
        yield f"127.0.0.1:{port}"


async def test_server_of_another_protocol_ends_the_start() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as place:
        for url in (f"redis://{place}", f"redis+sentinel://{place}/m", f"redis+cluster://{place}"):
            assert "does not speak Redis's protocol; --redis-url must" in str(await fault_of(url))
        assert " speaks no TLS there" in str(await fault_of(f"rediss://{place}"))


@pytest.mark.parametrize(
    "answer",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-BUSY Redis is busy running a script.\r\n",
        b"-MISCONF Errors writing to the AOF file\r\n",
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        b"-NOREPLICAS Not enough good replicas to write.\r\n",
        b"-MASTERDOWN Link with MASTER is down\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
        b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-ERR max number of clients reached\r\n",
        b"",
    ],
)
async def test_temporary_errors_are_waited_for(answer: bytes) -> None:
    async with answering(answer) as place:
        for url in (f"redis://{place}", f"redis+sentinel://{place}/m", f"redis+cluster://{place}"):
            assert await fault_of(url) is None


async def test_protected_mode_is_said_in_one_sentence() -> None:
    page = "-DENIED Redis is running in protected mode because X. In this mode Y. 1) Z.\r\n"
    async with answering(page.encode()) as place:
        assert await fault_of(f"redis://{place}") == (
            f"Redis at {place} refused the connection: "
            "DENIED Redis is running in protected mode because X; its protected mode or bind must "
            "let us in"
        )


async def test_unreachable_or_hanging_server_is_waited_for(server: Server, tmp_path: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    for url in (f"redis://{place}", f"rediss://{place}", f"redis+sentinel://{place}/m"):
        assert await fault_of(url) is None
    assert await fault_of(f"unix://{tmp_path}/none.sock") is None
    assert await fault_of("redis://no-such-host.invalid") is None
    with Server(tmp_path / "a", "--save", "") as hanging:
        hanging.hang()
        settings = StoreSettings(redis_url=hanging.url, redis_timeout=0.1)
        await check_settings(settings, writes=True)
        hanging.resume()


async def test_refused_is_not_unreachable(tmp_path: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    for url, said in (
        (f"redis://{place}", f"Redis at {place} refused the connection"),
        (f"redis+cluster://{place}", f"Redis at {place} refused the connection"),
        ("redis://no-such-host.invalid", "Redis at no-such-host.invalid:6379 cannot be found: "),
        (f"unix://{tmp_path}/none", f"Redis at {tmp_path}/none cannot be reached: no such file"),
    ):
        async with Store(StoreSettings(redis_url=url)) as store:
            with pytest.raises(StoreError, match=f"^{said}"):
                await store.ping()


def test_quoted_command_of_an_error_is_left_out() -> None:
    text = "unknown command 'AUTH', with args beginning with: 'user' 'secret' "
    for error in (ResponseError(text), AuthenticationError(text)):
        assert first_words(error) == "unknown command 'AUTH'"
        assert "secret" not in str(final_fault(error))
