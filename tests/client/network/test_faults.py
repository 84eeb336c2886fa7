"""TLS on real sockets: whom the library trusts, and what it says of a port that is not right."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.server import ServerConnection

import ime_live
from tests.client.http_proxy import pump
from tests.support.serving import serving
from tests.support.stream_messages import timestamp, update
from tests.support.stream_service import connect, sending, service, take
from tests.support.tls import TlsProxy

SCHEMES = ["wss", "https"]

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
def tls(tmp_path: Path) -> TlsProxy:
    """TLS in front of a service, with a certificate of a CA that nobody trusts by default."""
    return TlsProxy(tmp_path)


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_stream_through_tls_trusts_the_issuers_of_ssl_cert_file(
    scheme: str, tls: TlsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))
    async with (
        service(sending(update("A", 1))) as made,
        tls.before(port_of(made.url)) as place,
        connect(f"{scheme}://{place}") as stream,
    ):
        assert (await take(stream)).timestamp_text == timestamp(1)


async def test_stream_through_tls_trusts_the_issuers_of_a_context(tls: TlsProxy) -> None:
    context = ssl.create_default_context(cafile=tls.ca)
    async with (
        service(sending(update("A", 1))) as made,
        tls.before(port_of(made.url)) as place,
        connect(f"wss://{place}", ssl=context) as stream,
    ):
        assert (await take(stream)).timestamp_text == timestamp(1)


async def test_blocking_stream_through_tls(tls: TlsProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))

    def read_one(url: str) -> str:
        with connect(url) as stream:
            message: ime_live.Message[ime_live.Payload] = next(stream)
            return message.timestamp_text

    async with service(sending(update("A", 1))) as made, tls.before(port_of(made.url)) as place:
        assert await asyncio.to_thread(read_one, f"wss://{place}") == timestamp(1)


# -- errors of a wrong port ----------------------------------------------------------------------


@asynccontextmanager
async def answering(text: bytes, *, listens: bool = True, port: int = 0) -> AsyncIterator[int]:
    """A port that answers whatever comes with a text and closes; without one, it only closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if listens:
            await reader.read(1)
        writer.write(text)
        writer.close()

    async with serving(answer, port) as number:
        yield number


BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def failure(url: str, **options: Any) -> str:  # noqa: ANN401 - as connect() takes
    """The text of the error that ends a stream, and a REST call."""
    async with connect(url, open_timeout=1.0, **options) as stream:
        with pytest.raises(ime_live.ServiceError) as caught:
            await take(stream)
    assert type(caught.value) is ime_live.ServiceError
    rest = ime_live.AsyncClient(url.replace("ws", "http", 1), proxy=None, tries=1, **options)
    async with rest as client:
        with pytest.raises(ime_live.ServiceError) as refused:
            await client.contracts(["A"])
    strip = "/live/data/websocket/contract/name"
    assert str(refused.value) == str(caught.value).replace("ws", "http", 1).replace(strip, "", 1)
    return str(caught.value)


async def test_untrusted_issuer_of_tls_is_named(tls: TlsProxy) -> None:
    async with service(sending()) as made, tls.before(port_of(made.url)) as place:
        text = await failure(f"wss://{place}")
    assert text == (
        f"the certificate of wss://{place}/live/data/websocket/contract/name must be valid and "
        "from a trusted issuer, but: unable to get local issuer certificate; "
        "to trust another issuer, name its certificate in SSL_CERT_FILE or pass ssl="
    )


async def test_certificate_of_another_host_is_named(
    tls: TlsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))
    async with service(sending()) as made, tls.before(port_of(made.url)) as place:
        text = await failure(f"wss://localhost:{place.partition(':')[2]}")
    assert "certificate is not valid for 'localhost'" in text


async def test_missing_ssl_cert_file_is_named(
    tls: TlsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    async with service(sending()) as made, tls.before(port_of(made.url)) as place:
        text = await failure(f"wss://{place}")
    assert text.endswith("SSL_CERT_FILE must name a file of certificates, got /nowhere/ca.pem")


async def test_wss_to_a_plain_port_is_named() -> None:
    async with service(sending()) as made:
        place = made.url.removeprefix("ws://")
        text = await failure(f"wss://{place}")
    assert text == (
        f"wss://{place}/live/data/websocket/contract/name must speak TLS, but that port speaks "
        "plain HTTP; write ws:// or http://, or give the port for TLS"
    )


@pytest.mark.parametrize("listens", [True, False])
async def test_wss_to_a_plain_port_that_answers_at_once(listens: bool) -> None:
    async with answering(NOT_FOUND, listens=listens) as port:
        assert "that port speaks plain HTTP" in await failure(f"wss://127.0.0.1:{port}")


async def test_ws_to_a_tls_port_is_named(tls: TlsProxy) -> None:
    async with service(sending()) as made, tls.before(port_of(made.url)) as place:
        text = await failure(f"ws://{place}")
    assert text == (
        f"ws://{place}/live/data/websocket/contract/name must speak plain HTTP, but that port "
        "speaks TLS; write wss:// or https://, or give the port without TLS"
    )


async def test_ws_to_a_tls_port_that_says_so_in_plain_http(tls: TlsProxy) -> None:
    async def choose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # As nginx and Go's servers do it: they look at the first byte.
        first = await reader.read(1)
        if first != b"\x16":
            writer.write(BAD_REQUEST)
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection(*place.split(":"))
        far_writer.write(first)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    async with (
        service(sending()) as made,
        tls.before(port_of(made.url)) as place,
        serving(choose) as port,
    ):
        assert "that port speaks TLS" in await failure(f"ws://127.0.0.1:{port}")
        assert "certificate" in await failure(f"wss://127.0.0.1:{port}")


async def test_missing_common_version_of_tls_is_named(tls: TlsProxy) -> None:
    tls.context.maximum_version = ssl.TLSVersion.TLSv1_2
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:

        def refuse() -> None:  # with an alert, which asyncio's servers do not send
            with suppress(OSError):
                while True:
                    taken, _ = listener.accept()
                    with suppress(ssl.SSLError), taken:
                        tls.context.wrap_socket(taken, server_side=True)

        pool.submit(refuse)
        text = await failure(f"wss://127.0.0.1:{listener.getsockname()[1]}", ssl=context)
        listener.shutdown(socket.SHUT_RDWR)
    assert "must agree with this client on TLS, but the handshake failed: " in text
    assert "protocol version" in text


async def test_silent_port_is_retried(eventually: Eventually) -> None:
    tries: list[int] = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries.append(1)
        writer.close()

    async with serving(hang_up) as port:
        for scheme in ("ws", "wss"):
            tries.clear()
            async with connect(f"{scheme}://127.0.0.1:{port}") as stream:
                await eventually(lambda: len(tries) >= 5)
                assert not stream._receiver.ended


async def test_tls_faults_after_the_first_connection_cause_a_reconnect(
    tls: TlsProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))
    (tmp_path / "other").mkdir()
    stranger = TlsProxy(tmp_path / "other")

    async def once(connection: ServerConnection) -> None:
        await connection.send(update("A", len(made.paths)), text=True)

    async with service(once) as made, AsyncExitStack() as stack:
        port = port_of(made.url)
        async with tls.before(port) as place:
            own = int(place.partition(":")[2])
            stream = await stack.enter_async_context(connect(f"wss://{place}"))
            await take(stream)
        async with stranger.before(port, own):
            await eventually(lambda: "unable to get local issuer" in caplog.text)
        async with answering(NOT_FOUND, port=own):
            await eventually(lambda: "must agree with this client on TLS" in caplog.text)
        async with tls.before(port, own):
            await take(stream)
