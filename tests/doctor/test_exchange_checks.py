"""Checks of the exchange, against the test SignalR hub: fields, transports, clock and report."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ime_live.doctor.check import Finding, run_checks
from ime_live.doctor.exchange_checks import EXCHANGE_CHECKS, CheckedExchange
from ime_live.settings import SignalRHubSettings
from tests.support.boards import board, row, timestamp
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Hub() as made:
        made.negotiation = {"KeepAliveTimeout": 2.0, "TransportConnectTimeout": 2.0}
        yield made
        assert made.violations == []


@asynccontextmanager
async def pushing(hub: Hub, *messages: dict[str, Any]) -> AsyncIterator[None]:
    """Push these boards several times a second, as the exchange does."""

    async def push() -> None:
        while True:
            hub.push(list(messages))
            await asyncio.sleep(0.1)

    task = asyncio.create_task(push())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def checked(hub: Hub, **settings: Any) -> tuple[CheckedExchange, dict[str, list[str]]]:  # noqa: ANN401
    context = CheckedExchange(SignalRHubSettings(base_url=hub.base_url, **settings), listen=1.0)
    found: dict[str, list[str]] = {}
    async for each in run_checks(EXCHANGE_CHECKS, context):
        context.findings.append(each)
        found.setdefault(each.check, []).append(f"{each.level}: {each.text}")
    return context, found


def future(**fields: object) -> dict[str, Any]:
    made = row("future", LastUpdate=timestamp(), **fields)
    return {name: value for name, value in made.items() if value != "gone"}


async def test_hub_that_is_as_assumed_passes(hub: Hub) -> None:
    async with pushing(hub, board("updateFutureMarketsInfo", future())):
        context, found = await checked(hub, boards="futures")
    assert found["hub"] == ["ok: 127.0.0.1 speaks SignalR 2.0"]
    assert [each.split(":")[0] for each in found["transports"]] == ["ok"] * 3
    assert found["boards"] == ["ok: updateFutureMarketsInfo: 1 row, all fields are there"]
    assert found["rows"][0].startswith("ok: ")
    assert found["exchange clock"][0].startswith("ok: ")
    report = json.dumps(context.report())
    assert context.report()["transports"] == {
        "webSockets": "ok",
        "serverSentEvents": "ok",
        "longPolling": "ok",
    }
    for session in hub.sessions.values():
        assert session.token not in report
        assert session.id not in report


async def test_missing_field_unknown_board_and_silent_board_are_named(hub: Hub) -> None:
    messages = [
        board("updateFutureMarketsInfo", future(LastTradedPrice="gone")),
        board("updateMoonMarketsInfo", {"A": 1}),
    ]
    async with pushing(hub, *messages):
        context, found = await checked(hub, boards="futures,cdc")
    assert "failed: updateFutureMarketsInfo lacks the fields LastTradedPrice" in found["boards"]
    assert "warning: unknown boards: updateMoonMarketsInfo" in found["boards"]
    assert "warning: updateCDCMarketsInfo has not arrived within 1 s" in found["boards"]
    assert any("cannot be read" in each for each in found["rows"])
    assert context.report()["unknownMethods"] == ["updateMoonMarketsInfo"]


async def test_transport_that_is_refused_and_clock_that_differs_are_warnings(hub: Hub) -> None:
    hub.ahead = 90.0
    hub.refuse("webSockets", Refusal.FORBIDDEN)
    async with pushing(hub, board("updateFutureMarketsInfo", future())):
        _, found = await checked(hub, boards="futures")
    assert found["transports"][0].startswith("warning: webSockets: ")
    assert found["transports"][1] == "ok: serverSentEvents works"
    assert found["exchange clock"][0].startswith("warning: the exchange's clock differs")


async def test_unreachable_hub_fails_with_remedy() -> None:
    context = CheckedExchange(SignalRHubSettings(base_url="http://127.0.0.1:1/"))
    found: list[Finding] = [each async for each in run_checks(EXCHANGE_CHECKS, context)]
    assert found[0].level == "failed"
    assert "--proxy" in found[0].remedy
    assert {str(each.level) for each in found[1:]} == {"skipped"}


def test_report_has_no_secret_of_the_settings() -> None:
    settings = SignalRHubSettings(proxy="http://me:secret@127.0.0.1:3128")
    report = json.dumps(CheckedExchange(settings).report())
    assert "secret" not in report
    assert "3128" not in report
