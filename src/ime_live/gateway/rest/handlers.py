"""Handle the REST calls: check the request, find its contracts, and return their data.

Refusals are raised; `ime_live.gateway.query.http_errors` has their HTTP status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, tzinfo
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
from ime_live.gateway.rest.admission import Admission, Admitted
from ime_live.gateway.rest.bodies import Data, Description, Section, live_data, static_data
from ime_live.gateway.rest.candles import candle_data, candles_of, check_amount, read_span
from ime_live.gateway.rest.markets import markets_data
from ime_live.gateway.rest.option_chain import chain_data, options_of, pairs_of
from ime_live.gateway.rest.request import RestRequest
from ime_live.gateway.rest.search import Search
from ime_live.gateway.upstream.contract_cache import ContractCache
from ime_live.gateway.upstream.feed_monitor import FeedMonitor
from ime_live.gateway.upstream.sections import Sections
from ime_live.gateway.upstream.state_reader import TIME_LIMIT, StateReader
from ime_live.registry import Registry
from ime_live.store.bar import Bar

_AWAY: Final = "market data cannot be read now"
_HOURS_AWAY: Final = "trading hours cannot be read now"


# Candles of a day take about as long as the states of so many contracts.
_CANDLES_COST: Final = 20


class BarReader(Protocol):
    """Reads bars from the store, as `ime_live.store.bar_store.BarStore`."""

    async def read(self, days: Sequence[tuple[str, date]], /) -> list[list[Bar]]:
        """Return the bars of each contract id and day; raises StoreError."""


class Handlers:
    """Handlers of the calls for live data, static data and search.

    Its methods raise:

    - AuthenticationError: the token is missing or bad.
    - LimitError: too many requests.
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
        reached: Callable[[], bool],
        zone: tzinfo,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Make the handlers.

        Args:
            admission: checks the token and the rate of requests.
            contract_cache: the known contracts.
            state_reader: reads their last states.
            feed: knows what the feed has written about itself.
            bar_store: reads their bars.
            diagnostics: explains what is wrong with requests.
            max_contracts: number of contracts that a request may name.
            reached: returns whether the store is connected, and the contract cache so up to date.
            zone: time zone of the exchange, in which days are counted.
            clock: the machine's clock.
        """
        self._admission = admission
        self._contract_cache = contract_cache
        self._state_reader = state_reader
        self._feed = feed
        self._bar_store = bar_store
        self._diagnostics = diagnostics
        self.max_contracts = max_contracts
        """Number of contracts that a request may name."""
        self._reached = reached
        self._zone = zone
        self._clock = clock
        self._search = Search()

    async def live(self, section: Section, by: By, request: RestRequest) -> Data:
        """Return the last states of the requested contracts."""
        query, admitted = await self._admit(DATA_ENDPOINTS[by], request)
        contracts = dict(self._requested(by, query, admitted))
        states = await self._states(each for each in contracts.values() if each is not None)
        data = live_data(section, contracts, states, self._today(), details=query["details"])
        return self._explained(data, by, contracts, admitted.identity)

    async def candles(self, by: By, request: RestRequest) -> Data:
        """Return the candles of the requested contracts, by their names or ids."""
        query, admitted = await self._admit(CANDLE_ENDPOINTS[by], request)
        span = read_span(query["from"], query["to"], self._today(), self._zone)
        interval: Interval = query["interval"]
        contracts = dict(self._requested(by, query, admitted, current=True))
        check_amount(len(contracts), len(span.days))
        # Each contract was counted once.
        more = _CANDLES_COST * len(span.days) - 1
        self._admission.count(admitted, more * len(contracts))
        ids = {each.contract_id: None for each in contracts.values() if each is not None}
        wanted = [(contract_id, day) for contract_id in ids for day in span.days]
        try:
            async with asyncio.timeout(TIME_LIMIT):
                found = await self._bar_store.read(wanted) if wanted else []
        except (StoreError, TimeoutError) as error:
            raise RefusedError(_AWAY, code=CloseCode.TRY_AGAIN_LATER) from error
        parts: dict[str, list[Candle]] = {contract_id: [] for contract_id in ids}
        for (contract_id, day), bars in zip(wanted, found, strict=True):
            parts[contract_id] += candles_of(bars, day, interval, span)
            await asyncio.sleep(0)  # streams go on meanwhile
        return self._explained(candle_data(contracts, parts), by, contracts, admitted.identity)

    async def static(self, by: By, request: RestRequest) -> Data:
        """Return the static data of the requested contracts, in that order."""
        query, admitted = await self._admit(DATA_ENDPOINTS[by], request)
        contracts = self._requested(by, query, admitted, current=True)
        found = [contract for _, contract in contracts]
        data = static_data(found, self._today(), details=query["details"])
        return self._explained(data, by, dict(contracts), admitted.identity)

    async def search(self, request: RestRequest) -> Data:
        """Return the static data of a market's contracts that match a text and may be seen."""
        query, admitted = await self._admit(Endpoint.SEARCH, request)
        market, text, details = query["market"], query["Search_char"], query["details"]
        self._need_store()
        found = self._search.find(self._registry, market, text)
        self._admission.count(admitted, len(found))
        seen = [contract for contract in found if admitted.identity.may_see(contract)]
        return static_data(seen, self._today(), details=details)

    async def option_chain(self, request: RestRequest) -> Data:
        """Return the options of an underlying that may be seen: strikes with call and put."""
        query, admitted = await self._admit(Endpoint.OPTION_CHAIN, request)
        underlying, expiration = query["underlying"], query["expiration"]
        self._need_store()
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
        """Return the trading hours and holidays of all markets, as the feed has written them."""
        await self._admit(Endpoint.MARKETS, request)
        self._need_store()
        if not self._feed.readable:
            raise RefusedError(_HOURS_AWAY, code=CloseCode.TRY_AGAIN_LATER)
        return markets_data(self._feed.status)

    async def _states(self, contracts: Iterable[Contract]) -> Mapping[str, Sections | PayloadError]:
        ids = {contract.contract_id for contract in contracts}
        try:
            return await self._state_reader.read(ids) if ids else {}
        except StoreError as error:
            raise RefusedError(_AWAY, code=CloseCode.TRY_AGAIN_LATER) from error

    async def _admit(self, endpoint: Endpoint, request: RestRequest) -> tuple[Query, Admitted]:
        query = Query.of(endpoint, request.query)
        admitted = await self._admission.admit(endpoint.value, request, query.token, query.unknown)
        return query, admitted

    @property
    def _registry(self) -> Registry:
        return self._contract_cache.registry

    def _requested(
        self, by: By, query: Query, admitted: Admitted, *, current: bool = False
    ) -> list[tuple[str, Contract | None]]:
        """Return the contracts that are named, None for an unknown one, then those of the filter.

        Args:
            by: how they are named.
            query: of one of `DATA_ENDPOINTS`.
            admitted: whose request it is.
            current: whether to refuse the request while contracts may have changed unnoticed.
        """
        limit = self.max_contracts
        given = read_contracts(by, query, limit)
        names, chosen = split_names(
            by,
            given,
            lambda by, name: is_known(by, name, self._registry),
            markets=query["market"] or (),
            underlyings=query["underlying"] or (),
        )
        self._admission.count(admitted, len(names))
        if current:
            self._need_store()
        identity = admitted.identity
        registry = self._registry
        found = [(name, _find(by, name, identity, registry)) for name in names]
        if chosen is None:
            return found
        check_filters((chosen,))
        ids = {contract.contract_id for _, contract in found if contract is not None}
        matches = matching((FilterMatcher(chosen),), registry, identity.may_see)
        others = [contract for i, (contract, _) in matches.items() if i not in ids]
        check_count(len(found) + len(others), limit)
        self._admission.count(admitted, len(others))
        taken = set(names)
        for contract in others:
            name = present_name(contract, by, registry)
            found.append((ID + contract.contract_id if name in taken else name, contract))
        return found

    def _explained(
        self, data: Data, by: By, contracts: Mapping[str, Contract | None], identity: Identity
    ) -> Data:
        unknown = [name for name, contract in contracts.items() if contract is None]
        if not unknown:
            return data
        registry = self._registry
        said = self._diagnostics.explain_unknown(by, unknown, registry, identity.may_see)
        return replace(data, remark=Description(said.fa, said.en))

    def _need_store(self) -> None:
        # Contracts that were added or changed during an outage of the store are unknown here.
        if not self._reached():
            raise RefusedError(_AWAY, code=CloseCode.TRY_AGAIN_LATER)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.time(), self._zone).date()


def _find(by: By, name: str, identity: Identity, registry: Registry) -> Contract | None:
    try:
        contract = registry.by_name(name) if by is By.NAME else registry.by_id(name)
    except UnknownContractError:
        return None
    if not identity.may_see(contract):
        raise RefusedError(f"contract not covered by the token: {name}", kind=NOT_COVERED)
    return contract
