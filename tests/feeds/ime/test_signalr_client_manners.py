"""The client of the SignalR hub: User-Agent, proxies, certificates, abort and back-off."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import aclosing
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from ime_live.feeds.ime.responses import date_of
from ime_live.feeds.ime.signalr_client import SignalRClient
from tests.feeds.ime.proxy import Proxy
from tests.feeds.ime.reading import NEVER, Reading, settings
from tests.support.boards import future
from tests.support.rows import each_row
from tests.support.signalr.checks import TRANSPORTS
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal
from tests.support.tls import TlsProxy


async def test_client_sends_its_user_agent(hub: Hub) -> None:
    hub.agent = f"ime-live/{version('ime-live')}"
    async with Reading(hub) as reading:
        await reading.connected("webSockets")
    said = {each.header("user-agent") for each in hub.requests}
    assert len(said) == 1  # with WebSockets as well


async def test_client_reports_the_date_of_the_negotiation(hub: Hub) -> None:
    hub.ahead = 10_800.0
    heard: list[tuple[float, float, float]] = []
    client = SignalRClient(settings(hub), on_date=lambda *each: heard.append(each))
    async with aclosing(client.frames()) as frames:
        reading = asyncio.ensure_future(anext(frames))
        await hub.connected("webSockets")
        hub.push(future(1))
        await reading
    [(date, sent, received)] = heard
    assert sent - 1.0 <= date - hub.ahead <= received


@each_row(
    ("header", "date"),
    [
        ("Thu, 26 Nov 2026 15:22:18 GMT", 1_795_706_538.0),
        ("Thu, 26 Nov 2026 15:22:18 -0000", 1_795_706_538.0),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_date_header_of_an_answer_is_read(header: str | None, date: float | None) -> None:
    assert date_of(httpx.Headers({} if header is None else {"Date": header})) == date


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_user_agent_can_be_set(hub: Hub, transport: str) -> None:
    hub.agent = "somebody@example.org"
    async with Reading(hub, user_agent=hub.agent, transports=transport) as reading:
        await reading.connected(transport)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cookies_are_kept(hub: Hub, transport: str) -> None:
    # That each request carries them is checked by the hub.
    hub.cookie_first = True
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.push(future(1))
        await reading.reads(1)
        hub.cut()
        await reading.connected(transport)
        hub.push(future(2))
        await reading.reads(1, 2)
    assert hub.calls("connect", transport)[0].cookies


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_hub_is_reached_through_a_proxy(hub: Hub, transport: str) -> None:
    async with Proxy("me:secret") as proxy:
        url = proxy.url("me:secret")
        async with Reading(hub, proxy=url, transports=transport) as reading:
            await reading.connected(transport)
            hub.push(future(1))
            await reading.reads(1)
        assert proxy.tunnels or proxy.forwarded
        assert len(hub.requests) > 0
        assert hub.peers <= proxy.used  # nothing came past it


async def test_unreachable_proxy_is_named(hub: Hub, proxy: Proxy) -> None:
    url = proxy.url()
    await proxy.stop()
    async with Reading(hub, proxy=url) as reading:
        await reading.until(lambda: reading.error)
        assert hub.requests == []
        await proxy.start()
        await reading.connected("webSockets")


async def test_refused_login_of_a_proxy_is_named(hub: Hub) -> None:
    async with Proxy("me:secret") as proxy:
        async with Reading(hub, proxy=proxy.url("me:wrong-word")) as reading:
            await reading.until(lambda: proxy.refused >= 2)
            await reading.until(lambda: "407" in reading.error)
            assert "wrong-word" not in reading.error
        assert hub.requests == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_proxy_of_the_environment_is_used_with_tls(
    tls: tuple[ssl.SSLContext, Path],
    monkeypatch: pytest.MonkeyPatch,
    proxy: Proxy,
    transport: str,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url())
    async with Hub(tls=tls[0]) as hub:
        async with Reading(hub, transports=transport, connect_timeout=5.0) as reading:
            await reading.connected(transport)
            hub.push(future(1))
            await reading.reads(1)
        assert hub.violations == []
        assert hub.peers <= proxy.used
    assert set(proxy.tunnels) == {f"127.0.0.1:{hub.port}"}


async def test_no_proxy_of_the_environment_excludes_the_hub(
    tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch, proxy: Proxy
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with Hub(tls=tls[0]) as hub:
        async with Reading(hub, connect_timeout=5.0) as reading:
            await reading.connected("webSockets")
        assert hub.violations == []
    assert proxy.tunnels == []


async def test_untrusted_certificate_is_named(tmp_path: Path) -> None:
    context = TlsProxy(tmp_path).context
    async with Hub(tls=context) as hub:
        async with Reading(hub) as reading:
            await reading.until(lambda: "certificate" in reading.error.lower())
        assert hub.requests == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cancelled_client_sends_abort(hub: Hub, transport: str) -> None:
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
    assert [session.aborted for session in hub.sessions.values()] == [True]
    await hub.until(lambda: hub.connections == 0)
    assert reading.source == ""


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_client_closed_between_frames_sends_abort(hub: Hub, transport: str) -> None:
    client = SignalRClient(settings(hub, transports=transport))
    frames = client.frames()
    first = asyncio.ensure_future(anext(frames))
    await hub.connected(transport)
    hub.push(future(1))
    await first
    await frames.aclose()
    assert [session.aborted for session in hub.sessions.values()] == [True]
    await hub.until(lambda: hub.connections == 0)


@pytest.mark.parametrize("what", ["negotiate", "start", *TRANSPORTS])
async def test_client_cancelled_while_connecting_leaves_no_connection(hub: Hub, what: str) -> None:
    hub.refuse(what, Refusal.HANG)
    transport = {"transports": what} if what in TRANSPORTS else {}
    calls = "connect" if what in TRANSPORTS else what
    async with Reading(hub, connect_timeout=NEVER, **transport) as reading:
        await reading.until(lambda: hub.calls(calls))
        hub.accept(what)  # so that abort is answered
    await hub.until(lambda: hub.connections == 0)
    assert len(hub.calls(calls)) == 1


@pytest.mark.parametrize("how", [Refusal.HANG, Refusal.FORBIDDEN, Refusal.DROP])
async def test_failing_abort_does_not_delay_the_close(hub: Hub, how: Refusal) -> None:
    hub.refuse("abort", how)
    async with Reading(hub, connect_timeout=0.3) as reading:
        await reading.connected("webSockets")
    assert hub.calls("abort")
    await hub.until(lambda: hub.connections == 0)


@pytest.mark.parametrize("what", ["negotiate", "longPolling"])
async def test_reconnect_backoff_grows(hub: Hub, what: str) -> None:
    hub.refuse(what, Refusal.FORBIDDEN)
    transports = what if what in TRANSPORTS else "webSockets"
    async with Reading(hub, max_reconnect_delay=30.0, transports=transports) as reading:
        await reading.until(lambda: reading.error)
        await asyncio.sleep(0.3)  # a slow machine makes for fewer tries, not for more
    assert 1 <= len(hub.calls("negotiate")) <= 6


async def test_reconnect_backoff_stays_within_the_limit(hub: Hub) -> None:
    hub.refuse("negotiate", Refusal.FORBIDDEN)
    async with Reading(hub, max_reconnect_delay=0.02) as reading:
        await reading.until(lambda: len(hub.calls("negotiate")) >= 20)


async def test_reconnect_backoff_applies_after_a_short_connection(hub: Hub) -> None:
    async with Reading(hub, max_reconnect_delay=30.0) as reading:
        await reading.connected("webSockets")
        ended = asyncio.get_running_loop().time() + 0.3
        while asyncio.get_running_loop().time() < ended:
            hub.cut()
            await asyncio.sleep(0.01)
    assert len(hub.received) + len(hub.calls("negotiate")) <= 12
