"""The client of the SignalR hub by each transport, and its way down and up between them."""

from __future__ import annotations

import pytest

from tests.feeds.ime.reading import Reading
from tests.support.boards import future
from tests.support.marks import thorough
from tests.support.signalr.checks import TRANSPORTS
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal

WAYS = tuple(Refusal)


def refuse_others(hub: Hub, transport: str) -> None:
    """Leave a client one transport."""
    for each in set(TRANSPORTS) - {transport}:
        hub.refuse(each, Refusal.FORBIDDEN)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_transport_works_alone(hub: Hub, transport: str) -> None:
    refuse_others(hub, transport)
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        assert not reading.error
        for number in range(20):
            hub.push(future(number))
        await reading.reads(*range(20))
    assert {each.query.get("transport") for each in hub.requests} <= {None, transport}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_frame_is_passed_on_byte_for_byte(hub: Hub, transport: str) -> None:
    # An id above 2^53; letters, and a line separator that ends no line of an event stream.
    row = '{"ID":98765432109876543,"n":"يک \u2028 ك","x":1.50}'
    whole = f'{{"H":"marketsHub","M":"updateX","A":[[{row}]]}}'.encode()
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.push(b'{"C":"any","M":[%s]}' % whole)
        await reading.until(lambda: any(b"updateX" in frame for frame in reading.frames))
    [frame] = [each for each in reading.frames if b"updateX" in each]
    assert frame.strip() == b'{"C":"%s","M":[%s]}' % (hub.backlog.cursor.encode(), whole)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_frame_of_several_megabytes_is_received(hub: Hub, transport: str) -> None:
    # 500 contracts in one board are 1.1 MB; the library's own limits are lower.
    messages = [message for number in range(1500) for message in future(number)]
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.push(messages)
        await reading.reads(*range(1500))


def _be_brief_with(hub: Hub, how: Refusal) -> None:
    """Give up soon on a transport that does not answer; a slow machine has time for the others."""
    if how in (Refusal.HANG, Refusal.MUTE):
        hub.negotiation["TransportConnectTimeout"] = 0.5


@pytest.mark.parametrize("how", WAYS)
async def test_client_falls_back_from_websockets_to_sse(hub: Hub, how: Refusal) -> None:
    hub.refuse("webSockets", how)
    _be_brief_with(hub, how)
    async with Reading(hub) as reading:
        await reading.connected("serverSentEvents")
        assert "webSockets" in reading.error  # why it is not the best one
        hub.push(future(1))
        await reading.reads(1)
    assert hub.calls("connect", "webSockets")


@pytest.mark.parametrize("how", WAYS)
async def test_client_falls_back_from_sse_to_long_polling(hub: Hub, how: Refusal) -> None:
    hub.refuse("webSockets", Refusal.FORBIDDEN)
    hub.refuse("serverSentEvents", how)
    _be_brief_with(hub, how)
    async with Reading(hub) as reading:
        await reading.connected("longPolling")
        hub.push(future(1))
        await reading.reads(1)
    tried = [each.query["transport"] for each in hub.calls("connect")]
    assert tried == list(TRANSPORTS)


@pytest.mark.parametrize("how", [WAYS[0], *map(thorough, WAYS[1:])])
async def test_transports_are_retried_when_all_were_refused(hub: Hub, how: Refusal) -> None:
    for transport in TRANSPORTS:
        hub.refuse(transport, how)
    _be_brief_with(hub, how)
    async with Reading(hub) as reading:
        await reading.until(lambda: len(hub.calls("connect", "longPolling")) >= 2)
        assert reading.source == ""
        await reading.until(lambda: reading.error)
        hub.accept(*TRANSPORTS)
        await reading.until(lambda: hub.live and reading.source == hub.live)
        await reading.connected(hub.live)
        hub.push(future(1))
        await reading.reads(1)


async def test_refused_start_is_no_connection(hub: Hub) -> None:
    hub.refuse("start", Refusal.NOT_FOUND)
    async with Reading(hub) as reading:
        await reading.until(lambda: len(hub.calls("start")) >= 3)
        assert reading.source == ""
        hub.accept("start")
        await reading.until(lambda: hub.live and reading.source == hub.live)


async def test_client_returns_to_the_better_transport_after_a_while(hub: Hub) -> None:
    hub.refuse("webSockets", Refusal.FORBIDDEN)
    hub.refuse("serverSentEvents", Refusal.FORBIDDEN)
    async with Reading(hub, upgrade_after=0.2) as reading:
        await reading.connected("longPolling")
        hub.accept("webSockets", "serverSentEvents")
        await reading.connected("webSockets")
        assert not reading.error
        hub.push(future(1))
        await reading.reads(1)


async def test_failed_upgrade_of_the_transport_falls_back(hub: Hub) -> None:
    hub.refuse("webSockets", Refusal.FORBIDDEN)
    async with Reading(hub, upgrade_after=0.1) as reading:
        await reading.until(lambda: len(hub.calls("connect", "webSockets")) >= 3)
        await reading.connected("serverSentEvents")
        assert not hub.calls("connect", "longPolling")


async def test_client_uses_the_configured_transports_only(hub: Hub) -> None:
    hub.refuse("longPolling", Refusal.FORBIDDEN)
    async with Reading(hub, transports="longPolling,serverSentEvents") as reading:
        await reading.connected("serverSentEvents")
    tried = [each.query["transport"] for each in hub.calls("connect")]
    assert tried == ["longPolling", "serverSentEvents"]
