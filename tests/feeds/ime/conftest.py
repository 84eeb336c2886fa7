"""Fixtures: the test SignalR hub, and an environment without proxies and with one certificate."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.feeds.ime.proxy import Proxy
from tests.support.signalr.hub import Hub
from tests.support.tls import TlsProxy

_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "WS_PROXY", "WSS_PROXY")


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the file that clients trust it by."""
    made = TlsProxy(tmp_path_factory.mktemp("tls"))
    return made.context, made.ca


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tls: tuple[ssl.SSLContext, Path]) -> None:
    # To read a hundred authorities' certificates takes each client longer than its whole test.
    monkeypatch.setenv("SSL_CERT_FILE", str(tls[1]))
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A SignalR hub with short times; at the end nobody may have done it wrong."""
    async with Hub() as made:
        made.negotiation = {
            "KeepAliveTimeout": 1.0,
            "DisconnectTimeout": 10.0,
            "TransportConnectTimeout": 10.0,
        }
        yield made
        # Not only for tests that forget it: also for what happens at a client's very end.
        assert made.violations == []


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy that asks for nothing."""
    async with Proxy() as made:
        yield made
        assert made.violations == []
