"""The report: which contracts are in it, by which name, and what it says while Redis is away.

Its form over HTTP and its limits by token are tested in `tests.stream.test_status`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from ime_live.contracts import Contract
from ime_live.errors import CloseCode, LimitError, RefusedError, StoreError
from ime_live.gateway.auth.authenticator import NoAuthenticator
from ime_live.gateway.limits.rate_limit import RequestLimit
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.rest.request import RestRequest
from ime_live.gateway.rest.request_admission import Admission
from ime_live.gateway.rest.status_report import StatusHandler
from ime_live.gateway.upstream.feed_monitor import NO_BARS, without_leader
from ime_live.market import timestamp_of
from ime_live.registry import Registry
from ime_live.status import FeedState, FeedStatus
from tests.support.clock import GivenClock

NOW = 1_780_000_000_000_000
REGISTRY = Registry(
    [
        Contract(contract_id="1", contract_name="KASH05", expired=True),
        Contract(contract_id="2", contract_name="KASH05"),
        Contract(contract_id="3", contract_name="سکه0312پ01", aliases=("OLD",), delisted=True),
    ]
)


class World:
    """A reporter, and all that it asks."""

    def __init__(self) -> None:
        self.registry = REGISTRY
        self.status: FeedStatus | None = None
        self.bars = SimpleNamespace(status=None)
        self.reached = True
        self.error: StoreError | None = None
        self.stored = {"1": NOW - 1_500_000, "2": NOW + 5}
        self.requests = 0
        others: Any = cast("Any", self)
        self.seconds = 0.0
        diagnostics = Diagnostics()
        self._handler = StatusHandler(
            admission=Admission(
                NoAuthenticator(),
                RequestLimit(1),
                diagnostics,
                GivenClock(monotonic=lambda: self.seconds),
            ),
            contract_cache=others,
            feed=others,
            bars=cast("Any", self.bars),
            versions=others,
            diagnostics=diagnostics,
            zone=UTC,
            clock=GivenClock(lambda: NOW),
        )

    async def read(self, ids: Iterable[str]) -> Mapping[str, int]:
        self.requests += 1
        if self.error is not None:
            raise self.error
        return {i: self.stored[i] for i in ids if i in self.stored}

    async def report(self, query: str = "") -> dict[str, Any]:
        report: dict[str, Any] = msgspec.json.decode(
            await self._handler.report(RestRequest(query, "192.0.2.1"))
        )
        return report

    async def named(self, query: str) -> dict[str, str]:
        """The ids of the contracts in a report, by the names that it gives them."""
        contracts = (await self.report(query))["contracts"]
        return {name: about["id"] for name, about in contracts.items()}


@pytest.fixture
def world() -> World:
    return World()


async def test_status_report_without_a_feed_has_no_feed(world: World) -> None:
    report = await world.report("contract_id=3")
    assert report == {
        "timestamp": timestamp_of(NOW, UTC),
        "redis": True,
        "feed": None,
        "since": None,
        "lastBoard": None,
        "source": None,
        "error": None,
        "markets": {},
        "contracts": {
            "سکه0312پ01": {
                "id": "3",
                "market": None,
                "timestamp": None,
                "age": None,
                "delisted": True,
            }
        },
    }


async def test_status_report_has_the_state_of_bars_if_ever_kept(world: World) -> None:
    assert "bars" not in await world.report()
    kept = FeedStatus(FeedState.LIVE, since=NOW - 5, written=NOW)
    world.bars.status = kept
    since, written = (timestamp_of(each, UTC) for each in (NOW - 5, NOW))
    assert (await world.report())["bars"] == {
        "state": "live", "since": since, "written": written, "error": None,
    }  # fmt: skip
    world.bars.status = without_leader(kept, NO_BARS)
    assert (await world.report())["bars"] == {
        "state": "down", "since": written, "written": written,
        "error": "no bar aggregator is running",
    }  # fmt: skip


async def test_status_report_has_the_lag_if_known(world: World) -> None:
    world.status = FeedStatus(FeedState.STALE, since=NOW, lag=34.5)
    assert (await world.report())["lag"] == 34.5
    world.status = FeedStatus(FeedState.CLOSED, since=NOW)
    assert "lag" not in await world.report()


async def test_status_report_names_contracts_as_the_client_did(world: World) -> None:
    assert await world.named("") == {"id:1": "1", "KASH05": "2", "سکه0312پ01": "3"}
    assert await world.named("contract_names=OLD&contract_ids=1") == {"OLD": "3", "id:1": "1"}
    assert await world.named("contract_name=سكه۰۳۱۲پ۰۱") == {"سكه۰۳۱۲پ۰۱": "3"}


async def test_status_report_has_ages_of_states(world: World) -> None:
    contracts = (await world.report())["contracts"]
    assert contracts["id:1"]["timestamp"] == timestamp_of(NOW - 1_500_000, UTC)
    assert contracts["id:1"]["age"] == 1.5
    assert contracts["KASH05"]["age"] == 0  # by a clock that is ahead of ours


async def test_status_report_during_an_outage_has_no_versions(world: World) -> None:
    world.error = StoreError("away")
    report = await world.report("contract_id=1")
    assert report["redis"] is False
    assert report["contracts"]["id:1"]["timestamp"] is None
    world.reached = False
    assert (await world.report())["redis"] is False
    assert world.requests == 1


@pytest.mark.parametrize("query", ["contract_names=XYZ", "contract_ids=KASH05"])
async def test_status_report_of_an_unknown_contract_is_refused(world: World, query: str) -> None:
    with pytest.raises(RefusedError, match="unknown contract: ") as caught:
        await world.report(query)
    assert caught.value.code is CloseCode.POLICY_VIOLATION
    assert world.requests == 0


async def test_status_reports_count_towards_the_rate_limit(world: World) -> None:
    for _ in range(5):
        await world.report()
    with pytest.raises(LimitError):
        await world.report()
    world.seconds += 1
    await world.report()
