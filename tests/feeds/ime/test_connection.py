"""The client of the SignalR hub over breaks: nothing lost, nothing twice, or begun anew."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.feeds.ime.reading import Reading
from tests.support.boards import future
from tests.support.signalr.checks import TRANSPORTS
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Each of the three."""
    return str(request.param)


async def test_client_cut_between_frames_resumes(hub: Hub, transport: str) -> None:
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.push(future(1))
        await reading.reads(1)
        hub.cut()
        hub.push(future(2))
        hub.push(future(3))
        await reading.reads(1, 2, 3)
        await reading.connected(transport)
        hub.push(future(4))
        await reading.reads(1, 2, 3, 4)
    assert len(hub.calls("negotiate")) == 1


async def test_client_cut_inside_a_frame_resumes(hub: Hub, transport: str) -> None:
    async with Reading(hub, transports=transport) as reading:
        for number in range(0, 6, 2):
            await reading.connected(transport)
            await reading.until(lambda: hub.reachable)
            hub.push(future(number))
            await reading.reads(*range(number + 1))
            await reading.connected(transport)
            hub.cut(during=future(number + 1))
            await reading.reads(*range(number + 2))
    assert len(hub.calls("negotiate")) == 1


async def test_client_cut_before_the_first_frame_resumes(hub: Hub, transport: str) -> None:
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.cut(during=future(1))
        await reading.reads(1)
    assert len(hub.calls("negotiate")) == 1


async def test_client_continues_after_a_normal_end(hub: Hub, transport: str) -> None:
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.end()
        hub.push(future(1))
        await reading.until(lambda: reading.numbers)
        await reading.connected(transport)
        hub.push(future(2))
        await reading.reads(1, 2)


async def test_empty_poll_is_followed_by_the_next(hub: Hub) -> None:
    hub.poll_timeout = 0.05
    async with Reading(hub, transports="longPolling") as reading:
        await reading.until(lambda: len(hub.calls("poll")) >= 5)
        hub.push(future(1))
        await reading.reads(1)
    assert not hub.calls("reconnect")


async def test_polls_are_as_far_apart_as_the_hub_asks(hub: Hub) -> None:
    hub.negotiation["LongPollDelay"] = 0.1
    async with Reading(hub, transports="longPolling") as reading:
        await reading.connected("longPolling")
        answered, polls = asyncio.get_running_loop().time(), len(hub.calls("poll"))
        hub.push(future(1))
        await reading.until(lambda: len(hub.calls("poll")) > polls)
    assert hub.calls("poll")[polls].time - answered >= 0.1


async def test_restarted_hub_causes_a_new_negotiation(hub: Hub, transport: str) -> None:
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.push(future(1))
        await reading.reads(1)
        await hub.restart()
        await reading.connected(transport)
        hub.push(future(2))
        await reading.reads(1, 2)
    assert len(hub.calls("negotiate")) >= 2


async def test_unreachable_hub_is_waited_for(hub: Hub, transport: str) -> None:
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        await hub.stop()
        await reading.until(lambda: reading.source == "" and reading.error)
        await hub.start()
        await reading.connected(transport)
        assert not reading.error
        hub.push(future(1))
        await reading.reads(1)


async def test_cursor_is_sent_back_without_being_compared(hub: Hub, transport: str) -> None:
    # The next ones are lower, and of another series.
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        for number in range(1, 6):
            if number == 3:
                hub.backlog.renumber()
            hub.push(future(number))
            await reading.reads(*range(1, number + 1))
            await reading.connected(transport)
        hub.cut(during=future(6))
        await reading.reads(*range(1, 7))
    assert len(hub.calls("negotiate")) == 1


async def test_refused_reconnect_causes_a_new_negotiation(hub: Hub, transport: str) -> None:
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.refuse("reconnect", Refusal.FORBIDDEN)
        hub.refuse("poll", Refusal.FORBIDDEN)
        hub.cut()
        await reading.until(lambda: len(hub.received) >= 2)
        hub.accept("poll")
        await reading.until(lambda: len(hub.calls("negotiate")) >= 2)
        await reading.connected(transport)
        hub.push(future(1))
        await reading.reads(1)


async def test_keep_alives_alone_keep_the_connection() -> None:
    async def kept(transport: str) -> None:
        async with Hub() as hub, Reading(hub, transports=transport) as reading:
            hub.negotiation["KeepAliveTimeout"] = 0.5
            await reading.connected(transport)
            given = len(reading.frames)
            enough = hub.beats + round(1.0 / hub.keep_alive)  # beyond the limit
            await reading.until(lambda: hub.beats >= enough)
            assert reading.source == transport
            assert len(reading.frames) == given
            assert not reading.error
            assert not hub.calls("reconnect")
            assert len(hub.calls("negotiate")) == 1
            assert hub.violations == []

    # All at once, as each of them only waits.
    async with asyncio.TaskGroup() as group:
        for transport in TRANSPORTS:
            group.create_task(kept(transport))


async def test_silence_causes_a_reconnect() -> None:
    async def resumed(transport: str) -> None:
        async with Hub() as hub, Reading(hub, transports=transport) as reading:
            hub.negotiation["KeepAliveTimeout"] = 0.2
            await reading.connected(transport)
            hub.push(future(1))
            await reading.reads(1)
            hub.silent = True
            # A resumed connection is held to it as well.
            await reading.until(lambda: len(hub.calls("reconnect")) >= 2)
            hub.silent = False
            await reading.connected(transport)
            hub.push(future(2))
            await reading.reads(1, 2)
            assert hub.violations == []

    async with asyncio.TaskGroup() as group:
        for transport in TRANSPORTS:
            group.create_task(resumed(transport))


async def test_hub_without_keep_alives_is_not_timed_out(hub: Hub, transport: str) -> None:
    hub.negotiation["KeepAliveTimeout"] = None
    hub.silent = True
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.push(future(1))
        await reading.reads(1)
        await reading.connected(transport)
        hub.push(future(2))
        await reading.reads(1, 2)
    assert not hub.calls("reconnect")


async def test_malformed_frame_is_skipped(hub: Hub, transport: str) -> None:
    async with Reading(hub, transports=transport) as reading:
        await reading.connected(transport)
        hub.push_text(json.dumps({"C": "x", "M": future(1)}).encode()[:-20])
        await reading.until(lambda: len(hub.received) >= 2)
        await reading.connected(transport)
        hub.push(future(2))
        await reading.reads(2)
