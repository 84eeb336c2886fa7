"""Proxies: which one is taken, and what comes of it, for the stream and the REST calls alike."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

import ime_live
from ime_live.client.network.proxy import Proxy, proxy_for, read_proxy
from ime_live.client.protocol.address import read_service
from tests.client.http_proxy import http_proxy
from tests.client.network.test_faults import port_of
from tests.client.rest_service import Rest
from tests.support.serving import serving
from tests.support.stream_messages import timestamp, update
from tests.support.stream_service import connect, sending, service, take
from tests.support.tls import TlsProxy

Eventually = Callable[..., Awaitable[None]]

SPOKEN: tuple[Literal["ws", "http"], ...] = ("ws", "http")
VARIABLES = [
    f"{name}_proxy" for name in ("ws", "wss", "http", "https", "all", "no", "socks", "ftp")
]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# -- which one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "spoken", "environment", "expected"),
    [
        ("wss://h", "ws", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("wss://h", "ws", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("wss://h", "ws", {"HTTP_PROXY": "http://p:1"}, None),
        ("wss://h", "ws", {"HTTPS_PROXY": "http://p:1", "WSS_PROXY": "http://q:1"}, "http://q:1"),
        ("ws://h", "ws", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("ws://h", "ws", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://h", "http", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://h", "http", {"WSS_PROXY": "http://p:1"}, None),
        ("http://h", "http", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http://h", "http", {"HTTPS_PROXY": "http://p:1"}, None),
        ("wss://h", "ws", {"ALL_PROXY": "socks5h://p"}, "socks5h://p:1080"),
        ("http://h", "http", {"ALL_PROXY": "http://p"}, "http://p"),
        ("wss://h", "ws", {"SOCKS_PROXY": "http://p:1"}, "socks5h://p:1"),
        ("wss://h", "ws", {"HTTPS_PROXY": "p:3128"}, "http://p:3128"),
        ("wss://h", "ws", {"HTTPS_PROXY": ""}, None),
        ("wss://h", "ws", {}, None),
    ],
)
def test_proxy_is_read_from_the_environment(
    url: str,
    spoken: Literal["ws", "http"],
    environment: dict[str, str],
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(True, read_service(url), spoken) == expected
    assert proxy_for(None, read_service(url), spoken) is None
    assert proxy_for("http://mine:1", read_service(url), spoken) == "http://mine:1"


@pytest.mark.parametrize(
    ("url", "exempt", "direct"),
    [
        ("wss://h.example.org", "example.org", True),
        ("wss://h.example.org", ".example.org", True),
        ("wss://h.example.org", "other, example.org", True),
        ("wss://h.example.org:8443", "example.org:8443", True),
        ("wss://h.example.org:8443", "example.org:443", False),
        ("wss://h.example.org", "example.org:443", True),
        ("wss://hexample.org", "example.org", False),
        ("wss://H.Example.org", "example.ORG", True),
        ("wss://h", "*", True),
        ("wss://h", "", False),
        ("wss://127.0.0.1:8000", "127.0.0.1", True),
        ("wss://127.0.0.1:8000", "127.0.0.0/8", True),
        ("wss://10.1.2.3", "10.0.0.0/8,192.168.0.0/16", True),
        ("wss://11.1.2.3", "10.0.0.0/8", False),
        ("wss://[::1]:8000", "::1", True),
        ("wss://[::1]:8000", "[::1]", True),
        ("wss://[2001:db8::5]", "2001:db8::/32", True),
    ],
)
def test_no_proxy_excludes_hosts(
    url: str, exempt: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", exempt)
    for spoken in SPOKEN:
        found = proxy_for(True, read_service(url), spoken)
        assert (found is None) is direct


def test_password_of_a_proxy_is_shown_nowhere() -> None:
    found = read_proxy("http://me:p%40ss@h:3128")
    assert (found.username, found.password, found.port) == ("me", "p@ss", 3128)
    assert "p@ss" not in repr(found)


# -- through one --------------------------------------------------------------------------------


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Puts TLS before a port, with a certificate that is trusted."""
    tls = TlsProxy(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))

    @asynccontextmanager
    async def before(url: str) -> AsyncIterator[str]:
        async with tls.before(port_of(url)) as place:
            yield place

    return before


