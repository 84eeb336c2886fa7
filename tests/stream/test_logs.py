"""Logs: each connection, its selection, and the reason of its end."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import jwt

from tests.stream.conftest import SECRET, Market
from tests.support.gateways import Gateway, closed

Eventually = Callable[..., Awaitable[None]]


async def test_connection_is_logged_from_its_beginning_to_its_end(
    guarded: Gateway, market: Market, eventually: Eventually
) -> None:
    contracts = market.take(12)
    token = jwt.encode({"sub": "bob", "exp": time.time() + 60}, SECRET, algorithm="HS256")
    path = guarded.stream("name", [c.contract_name for c in contracts])
    async with guarded.connect(path, additional_headers={"Authorization": token}):
        pass

    def lines(event: str) -> list[dict[str, Any]]:
        return [line for line in guarded.events(event) if line.get("subject") == "bob"]

    await eventually(lambda: lines("stream closed"))
    [opened], [ended] = lines("stream opened"), lines("stream closed")
    assert opened["connection"] == ended["connection"]
    assert opened["by"] == "name"
    assert opened["count"] == 12
    assert opened["contracts"] == [c.contract_name for c in contracts[:10]]
    assert opened["peer"].startswith("127.0.0.1:")
    assert opened["level"] == "info"
    assert datetime.fromisoformat(opened["timestamp"]).tzinfo is not None
    assert (ended["code"], ended["reason"]) == (1000, "client left")
    assert ended["seconds"] >= 0


async def test_refusal_is_logged_with_its_reason(guarded: Gateway, eventually: Eventually) -> None:
    before = len(guarded.events("stream closed"))
    async with guarded.by_name("KASH0000") as client:
        await closed(client)
    await eventually(lambda: len(guarded.events("stream closed")) > before)
    line = guarded.events("stream closed")[-1]
    assert (line["code"], line["reason"]) == (1008, "authentication required")
    assert line["connection"]


def test_every_log_line_is_json_with_log_format_json(guarded: Gateway, gateway: Gateway) -> None:
    for process in (guarded, gateway):
        assert not [line for line in process.log if line["level"] == "not JSON"]
