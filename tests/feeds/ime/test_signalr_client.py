"""The client of the exchange's SignalR hub logs malformed answers and continues."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from ime_live.errors import SettingsError
from ime_live.feeds.ime.signalr_client import SignalRClient
from tests.feeds.ime.reading import Reading, settings
from tests.support.boards import future
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal

SAID = {
    Refusal.FORBIDDEN: "403",
    Refusal.NOT_FOUND: "404",
    Refusal.HTML: "HTML instead of JSON",
    Refusal.WRONG_TYPE: "text/plain instead of JSON",
    Refusal.TRUNCATED: "truncated JSON",
    Refusal.HANG: "",
    Refusal.DROP: "",
}


def complaints(logs: list[EventDict]) -> list[EventDict]:
    """The log lines that say that something is wrong."""
    return [line for line in logs if line["log_level"] in ("warning", "error", "critical")]


@pytest.mark.parametrize("how", SAID)
async def test_malformed_negotiation_is_logged_and_retried(hub: Hub, how: Refusal) -> None:
    hub.refuse("negotiate", how)
    # Only what never comes is waited for in vain; a slow machine may take its time.
    patience = 0.5 if how is Refusal.HANG else 20.0
    with capture_logs() as logs:
        async with Reading(hub, connect_timeout=patience) as reading:
            await reading.until(lambda: len(hub.calls("negotiate")) >= 3)
            assert reading.source == ""
            assert "negotiate" in reading.error
            assert SAID[how] in reading.error
            # A repeated fault is logged once per outage.
            [line] = complaints(logs)
            assert SAID[how] in str(line)
            hub.accept("negotiate")
            await reading.connected("webSockets")
            assert not reading.error
            hub.push(future(1))
            await reading.reads(1)


@pytest.mark.parametrize("how", SAID)
async def test_malformed_poll_answer_is_logged_and_retried(hub: Hub, how: Refusal) -> None:
    if how is Refusal.HANG:
        hub.negotiation["KeepAliveTimeout"] = 0.2
    with capture_logs() as logs:
        async with Reading(hub, transports="longPolling") as reading:
            await reading.connected("longPolling")
            hub.push(future(1))
            await reading.reads(1)
            hub.refuse("poll", how)
            hub.refuse("reconnect", how)
            hub.push(future(2))  # ends the poll that waits
            await reading.until(lambda: SAID[how] in reading.error and reading.error)
            assert complaints(logs)
            hub.accept("poll", "reconnect")
            await reading.connected("longPolling")
            hub.push(future(3))
            await reading.until(lambda: 3 in reading.numbers)
            assert reading.numbers in ([1, 2, 3], [1, 3])


@pytest.mark.parametrize(
    "fields",
    [
        {"ConnectionToken": None},
        {"ConnectionToken": 5},
        {"KeepAliveTimeout": "soon"},
        {"KeepAliveTimeout": -1},
        {"ProtocolVersion": None},
        {"DisconnectTimeout": None},
        {"TransportConnectTimeout": None},
        {"Url": None},
        {"Unheard": {"of": []}},
    ],
)
async def test_source_reconnects_after_malformed_negotiated_fields(
    hub: Hub, fields: dict[str, object]
) -> None:
    usual = dict(hub.negotiation)
    hub.negotiation |= fields
    async with Reading(hub) as reading:
        await reading.until(lambda: hub.live or reading.error)
        hub.negotiation = usual
        await reading.connected("webSockets")
        hub.push(future(1))
        await reading.reads(1)


@pytest.mark.parametrize("text", [b"<html></html>", b"[]", b"null", b"5", b"\xff\xfe", b""])
async def test_malformed_frames_are_logged(hub: Hub, text: bytes) -> None:
    hub.negotiation["KeepAliveTimeout"] = 0.5
    async with Reading(hub, transports="serverSentEvents") as reading:
        await reading.connected("serverSentEvents")
        hub.push_text(text)
        hub.push(future(1))
        await reading.until(lambda: reading.numbers == [1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "not a url"},
        {"base_url": "ftp://127.0.0.1/"},
        {"base_url": ""},
        {"proxy": "nonsense"},
        {"proxy": "ftp://127.0.0.1:1"},
        {"transports": "webSockets,carrierPigeon"},
        {"transports": ""},
    ],
)
async def test_malformed_settings_are_refused(hub: Hub, wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong)).replace("_", "-")):
        await anext(SignalRClient(settings(hub, **wrong)).frames())


async def test_base_url_without_final_slash_is_accepted(hub: Hub) -> None:
    async with Reading(hub, base_url=hub.base_url.rstrip("/")) as reading:
        await reading.connected("webSockets")
