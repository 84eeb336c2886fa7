"""The client of the SignalR hub when it is asked to wait, or meets what SignalR 2.4 does."""

from __future__ import annotations

import asyncio
import json

import pytest

from ime_live.feeds.ime.connection import IDLE_POLLS
from ime_live.feeds.ime.signalr import MAX_SECONDS
from ime_live.feeds.ime.signalr_client import SignalRClient
from tests.feeds.ime.reading import Reading, Waiting, settings
from tests.support.boards import future
from tests.support.clock import SleeplessClock
from tests.support.signalr.checks import TRANSPORTS
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal


@pytest.mark.parametrize("how", [Refusal.BUSY, Refusal.TOO_MANY, Refusal.FORBIDDEN])
async def test_refused_negotiate_is_asked_once_and_waited_for(hub: Hub, how: Refusal) -> None:
    hub.refuse("negotiate", how)
    hub.ask_to_wait("7")
    async with Waiting(hub) as waiting:
        assert waiting.waits == [7.0] * 3
        assert waiting.requested == [1, 2, 3]  # a request a try, with no front page
        assert "negotiate: HTTP" in (waiting.client.connection_state.error or "")


@pytest.mark.parametrize("said", ["86400", "Thu, 26 Nov 2099 15:22:08 GMT"])
async def test_retry_after_of_the_hub_is_limited(hub: Hub, said: str) -> None:
    hub.refuse("negotiate", Refusal.BUSY)
    hub.ask_to_wait(said)
    async with Waiting(hub, limit=1) as waiting:
        assert waiting.waits == [MAX_SECONDS]


async def test_busy_server_is_asked_once_a_try_also_when_it_names_no_time(hub: Hub) -> None:
    hub.refuse("negotiate", Refusal.BUSY)
    async with Waiting(hub) as waiting:
        assert waiting.requested == [1, 2, 3]


async def test_refused_start_is_waited_for_and_no_other_transport_tried(hub: Hub) -> None:
    hub.refuse("start", Refusal.BUSY)
    hub.ask_to_wait("7")
    async with Waiting(hub, limit=2) as waiting:
        assert waiting.waits == [7.0] * 2
        assert len(hub.calls("start")) == 2
        assert {each.query["transport"] for each in hub.calls("connect")} == {"webSockets"}
        assert "start: HTTP 503" in (waiting.client.connection_state.error or "")


async def test_busy_start_and_resumption_are_one_request_a_try(hub: Hub) -> None:
    hub.refuse("start", Refusal.BUSY)
    async with Waiting(hub, limit=2) as waiting:
        assert len(hub.calls("start")) == 2
        assert {each.query["transport"] for each in hub.calls("connect")} == {"webSockets"}
        assert 0 < waiting.waits[0] < 1
    hub.accept("start")
    async with Reading(hub) as reading:
        await reading.connected("webSockets")
        negotiated = len(hub.calls("negotiate"))
        hub.refuse("reconnect", Refusal.BUSY)
        hub.cut(during=future(1))
        await reading.until(lambda: len(hub.calls("reconnect")) >= 3)
        hub.accept("reconnect")
        await reading.reads(1)
        assert len(hub.calls("negotiate")) == negotiated


async def test_transport_that_asks_to_wait_is_followed_by_the_next_one_after_it(hub: Hub) -> None:
    hub.refuse("webSockets", Refusal.BUSY)
    hub.ask_to_wait("7")
    async with Waiting(hub, limit=1):
        assert len(hub.calls("connect")) == 1
    client = SignalRClient(settings(hub), clock=SleeplessClock())
    reading = asyncio.create_task(anext(client.frames()))
    await hub.connected("serverSentEvents")
    hub.push(future(1))
    await reading
    assert "webSockets: HTTP 503" in (client.connection_state.error or "")


async def test_transports_that_all_ask_to_wait_are_tried_in_turn(hub: Hub) -> None:
    for each in TRANSPORTS:
        hub.refuse(each, Refusal.BUSY)
    hub.ask_to_wait("7")
    async with Waiting(hub, limit=4) as waiting:
        assert waiting.waits == [7.0] * 4
        tried = [each.query["transport"] for each in hub.calls("connect")]
        assert tried == [*TRANSPORTS, TRANSPORTS[0]]


