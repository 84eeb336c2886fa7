"""How the exchange is reached: proxies, User-Agent, and the waits between two tries."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing
from importlib.metadata import version
from importlib.util import find_spec

import pytest
from structlog.testing import capture_logs

from ime_live.errors import SettingsError
from ime_live.feeds.ime.access import environment_proxy, read_access
from ime_live.feeds.ime.signalr_client import SignalRClient
from ime_live.settings import SignalRHubSettings
from tests.support.clock import SleeplessClock
from tests.support.rows import each_row

URL = "https://hub.example/realTimeServer/"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_requests_have_our_user_agent() -> None:
    assert read_access(SignalRHubSettings(), URL).user_agent == f"ime-live/{version('ime-live')}"
    assert read_access(SignalRHubSettings(user_agent="me"), URL).user_agent == "me"


def test_given_proxy_precedes_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_access(SignalRHubSettings(), URL).proxy is None
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    assert read_access(SignalRHubSettings(), URL).proxy == "http://one:1"
    assert read_access(SignalRHubSettings(), "http://hub.example/").proxy is None
    assert read_access(SignalRHubSettings(proxy="http://two:2"), URL).proxy == "http://two:2"
    monkeypatch.setenv("NO_PROXY", "hub.example")
    assert read_access(SignalRHubSettings(), URL).proxy is None
    assert read_access(SignalRHubSettings(proxy="http://two:2"), URL).proxy == "http://two:2"


def test_proxy_is_chosen_by_scheme() -> None:
    proxies = {"http": "h:1", "all": "https://a:2"}
    assert environment_proxy("http://hub.example/", proxies) == "http://h:1"
    assert environment_proxy("https://hub.example/", proxies) == "https://a:2"
    assert environment_proxy("https://hub.example/", {}) is None


@each_row(
    "proxy",
    [
        "nonsense",
        "ftp://me:secret@proxy:1",
        "socks4://me:secret@proxy:1",
        "http://me:secret@proxy:port",
        "http://me:secret@proxy:1/path",
        "http://me:secret@",
        "http://me:secret%ff@proxy:1",
        "http://me:secret@پروکسی:1",
        "http://secret@proxy:1",
        "http://me:secret@[::1",
    ],
)
def test_malformed_proxy_is_refused(proxy: str) -> None:
    with pytest.raises(SettingsError, match="--proxy") as caught:
        SignalRClient(SignalRHubSettings(proxy=proxy))
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(
    bool(find_spec("socksio") and find_spec("python_socks")), reason="the extra is installed"
)
def test_socks_proxy_without_its_extra_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"ime-live\[socks\]") as caught:
        SignalRClient(SignalRHubSettings(proxy="socks5://me:secret@proxy:1"))
    assert "secret" not in str(caught.value)


async def test_unreachable_hub_is_retried_with_backoff_and_logged_once() -> None:
    seventh = asyncio.Event()

    class Sleeper(SleeplessClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if len(self.waits) == 7:
                seventh.set()
                await asyncio.Event().wait()

    clock = Sleeper()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nobody listens there
        settings = SignalRHubSettings(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}/")
        client = SignalRClient(settings, clock=clock, random=lambda: 0.5)
        assert client.connection_state.source == ""
        with capture_logs() as logs:
            async with aclosing(client.frames()) as frames:
                reading = asyncio.ensure_future(anext(frames))
                await asyncio.wait_for(seventh.wait(), 20)
                assert client.failures == 7
                assert "negotiate: cannot connect" in (client.connection_state.error or "")
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
    assert clock.waits == [0.5, 1, 2, 4, 8, 15, 15]
    assert [line["event"] for line in logs] == ["exchange cannot be reached"]
