"""The test SignalR hub itself: it speaks as the spec says, and sees what a client does wrong.

With plain httpx and websockets, so that what it shows does not hang on our client.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket

from tests.feeds.ime.proxy import Proxy
from tests.support.boards import future, numbers
from tests.support.signalr.hub import ROOT, Hub
from tests.support.signalr.refusals import Refusal

DATA = quote('[{"name":"marketshub"}]', safe="")
AGENT = {"User-Agent": "ime-live/0"}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Hub() as made:
        yield made


@pytest.fixture
async def http(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=hub.base_url, headers=AGENT, trust_env=False, timeout=10
    ) as made:
        yield made


def call(verb: str, transport: str = "", token: str = "", **more: str) -> str:
    """The address of a call."""
    parts = {"clientProtocol": "2.1", "connectionData": DATA}
    if transport:
        parts |= {"transport": transport, "connectionToken": quote(token, safe="")}
    parts |= {name: quote(value, safe="") for name, value in more.items()}
    return f"{verb}?" + "&".join(f"{name}={value}" for name, value in parts.items())


async def negotiate(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get(call("negotiate", _="1700000000000"))
    assert answer.headers["content-type"].startswith("application/json")
    return dict(answer.json())


async def start(http: httpx.AsyncClient, transport: str, token: str) -> None:
    answer = await http.get(call("start", transport, token))
    assert answer.json() == {"Response": "started"}


def websocket(hub: Hub, target: str) -> connect_websocket:
    return connect_websocket(
        hub.base_url.replace("http", "ws") + target,
        user_agent_header="ime-live/0",
        proxy=None,
        compression=None,
    )


async def frame(socket: ClientConnection) -> dict[str, Any]:
    """The next frame that is no keep-alive."""
    while (read := json.loads(await socket.recv())) == {}:
        pass
    return dict(read)


async def test_web_socket_resumes_where_it_was_cut(hub: Hub, http: httpx.AsyncClient) -> None:
    given = await negotiate(http)
    assert set(given) >= {"ConnectionToken", "ConnectionId", "KeepAliveTimeout", "TryWebSockets"}
    token = given["ConnectionToken"]
    async with websocket(hub, call("connect", "webSockets", token, tid="3")) as socket:
        opening = await frame(socket)
        assert (opening["S"], opening["M"]) == (1, [])
        await start(http, "webSockets", token)
        hub.push(future(1))
        first = await frame(socket)
        assert numbers(json.dumps(first).encode()) == [1]
        hub.cut(during=future(2))
        with pytest.raises(websockets.ConnectionClosedError):
            await frame(socket)
    hub.push(future(3))
    again = call("reconnect", "webSockets", token, messageId=first["C"])
    async with websocket(hub, again) as socket:
        assert numbers(json.dumps(await frame(socket)).encode()) == [2, 3]
        assert json.loads(await socket.recv()) == {}  # a keep-alive
        await http.post(call("abort", "webSockets", token))
        with pytest.raises(websockets.ConnectionClosedOK):
            await frame(socket)
    assert hub.sessions[token].aborted
    assert hub.violations == []


async def test_hub_serves_server_sent_events(hub: Hub, http: httpx.AsyncClient) -> None:
    token = (await negotiate(http))["ConnectionToken"]
    async with http.stream("GET", call("connect", "serverSentEvents", token)) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = answer.aiter_lines()
        assert [await anext(lines), await anext(lines)] == ["data: initialized", ""]
        opening = json.loads((await anext(lines)).removeprefix("data: "))
        assert opening["S"] == 1
        await start(http, "serverSentEvents", token)
        hub.push(future(1))
        while (line := await anext(lines)) in ("", "data: {}"):
            pass
        assert numbers(line.removeprefix("data: ").encode()) == [1]
        hub.cut(during=future(2))
        with pytest.raises(httpx.RemoteProtocolError):
            [line async for line in lines]
    assert hub.violations == []


async def test_hub_serves_long_polling(hub: Hub, http: httpx.AsyncClient) -> None:
    token = (await negotiate(http))["ConnectionToken"]
    opening = (await http.post(call("connect", "longPolling", token))).json()
    assert (opening["S"], opening["M"]) == (1, [])
    await start(http, "longPolling", token)
    hub.push(future(1))  # while nothing polls

    async def poll(cursor: str) -> bytes:
        answer = await http.post(call("poll", "longPolling", token), data={"messageId": cursor})
        return answer.content

    first = await poll(opening["C"])
    assert numbers(first) == [1]
    waiting = asyncio.create_task(poll(json.loads(first)["C"]))
    await hub.connected("longPolling")
    await asyncio.sleep(2 * hub.keep_alive)
    hub.push(future(2))
    second = await waiting
    assert second.startswith(b" ")  # a keep-alive
    assert numbers(second) == [2]
    hub.poll_timeout = 0.01
    assert json.loads(await poll(json.loads(second)["C"]))["M"] == []
    assert hub.violations == []


async def test_hub_records_violations_of_a_client(hub: Hub, http: httpx.AsyncClient) -> None:
    async def wrong(method: str, target: str, **more: Any) -> str:  # noqa: ANN401 - httpx's own
        hub.violations.clear()
        await http.request(method, target, **more)
        return "; ".join(hub.violations)

    assert "_ is None" in await wrong("GET", call("negotiate"))
    assert "clientProtocol None" in await wrong("GET", f"negotiate?connectionData={DATA}&_=1")
    assert "connectionData None" in await wrong("GET", "negotiate?clientProtocol=2.1")
    assert "User-Agent" in await wrong(
        "GET", call("negotiate", _="1700000000000"), headers={"User-Agent": "python-httpx"}
    )
    await http.get(hub.origin)
    cookies = dict(http.cookies)
    http.cookies.clear()
    assert "cookie" in await wrong("GET", call("negotiate", _="1700000000000"))
    http.cookies.update(cookies)
    token = (await negotiate(http))["ConnectionToken"]
    assert "start before" in await wrong("GET", call("start", "longPolling", token))
    plain = call("connect", "longPolling", "TOKEN").replace("TOKEN", token)
    assert "never given" in await wrong("POST", plain)  # the plus has become a space
    assert "tid" in await wrong("GET", call("connect", "webSockets", token))
    assert "method GET" in await wrong("GET", call("connect", "longPolling", token))
    hub.poll_timeout = 0.01
    poll = call("poll", "longPolling", token)
    assert "messageId 'x'" in await wrong("POST", poll, data={"messageId": "x"})
    assert "not in the body" in await wrong("POST", poll + "&messageId=x")


async def test_hub_records_a_second_connection(hub: Hub, http: httpx.AsyncClient) -> None:
    hub.grace = 0.1
    token = (await negotiate(http))["ConnectionToken"]
    other = (await negotiate(http))["ConnectionToken"]
    async with (
        websocket(hub, call("connect", "webSockets", token, tid="0")),
        websocket(hub, call("connect", "webSockets", other, tid="10")),
    ):
        pass
    assert hub.violations == ["connect webSockets: a second connection while there is one"]


async def test_restarted_test_hub_knows_no_token(hub: Hub, http: httpx.AsyncClient) -> None:
    token = (await negotiate(http))["ConnectionToken"]
    await hub.restart()
    answer = await http.get(call("reconnect", "serverSentEvents", token, messageId="x"))
    assert answer.status_code == 400
    assert hub.violations == []


@pytest.mark.parametrize(
    ("how", "status", "kind"),
    [
        (Refusal.FORBIDDEN, 403, "text/html"),
        (Refusal.NOT_FOUND, 404, "text/html"),
        (Refusal.HTML, 200, "text/html"),
        (Refusal.WRONG_TYPE, 200, "text/plain"),
        (Refusal.TRUNCATED, 200, "application/json"),
    ],
)
async def test_hub_refuses_as_configured(
    hub: Hub, http: httpx.AsyncClient, how: Refusal, status: int, kind: str
) -> None:
    hub.refuse("negotiate", how)
    answer = await http.get(call("negotiate", _="1700000000000"))
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith(kind)
    hub.accept("negotiate")
    assert "ConnectionToken" in await negotiate(http)


async def test_proxy_counts_connections_and_asks_for_a_password(hub: Hub) -> None:
    async with Proxy("me:secret") as proxy:
        async with httpx.AsyncClient(proxy=proxy.url(), trust_env=False, headers=AGENT) as http:
            assert (await http.get(hub.origin)).status_code == 407
        async with httpx.AsyncClient(
            proxy=proxy.url("me:secret"), trust_env=False, headers=AGENT
        ) as http:
            assert (await http.get(hub.polling_url + "Future/LiveMarket")).json() == []
            token = (await negotiate_at(http, hub))["ConnectionToken"]
        target = hub.base_url.replace("http", "ws") + call("connect", "webSockets", token, tid="1")
        async with connect_websocket(
            target, proxy=proxy.url("me:secret"), user_agent_header="ime-live/0"
        ) as socket:
            assert (await frame(socket))["S"] == 1
        assert (proxy.refused, len(proxy.tunnels), len(proxy.forwarded)) == (1, 1, 1)
        assert hub.violations == proxy.violations == []


async def negotiate_at(http: httpx.AsyncClient, hub: Hub) -> dict[str, Any]:
    answer = await http.get(hub.base_url + call("negotiate", _="1700000000000"))
    return dict(answer.json())


async def test_hub_replays_frames_as_a_process(tmp_path: Path) -> None:
    recording = tmp_path / "frames.ndjson"
    recording.write_text('{"C":"x","M":[{"H":"marketsHub","M":"updateMarketsInfo","A":[[]]}]}\n')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.signalr.hub", "--port", "0", "--pace", "0.02"),
        *("--frames", str(recording), "--transports", "longPolling"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        base_url = line.strip().partition("base_url=")[2]
        assert base_url.endswith(ROOT)
        async with httpx.AsyncClient(base_url=base_url, trust_env=False, headers=AGENT) as http:
            token = (await negotiate(http))["ConnectionToken"]
            refused = await http.get(call("connect", "serverSentEvents", token))
            assert refused.status_code == 403
            opening = (await http.post(call("connect", "longPolling", token))).json()
            answer = await http.post(
                call("poll", "longPolling", token), data={"messageId": opening["C"]}
            )
            assert answer.json()["M"][0]["M"] == "updateMarketsInfo"
    finally:
        process.terminate()
        await process.wait()