async def test_refused_poll_is_waited_for_and_resumed(hub: Hub) -> None:
    class Accepting(SleeplessClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            hub.accept("poll")

    clock = Accepting()
    client = SignalRClient(settings(hub, transports="longPolling"), clock=clock)
    frames = client.frames()
    first = asyncio.ensure_future(anext(frames))
    await hub.connected("longPolling")
    hub.push(future(1))
    await first
    hub.refuse("poll", Refusal.BUSY)
    hub.ask_to_wait("7")
    second = asyncio.ensure_future(anext(frames))
    await hub.until(lambda: clock.waits)
    hub.push(future(2))
    await second
    await frames.aclose()
    assert clock.waits == [7.0]
    assert [len(hub.calls(each)) for each in ("negotiate", "poll", "reconnect")] == [1, 2, 1]


async def test_refused_resumption_is_waited_for(hub: Hub) -> None:
    class Accepting(SleeplessClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            hub.accept("reconnect")

    clock = Accepting()
    client = SignalRClient(settings(hub), clock=clock, random=lambda: 0.0)
    frames = client.frames()
    reading = asyncio.ensure_future(anext(frames))
    await hub.connected("webSockets")
    hub.refuse("reconnect", Refusal.BUSY)
    hub.ask_to_wait("7")
    hub.cut(during=future(1))
    await reading
    await frames.aclose()
    assert clock.waits == [7.0]
    assert [len(hub.calls(each)) for each in ("negotiate", "reconnect")] == [1, 2]


# Behaviour of a real server of SignalR 2.4.3


async def test_server_that_was_started_again_with_its_key_is_resumed(hub: Hub) -> None:
    async with Reading(hub) as reading:
        await reading.connected("webSockets")
        hub.push(future(1))
        await reading.reads(1)
        await hub.restart(same_key=True)
        await reading.connected("webSockets")
        hub.push(future(2))  # it was silent until now
        await reading.reads(1, 2)
    assert len(hub.calls("negotiate")) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_abort_by_the_server_causes_a_new_negotiation(hub: Hub, transport: str) -> None:
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.push(future(1))
        await reading.reads(1)
        hub.abort()
        await reading.until(lambda: len(hub.calls("negotiate")) == 2)
        await reading.connected(transport)
        hub.push(future(2))
        await reading.reads(1, 2)
    assert len(hub.calls("reconnect")) <= 2
    assert len(hub.calls("poll")) <= 4 + IDLE_POLLS


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_groups_token_is_sent_back(hub: Hub, transport: str) -> None:
    # That it is, is checked by the hub.
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.join("group token+/=")
        hub.push(future(1))
        await reading.reads(1)
        hub.cut()
        await reading.connected(transport)
        hub.push(future(2))
        await reading.reads(1, 2)
    assert any("groupsToken" in each.query | each.form for each in hub.received)


@pytest.mark.parametrize("transport", ["webSockets", "serverSentEvents"])
async def test_server_without_keep_alives_ends_long_connections(hub: Hub, transport: str) -> None:
    hub.negotiation |= {"KeepAliveTimeout": None, "ConnectionTimeout": 0.2}
    hub.silent = True
    async with Reading(hub, transports=transport) as reading:
        await reading.until(lambda: len(hub.calls("negotiate")) >= 2)
        await reading.connected(transport)
        hub.push(future(1))
        await reading.reads(1)


async def test_slow_reader_gets_waiting_messages_in_one_frame(hub: Hub) -> None:
    async with Reading(hub) as reading:
        await reading.connected("webSockets")
        hub.hold()
        hub.push(future(1))
        hub.push(future(2))
        hub.release()
        await reading.reads(1, 2)
        assert len(reading.frames) == 1


async def test_server_that_is_shut_down_says_so(hub: Hub) -> None:
    async with Reading(hub) as reading:
        await reading.connected("webSockets")
        hub.end()
        await reading.until(lambda: hub.calls("reconnect"))
        hub.push(future(1))
        await reading.reads(1)


async def test_frame_with_invalid_messages_does_not_end_the_connection(hub: Hub) -> None:
    async with Reading(hub) as reading:
        await reading.connected("webSockets")
        hub.push_text(json.dumps({"C": "x", "M": {"M": "updateMarketsInfo"}}).encode())
        await reading.until(lambda: reading.frames)
        assert hub.calls("reconnect") == []
