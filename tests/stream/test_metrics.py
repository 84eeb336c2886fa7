"""Metrics: they say what happened, in Prometheus's words."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families

from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Wire
from tests.support.gateways import Gateway, RawClient, closed, frame_bytes, receive

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]


def test_metrics_are_prometheus_text(gateway: Gateway) -> None:
    answer = gateway.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == CONTENT_TYPE_LATEST
    names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert names >= {
        "ime_live_build_info",
        "ime_live_connections",
        "ime_live_contracts_subscribed",
        "ime_live_workers_ready",
        "ime_live_connections_opened",
        "ime_live_connections_closed",
        "ime_live_updates_received",
        "ime_live_updates_dropped",
        "ime_live_deliveries",
        "ime_live_conflated",
        "ime_live_lag_seconds",
    }


class _Change:
    """How a metric moves from when this was made."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def start(self, name: str, **labels: str) -> None:
        self._before[name, tuple(labels.items())] = self._gateway.metric(name, **labels)

    def of(self, name: str, **labels: str) -> float:
        return self._gateway.metric(name, **labels) - self._before[name, tuple(labels.items())]


async def test_metrics_count_clients_messages_and_refusals(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    wire: Wire,
    payload: Payload,
    eventually: Eventually,
) -> None:
    one, two = market.take(2)
    ids = [one.contract_id, two.contract_id]
    await eventually(lambda: gateway.metric("connections") == 0)  # of the tests before
    change = _Change(gateway)
    for name in (
        "connections",
        "contracts_subscribed",
        "connections_opened_total",
        "updates_received_total",
        "deliveries_total",
        "lag_seconds_count",
        "lag_seconds_sum",
    ):
        change.start(name)
    for reason in ("equal", "stale", "malformed"):
        change.start("updates_dropped_total", reason=reason)
    for code, reason in (
        ("1000", "client left"),
        ("1006", "connection lost"),
        ("1008", "unknown contract"),
        ("1009", "message too big"),
    ):
        change.start("connections_closed_total", code=code, reason=reason)

    async with gateway.by_id(*ids) as client, gateway.by_id(*ids) as other:
        assert change.of("connections") == 2
        assert change.of("contracts_subscribed") == 2
        for contract_id in ids:
            await publisher.publish(contract_id, payload())
        for each in (client, other):
            for _ in ids:
                await receive(each)
        now = time.time_ns() // 1000
        await wire.send(one, payload(), version=now)  # equal
        await wire.send(one, payload(Aggregate={"trade_count": 5}), version=now - 10)  # stale
        await wire.send_raw(one, b"malformed")
        await wire.send(one, payload(Aggregate={"trade_count": 6}))
        for each in (client, other):
            await receive(each)
        assert change.of("updates_received_total") == 6
        assert change.of("deliveries_total") == 6
        for reason in ("equal", "stale", "malformed"):
            assert change.of("updates_dropped_total", reason=reason) == 1
        assert 2 <= change.of("lag_seconds_count") <= 3
        assert 0 < change.of("lag_seconds_sum") < 10

    (await RawClient.stream(gateway, gateway.stream("id", ids))).reset()
    async with gateway.by_name("a name that no label may hold") as client:
        await closed(client)
    async with await RawClient.stream(gateway, gateway.stream("id", ids)) as raw:
        await raw.send(frame_bytes(0x1, bytes(5000)))
        assert (await raw.frame()).close.code == 1009

    await eventually(lambda: change.of("connections") == 0)
    assert change.of("contracts_subscribed") == 0
    assert change.of("connections_opened_total") == 5
    assert change.of("connections_closed_total", code="1000", reason="client left") == 2
    assert change.of("connections_closed_total", code="1008", reason="unknown contract") == 1
    assert change.of("connections_closed_total", code="1009", reason="message too big") == 1
    reset = [
        family
        for family in text_string_to_metric_families(gateway.get("/metrics").body.decode())
        if family.name == "ime_live_connections_closed"
    ]
    assert any(sample.labels["code"] == "1006" for sample in reset[0].samples)
    assert b"a name that no label" not in gateway.get("/metrics").body
