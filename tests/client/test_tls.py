"""TLS on real sockets: whom the library trusts, and what it says of a port that is not right."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import ime_live
from tests.tls import TlsProxy

from .service import service
from .test_receiver import connect, sending, take
from .texts import stamp, update

SCHEMES = ["wss", "https"]


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
        assert (await take(stream)).stamp == stamp(1)


async def test_stream_through_tls_trusts_the_issuers_of_a_context(tls: TlsProxy) -> None:
    context = ssl.create_default_context(cafile=tls.ca)
    async with (
        service(sending(update("A", 1))) as made,
        tls.before(port_of(made.url)) as place,
        connect(f"wss://{place}", ssl=context) as stream,
    ):
        assert (await take(stream)).stamp == stamp(1)


async def test_plain_stream_through_tls(tls: TlsProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))

    def read_one(url: str) -> str:
        with connect(url) as stream:
            message: ime_live.Message[ime_live.Payload] = next(stream)
            return message.stamp

    async with service(sending(update("A", 1))) as made, tls.before(port_of(made.url)) as place:
        assert await asyncio.to_thread(read_one, f"wss://{place}") == stamp(1)
