"""Report the feed's state and the age of each contract as JSON (``/live/status``).

Versions come from `ime_live.gateway.upstream.version_cache`, so that frequent requests put no load
on Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.contracts import Contract, Market
from ime_live.errors import RefusedError, StoreError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.contract_filter import present_name
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.query.parameters import Endpoint
from ime_live.gateway.query.stream_query import (
    ContractNotFoundError,
    StatusRequest,
    find,
    read_status_request,
)
from ime_live.gateway.rest.request import RestRequest
from ime_live.gateway.rest.request_admission import Admission
from ime_live.gateway.upstream.contract_cache import ContractCache
from ime_live.gateway.upstream.feed_monitor import FeedMonitor
from ime_live.gateway.upstream.status_messages import optional_timestamp
from ime_live.gateway.upstream.version_cache import VersionCache
from ime_live.market import MICROSECONDS, timestamp_of
from ime_live.registry import Registry
from ime_live.status import FeedState, FeedStatus

_encode = msgspec.json.Encoder().encode


class MarketReport(Struct, frozen=True, rename="camel"):
    """The state of one market.

    Attributes:
        state: state of the feed for this market.
        last_board: when the board of the market was last received, changed or not.
        contracts: number of contracts on the board.
        until: when the present session ends, or the next one begins.
    """

    state: FeedState
    last_board: str | None
    contracts: int
    until: str | None


class ContractReport(Struct, frozen=True):
    """The age of one contract's market data.

    Attributes:
        id: id of the contract.
        market: market of the contract; None if it is not known.
        timestamp: timestamp of the last state; None without one, or if Redis cannot be reached.
        age: seconds since the timestamp; None without one.
        expired: present, and true, if the exchange has marked the contract as expired.
        delisted: present, and true, if the contract is no longer on its board.
    """

    id: str
    market: Market | None
    timestamp: str | None
    age: float | None
    expired: bool | UnsetType = UNSET
    delisted: bool | UnsetType = UNSET


class BarsReport(Struct, frozen=True):
    """Whether bars are kept.

    Attributes:
        state: ``live`` while the bars of all contracts are kept; ``down`` otherwise.
        since: when this state began.
        written: when the bar aggregator last wrote its status.
        error: reason why bars are not kept; None while they are.
    """

    state: FeedState
    since: str | None
    written: str | None
    error: str | None


class Report(Struct, frozen=True, kw_only=True, rename="camel"):
    """The state of the feed, and the age of each contract.

    Attributes:
        timestamp: time of this report. All times are ISO 8601, in Tehran's local time.
        redis: whether Redis can be reached.
        feed: the feed's state; None if there never was a feed.
        since: when the feed's state began.
        last_board: when one of the exchange's boards was last received.
        source: how the feed reads the exchange now.
        error: reason why the feed cannot read the exchange, or uses a slower way.
        lag: delay of the boards in seconds, by their own timestamps; present if it is known.
        markets: the state of each market.
        bars: whether bars are kept; present if there ever was a bar aggregator.
        contracts: the contracts, by the requested name, or by their own name.
    """

    timestamp: str
    redis: bool
    feed: FeedState | None
    since: str | None
    last_board: str | None
    source: str | None
    error: str | None
    lag: float | UnsetType = UNSET
    markets: dict[Market, MarketReport]
    bars: BarsReport | UnsetType = UNSET
    contracts: dict[str, ContractReport]


class StatusHandler:
    """Handles requests for status reports."""

    def __init__(
        self,
        *,
        admission: Admission,
        contract_cache: ContractCache,
        feed: FeedMonitor,
        bars: FeedMonitor,
        versions: VersionCache,
        diagnostics: Diagnostics,
        zone: tzinfo,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Make a handler.

        Args:
            admission: checks the token and the rate of requests.
            contract_cache: the known contracts.
            feed: holds the status of the feed.
            bars: holds the status of the bar aggregator.
            versions: reads the versions of last states.
            diagnostics: logs and explains refusals.
            zone: time zone of the timestamps.
            clock: the machine's clock.
        """
        self._admission = admission
        self._contract_cache = contract_cache
        self._feed = feed
        self._bars = bars
        self._versions = versions
        self._diagnostics = diagnostics
        self._zone = zone
        self._clock = clock

    async def report(self, request: RestRequest) -> bytes:
        """Return the report as JSON.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            LimitError: the client sends too many requests.
            RefusedError: a contract is unknown or not covered by the token; or, with code 1013,
                the contracts or keys are not loaded yet.
        """
        status_request = read_status_request(request.query)
        admitted = await self._admission.admit(
            Endpoint.STATUS.value, request, status_request.token, status_request.unknown
        )
        try:
            contracts = self._requested(status_request, admitted.identity)
        except RefusedError as error:
            self._diagnostics.note_refusal(Endpoint.STATUS.value, error)
            raise
        versions = await self._read_versions(contracts)
        now = self._clock.time_us()
        feed, zone = self._feed.status, self._zone
        report = Report(
            timestamp=timestamp_of(now, zone),
            redis=versions is not None,
            feed=feed.state if feed else None,
            since=timestamp_of(feed.since, zone) if feed else None,
            last_board=optional_timestamp(feed.last_board, zone) if feed else None,
            source=(feed.source or None) if feed else None,
            error=feed.error if feed else None,
            lag=feed.lag if feed and feed.lag is not None else UNSET,
            markets=market_reports(feed, zone) if feed else {},
            bars=bars_report(self._bars.status, zone),
            contracts={
                name: contract_report(
                    contract, (versions or {}).get(contract.contract_id), now, zone
                )
                for name, contract in contracts.items()
            },
        )
        return _encode(report)

    def _requested(self, request: StatusRequest, identity: Identity) -> Mapping[str, Contract]:
        registry = self._contract_cache.registry
        try:
            return requested_contracts(request, registry, identity)
        except ContractNotFoundError as refusal:
            self._diagnostics.explain_refusal(refusal, registry, identity.may_see)
            raise

    async def _read_versions(self, contracts: Mapping[str, Contract]) -> Mapping[str, int] | None:
        if not self._feed.reached:
            return None
        try:
            return await self._versions.read({c.contract_id for c in contracts.values()})
        except StoreError:
            return None