@pytest.mark.parametrize("user", ["", "me:p%40ss"])
@pytest.mark.parametrize("by_environment", [True, False])
async def test_stream_through_a_proxy(
    secure: Any,  # noqa: ANN401 - see the fixture
    user: str,
    by_environment: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        http_proxy(user=user.replace("%40", "@")) as proxy,
        service(sending(update("A", 1))) as made,
        secure(made.url) as place,
    ):
        url = proxy.url.replace("p@ss", "p%40ss")
        given: Proxy = url
        if by_environment:
            given = True
            monkeypatch.setenv("HTTPS_PROXY", url)
        async with connect(f"wss://{place}", proxy=given) as stream:
            assert (await take(stream)).timestamp_text == timestamp(1)
        assert proxy.requested == [f"CONNECT {place} HTTP/1.1"]
        async with connect(made.url, proxy=given) as stream:
            assert (await take(stream)).timestamp_text == timestamp(1)
        assert len(proxy.requested) == 2
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with connect(f"wss://{place}", proxy=True) as stream:
            assert (await take(stream)).timestamp_text == timestamp(1)
        assert len(proxy.requested) == 2


async def test_rest_calls_through_a_proxy(
    rest: Rest,
    secure: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with http_proxy(user="me:secret") as proxy, secure(rest.url) as place:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with ime_live.AsyncClient(rest.url) as client:
            for _ in range(2):
                assert await client.contracts(["A"])
        # A plain URL is requested in full; each call is a request, also on one connection.
        assert proxy.requested[0].startswith(f"GET {rest.url}/static/data/contract/name?")
        proxy.requested.clear()
        async with ime_live.AsyncClient(f"https://{place}") as client:
            for _ in range(2):
                assert await client.contracts(["A"])
        assert proxy.requested == [f"CONNECT {place} HTTP/1.1"]
        proxy.requested.clear()
        for exempt in (ime_live.AsyncClient(rest.url, proxy=None), ime_live.AsyncClient(rest.url)):
            async with exempt:
                assert await exempt.contracts(["A"])
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert proxy.requested == []


async def test_stream_through_a_proxy_with_tls(
    rest: Rest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = TlsProxy(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))
    async with (
        http_proxy(tls=tls.context) as proxy,
        service(sending(update("A", 1))) as made,
        tls.before(port_of(made.url)) as place,
    ):
        async with connect(f"wss://{place}", proxy=proxy.url) as stream:
            assert (await take(stream)).timestamp_text == timestamp(1)
        async with ime_live.AsyncClient(rest.url, proxy=proxy.url) as client:
            assert await client.contracts(["A"])
        async with ime_live.AsyncClient(f"https://{place}", proxy=proxy.url) as client:
            with pytest.raises(
                ime_live.ServiceError, match="REST calls over TLS must begin with http://"
            ):
                await client.contracts(["A"])


async def test_stream_reconnects_through_a_proxy_that_refused(
    rest: Rest,
    secure: Any,  # noqa: ANN401
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        http_proxy(user="me:SECRET", statuses=(502, 403, 503)) as proxy,
        service(sending(update("A", 1))) as made,
        secure(made.url) as place,
        connect(f"wss://{place}", proxy=proxy.url) as stream,
    ):
        assert (await take(stream)).timestamp_text == timestamp(1)
        assert len(proxy.requested) == 4
    at = proxy.url.rpartition("@")[2]
    assert (
        f"no connection to wss://{place}/live/data/websocket/contract/name through the proxy {at}: "
        "the proxy refused with HTTP 403; trying again"
    ) in caplog.text
    assert "SECRET" not in caplog.text
    async with http_proxy(statuses=(502, 503)) as proxy, secure(rest.url) as place:
        async with ime_live.AsyncClient(f"https://{place}", proxy=proxy.url) as client:
            assert await client.contracts(["A"])
        assert len(proxy.requested) == 3


async def test_wrong_password_of_a_proxy_is_an_error(rest: Rest, secure: Any) -> None:  # noqa: ANN401
    async with http_proxy(user="me:secret") as proxy, secure(rest.url) as place:
        wrong = proxy.url.replace("secret", "SECRET")
        async with connect(f"wss://{place}", proxy=wrong) as stream:
            with pytest.raises(ime_live.ServiceError, match="HTTP 407") as caught:
                await take(stream)
        assert "SECRET" not in str(caught.value)
        for url in (f"https://{place}", rest.url):
            async with ime_live.AsyncClient(url, proxy=wrong) as client:
                with pytest.raises(ime_live.ServiceError, match="HTTP 407") as refused:
                    await client.contracts(["A"])
            assert "SECRET" not in str(refused.value)
        assert len(proxy.requested) == 3  # none of them twice


async def test_hanging_proxy_times_out(
    rest: Rest,
    secure: Any,  # noqa: ANN401
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with http_proxy(hangs=True) as proxy, secure(rest.url) as place:
        async with connect(f"wss://{place}", proxy=proxy.url, open_timeout=0.1):
            await eventually(lambda: "no answer in time" in caplog.text)
        client = ime_live.AsyncClient(
            f"https://{place}", proxy=proxy.url, connect_timeout=0.1, tries=1
        )
        with pytest.raises(ime_live.ServiceError, match=r"cannot be reached in 0\.1 s"):
            await client.contracts(["A"])


async def test_unreachable_proxy_is_named(
    caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    caplog.set_level(logging.WARNING)
    url, proxy = "wss://example.org", "http://127.0.0.1:1"
    async with connect(url, proxy=proxy):
        await eventually(lambda: caplog.text)
    assert "through the proxy 127.0.0.1:1: Connection refused; trying again" in caplog.text
    async with ime_live.AsyncClient(url, proxy=proxy, tries=1) as client:
        with pytest.raises(ime_live.ServiceError, match=r"the proxy .* cannot be reached"):
            await client.contracts(["A"])


def test_blocking_stream_through_a_proxy(rest: Rest) -> None:
    async def call() -> None:
        async with http_proxy() as proxy:

            def plain() -> None:
                with ime_live.Client(rest.url, proxy=proxy.url) as client:
                    assert client.contracts(["A"])

            await asyncio.to_thread(plain)
            assert len(proxy.requested) == 1

    asyncio.run(call())


@asynccontextmanager
async def proxy_answering(*statuses: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP proxy that refuses to connect, one status a try, the last one repeated."""
    requested: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requested.append(await reader.readuntil(b"\r\n\r\n"))
        status = statuses[min(len(requested), len(statuses)) - 1]
        writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
        await writer.drain()
        writer.close()

    async with serving(refuse) as port:
        yield f"http://me:SECRET@127.0.0.1:{port}", requested


async def test_proxy_that_cannot_reach_the_service_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "ime_live.client")
    async with (
        proxy_answering(502, 503, 407) as (proxy, requested),
        connect("ws://127.0.0.1:1", proxy=proxy) as stream,
    ):
        with pytest.raises(ime_live.ServiceError, match="HTTP 407"):
            await take(stream)
        assert len(requested) == 3
    assert "HTTP 502" in caplog.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("proxy", ["ftp://me:SECRET@host", "http://me:pa/SECRET@host"])
async def test_malformed_proxy_of_the_environment_is_named(
    proxy: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ime_live.client")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ws_proxy", proxy)
    async with connect("ws://127.0.0.1:1", proxy=True) as stream:
        with pytest.raises(ime_live.ServiceError, match="proxy") as caught:
            await take(stream)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value)) + caplog.text
