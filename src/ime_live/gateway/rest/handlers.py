"""Handle the REST calls: check the request, find its contracts, and return their data.

A refusal is raised as an exception; `ime_live.gateway.query.http_errors` has the HTTP status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, tzinfo
from typing import Final, Protocol

from msgspec.structs import replace

from ime_live.candles import Candle, Interval
from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.contracts import Contract
from ime_live.errors import (
    CloseCode,
    PayloadError,
    RefusedError,
    StoreError,
    UnknownContractError,
)
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.contract_filter import (
    ID,
    FilterMatcher,
    check_filters,
    matching,
    present_name,
    split_names,
)
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.query.parameters import Endpoint
from ime_live.gateway.query.query_string import Query
from ime_live.gateway.query.rest_query import CANDLE_ENDPOINTS, DATA_ENDPOINTS, read_contracts
from ime_live.gateway.query.stream_query import NOT_COVERED, check_count, is_known
from ime_live.gateway.rest.bodies import Data, Description, Section, live_data, static_data
from ime_live.gateway.rest.candles import candle_data, candles_of, check_amount, read_span
from ime_live.gateway.rest.markets import markets_data
from ime_live.gateway.rest.option_chain import chain_data, options_of, pairs_of
from ime_live.gateway.rest.request import RestRequest
from ime_live.gateway.rest.request_admission import Admission, AdmittedRequest
from ime_live.gateway.rest.search import Search
from ime_live.gateway.upstream.contract_cache import ContractCache
from ime_live.gateway.upstream.feed_monitor import FeedMonitor
from ime_live.gateway.upstream.sections import Sections
from ime_live.gateway.upstream.state_reader import TIME_LIMIT, StateReader
from ime_live.registry import Registry
from ime_live.store.bar import Bar

_DATA_UNAVAILABLE: Final = "market data cannot be read now"
_HOURS_UNAVAILABLE: Final = "trading hours cannot be read now"

# The candles of one day take about as long as the states of this many contracts.
_CANDLES_COST: Final = 20


class BarReader(Protocol):
    """Reads bars from the store, as `ime_live.store.bar_store.BarStore` does."""

    async def read(self, days: Sequence[tuple[str, date]], /) -> list[list[Bar]]:
        """Return the bars of each pair of contract id and day; raises StoreError."""


class Handlers:
    """Handlers of all REST calls but the status report.

    The handlers raise:

    - AuthenticationError: the token is missing or not accepted.
    - LimitError: the client sends too many requests.
    - RefusedError: with the kind `NOT_COVERED`, the token does not cover a contract; with code
      1013, the store cannot be reached, or contracts or keys are not loaded yet; otherwise a
      parameter is missing or wrong.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        contract_cache: ContractCache,
        state_reader: StateReader,
        feed: FeedMonitor,
        bar_store: BarReader,
        diagnostics: Diagnostics,
        max_contracts: int,
        is_store_connected: Callable[[], bool],
        zone: tzinfo,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Make the handlers.

        Args:
            admission: checks the token and the rate of requests.
            contract_cache: the known contracts.
            state_reader: reads last states.
            feed: holds the status of the feed.
            bar_store: reads bars.
            diagnostics: logs and explains unknown contracts.
            max_contracts: maximum number of contracts per request.
            is_store_connected: returns whether the store is connected, so that the contract cache
                is current.
            zone: time zone of the exchange, which determines the date.
            clock: the machine's clock.
        """
        self._admission = admission
        self._contract_cache = contract_cache
        self._state_reader = state_reader
        self._feed = feed
        self._bar_store = bar_store
        self._diagnostics = diagnostics
        self.max_contracts = max_contracts
        """Maximum number of contracts per request; may be changed at any time."""
        self._is_store_connected = is_store_connected
        self._zone = zone
        self._clock = clock
        self._search = Search()

    async def live(self, section: Section, by: By, request: RestRequest) -> Data:
        """Return a section of the last states of the requested contracts."""
        query, admitted = await self._admit(DATA_ENDPOINTS[by], request)
        contracts = dict(self._requested(by, query, admitted))
        known = [contract for contract in contracts.values() if contract is not None]
        states = await self._states(known)
        data = live_data(section, contracts, states, self._today(), details=query["details"])
        return self._with_remark(data, by, contracts, admitted.identity)

    async def candles(self, by: By, request: RestRequest) -> Data:
        """Return the candles of the requested contracts, by their names or ids."""
        query, admitted = await self._admit(CANDLE_ENDPOINTS[by], request)
        span = read_span(query["from"], query["to"], self._today(), self._zone)
        interval: Interval = query["interval"]
        contracts = dict(self._requested(by, query, admitted, current=True))
        check_amount(len(contracts), len(span.days))
        # Each contract was counted once in `_requested`.
        additional = _CANDLES_COST * len(span.days) - 1
        self._admission.count(admitted, additional * len(contracts))
        ids = {each.contract_id: None for each in contracts.values() if each is not None}
        days = [(contract_id, day) for contract_id in ids for day in span.days]
        try:
            async with asyncio.timeout(TIME_LIMIT):
                bars_of_days = await self._bar_store.read(days) if days else []
        except (StoreError, TimeoutError) as error:
            raise RefusedError(_DATA_UNAVAILABLE, code=CloseCode.TRY_AGAIN_LATER) from error
        candles: dict[str, list[Candle]] = {contract_id: [] for contract_id in ids}
        for (contract_id, day), bars in zip(days, bars_of_days, strict=True):
            candles[contract_id] += candles_of(bars, day, interval, span)
            await asyncio.sleep(0)  # lets streams continue
        return self._with_remark(candle_data(contracts, candles), by, contracts, admitted.identity)

    async def static(self, by: By, request: RestRequest) -> Data:
        """Return the static data of the requested contracts, in that order."""
        query, admitted = await self._admit(DATA_ENDPOINTS[by], request)
        contracts = self._requested(by, query, admitted, current=True)
        records = [contract for _, contract in contracts]
        data = static_data(records, self._today(), details=query["details"])
        return self._with_remark(data, by, dict(contracts), admitted.identity)

    async def search(self, request: RestRequest) -> Data:
        """Return the static data of the visible contracts of a market that match a text."""
        query, admitted = await self._admit(Endpoint.SEARCH, request)
        market, text, details = query["market"], query["Search_char"], query["details"]
        self._require_store()
        matches = self._search.find(self._registry, market, text)
        self._admission.count(admitted, len(matches))
        visible = [contract for contract in matches if admitted.identity.may_see(contract)]
        return static_data(visible, self._today(), details=details)

    async def option_chain(self, request: RestRequest) -> Data:
        """Return the visible options of an underlying: strikes, each with its call and put."""
        query, admitted = await self._admit(Endpoint.OPTION_CHAIN, request)
        underlying, expiration = query["underlying"], query["expiration"]
        self._require_store()
        options = options_of(self._registry, admitted.identity, underlying, expiration)
        if len(options) > self.max_contracts:
            raise RefusedError(
                f"too many options: {len(options)}, at most {self.max_contracts}; name a day with "
                "expiration=",
                kind="too many contracts",
            )
        self._admission.count(admitted, len(options))
        states = await self._states(options)
        return chain_data(pairs_of(options), states, self._today())

    async def markets(self, request: RestRequest) -> Data:
        """Return the trading hours and holidays of all markets, from the feed's status."""
        await self._admit(Endpoint.MARKETS, request)
        self._require_store()
        if not self._feed.readable:
            raise RefusedError(_HOURS_UNAVAILABLE, code=CloseCode.TRY_AGAIN_LATER)
        return markets_data(self._feed.status)

    async def _states(self, contracts: Iterable[Contract]) -> Mapping[str, Sections | PayloadError]:
        ids = {contract.contract_id for contract in contracts}
        try:
            return await self._state_reader.read(ids) if ids else {}
        except StoreError as error:
            raise RefusedError(_DATA_UNAVAILABLE, code=CloseCode.TRY_AGAIN_LATER) from error

    async def _admit(
        self, endpoint: Endpoint, request: RestRequest
    ) -> tuple[Query, AdmittedRequest]:
        query = Query.of(endpoint, request.query)
        admitted = await self._admission.admit(endpoint.value, request, query.token, query.unknown)
        return query, admitted

    @property
    def _registry(self) -> Registry:
        return self._contract_cache.registry

    def _requested(
        self, by: By, query: Query, admitted: AdmittedRequest, *, current: bool = False
    ) -> list[tuple[str, Contract | None]]:
        """Return the named contracts, then those that the filter matches.

        Args:
            by: whether the request names contracts by name or by id.
            query: query of one of `DATA_ENDPOINTS` or `CANDLE_ENDPOINTS`.
            admitted: the request.
            current: whether to refuse the request while the contract cache may be out of date.

        Returns:
            Names or ids as requested, with their contracts; None for an unknown contract.
        """
        limit = self.max_contracts
        names, contract_filter = split_names(
            by,
            read_contracts(by, query, limit),
            lambda by, name: is_known(by, name, self._registry),
            markets=query["market"] or (),
            underlyings=query["underlying"] or (),
        )
        self._admission.count(admitted, len(names))
        if current:
            self._require_store()
        identity = admitted.identity
        registry = self._registry
        contracts = [(name, _find(by, name, identity, registry)) for name in names]
        if contract_filter is None:
            return contracts
        check_filters((contract_filter,))
        ids = {contract.contract_id for _, contract in contracts if contract is not None}
        matches = matching((FilterMatcher(contract_filter),), registry, identity.may_see)
        others = [contract for i, (contract, _) in matches.items() if i not in ids]
        check_count(len(contracts) + len(others), limit)
        self._admission.count(admitted, len(others))
        used_names = set(names)
        for contract in others:
            name = present_name(contract, by, registry)
            contracts.append((ID + contract.contract_id if name in used_names else name, contract))
        return contracts

    def _with_remark(
        self, data: Data, by: By, contracts: Mapping[str, Contract | None], identity: Identity
    ) -> Data:
        unknown = [name for name, contract in contracts.items() if contract is None]
        if not unknown:
            return data
        registry = self._registry
        suggestion = self._diagnostics.explain_unknown(by, unknown, registry, identity.may_see)
        return replace(data, remark=Description(suggestion.fa, suggestion.en))

    def _require_store(self) -> None:
        # The cache does not have contracts that were added or changed during an outage.
        if not self._is_store_connected():
            raise RefusedError(_DATA_UNAVAILABLE, code=CloseCode.TRY_AGAIN_LATER)

    def _today(self) -> date:
        return self._clock.local(self._zone).date()


def _find(by: By, name: str, identity: Identity, registry: Registry) -> Contract | None:
    try:
        contract = registry.by_name(name) if by is By.NAME else registry.by_id(name)
    except UnknownContractError:
        return None
    if not identity.may_see(contract):
        raise RefusedError(f"contract not covered by the token: {name}", kind=NOT_COVERED)
    return contract