def requested_contracts(
    request: StatusRequest, registry: Registry, identity: Identity
) -> Mapping[str, Contract]:
    """Return the requested contracts, by their names in the report.

    A contract that was requested by name has that name. Other contracts have their own name, or
    ``id:`` and the id if the name finds another contract.

    Raises:
        RefusedError: 1008; a contract is unknown or not covered by the token.
    """
    by_name = {name: find(By.NAME, name, registry, identity.may_see) for name in request.names}
    if request.names or request.ids:
        others = [find(By.ID, i, registry, identity.may_see) for i in request.ids]
    else:
        others = [contract for contract in registry if identity.may_see(contract)]
    for contract in others:
        by_name[present_name(contract, By.NAME, registry)] = contract
    return by_name


def market_reports(status: FeedStatus, zone: tzinfo) -> dict[Market, MarketReport]:
    """Return the reports of all markets."""
    return {
        market: MarketReport(
            state=each.state,
            last_board=optional_timestamp(each.last_board, zone),
            contracts=each.contracts,
            until=optional_timestamp(each.until, zone),
        )
        for market, each in status.markets.items()
    }


def bars_report(status: FeedStatus | None, zone: tzinfo) -> BarsReport | UnsetType:
    """Return the report of the bar aggregator; UNSET if there never was one."""
    if status is None:
        return UNSET
    return BarsReport(
        state=status.state,
        since=optional_timestamp(status.since, zone),
        written=optional_timestamp(status.written or None, zone),
        error=status.error,
    )


def contract_report(
    contract: Contract, version: int | None, now: int, zone: tzinfo
) -> ContractReport:
    """Return the report of one contract.

    Args:
        contract: the contract.
        version: version of the last state; None without one, or if it is not known.
        now: the present time [microseconds since the epoch].
        zone: time zone of the timestamp.
    """
    return ContractReport(
        id=contract.contract_id,
        market=contract.market,
        timestamp=optional_timestamp(version, zone),
        # The publisher's clock may be ahead of ours.
        age=None if version is None else max(0, now - version) / MICROSECONDS,
        expired=contract.expired or UNSET,
        delisted=contract.delisted or UNSET,
    )
