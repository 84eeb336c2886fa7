"""AsyncClient: the REST calls, for async programs.

Each call runs in a thread, because the HTTP client of the standard library blocks.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Self, overload

import msgspec

from ime_live.candles import Candle, Interval
from ime_live.client.network.credentials import Token
from ime_live.client.network.proxy import Proxy
from ime_live.client.options import SectionName
from ime_live.client.protocol.message import Selector
from ime_live.client.rest.caller import Caller
from ime_live.client.rest.parameters import (
    DETAILS,
    Pairs,
    candle_contracts,
    candle_pairs,
    chain_pairs,
    divide_into_calls,
    market_of,
)
from ime_live.client.rest.response import (
    SECTION_CALLS,
    MarketInfo,
    OptionPair,
    Overview,
    SectionT,
    chain_of,
    contract_of,
    convert,
    markets_of,
    overview_of,
    section_type,
)
from ime_live.client.selectors import Ids, Markets, Underlying, selectors_of
from ime_live.contracts import Contract, Market
from ime_live.errors import ServiceError
from ime_live.market import Aggregate, AllowedPriceRange, BestLimit, ContractInfo, Payload
from ime_live.messages import ContractFilter
from ime_live.settings.rule import TEXT

_ID = "id:"
"""Prefix of an id in answers about filters, for a contract whose name another contract has."""


class AsyncClient:
    """Makes the service's REST calls, for async programs.

    ::

        async with ime_live.AsyncClient("https://example.org", token="…") as client:
            states = await client.snapshot(["ContractA"])

    A call that fails because the service is unreachable or busy (no connection, no answer in time,
    HTTP 429, 502, 503, 504) is repeated after a growing random wait, or after the wait that the
    service asks for (`Retry-After`) if that is at most 5 s. Names that do not fit into one URL are
    sent in several calls.

    Connections are kept for later calls. ``async with`` or `aclose` closes them.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: Token = None,
        ssl: tls.SSLContext | None = None,
        proxy: Proxy = True,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
        tries: int = 3,
    ) -> None:
        """Create a client. It connects on the first call.

        Args:
            url: address of the service, as ``https://example.org``; None reads ``IME_LIVE_URL``
                from the environment.
            token: a JWT, or a function, plain or async, that returns one. The function is called
                again when the token is refused. None reads ``IME_LIVE_TOKEN`` from the environment,
                and sends no token if that is not set.
            ssl: TLS settings for ``https``; None trusts the system's certificates.
            proxy: URL of a proxy; True reads it from the environment, None connects directly.
            connect_timeout: seconds for connecting.
            read_timeout: seconds for the whole response.
            tries: maximum number of attempts per call.

        Raises:
            SettingsError: an argument cannot be used; the text names it.
        """
        self._caller = Caller(
            url,
            token=token,
            ssl=ssl,
            proxy=proxy,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            tries=tries,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._caller.place}>"

    @overload
    async def snapshot(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
    ) -> dict[str, Payload | None]: ...

    @overload
    async def snapshot(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
        section: type[SectionT],
    ) -> dict[str, SectionT | None]: ...

    @overload
    async def snapshot(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
        section: SectionName,
    ) -> dict[str, BestLimit | Aggregate | AllowedPriceRange | ContractInfo | None]: ...

    async def snapshot(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
        section: type[Any] | SectionName = Payload,
    ) -> dict[str, Any]:
        """Return the present states of contracts.

        Args:
            contract_names: contracts by name, and patterns of names: ``GC*``.
            contract_ids: contracts by id, and patterns of ids.
            markets: all listed contracts of these markets.
            underlying: all listed contracts of an underlying, by its name or id, or of several.
                Together with `markets` or patterns, only contracts that match both are returned.
            section: `Payload` for the whole state, or one of `BestLimit`, `Aggregate`,
                `AllowedPriceRange` and `ContractInfo`, as a class or by its name.

        Returns:
            The states by the given names and ids. Contracts that `markets`, `underlying` or
            patterns match are under their present names or ids. None for a contract that is unknown
            or has no state yet.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
            SettingsError: an argument cannot be a name, an id or a section.
        """
        kind = section_type(section)
        selectors = selectors_of(contract_names, contract_ids, markets, underlying)
        data = await self._live(SECTION_CALLS[kind], selectors)
        if kind is Payload:
            overviews = {name: overview_of(state) for name, state in data.items()}
            return {name: overview and overview.data for name, overview in overviews.items()}
        return {name: convert(state, kind | None) for name, state in data.items()}

    async def overview(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
    ) -> dict[str, Overview | None]:
        """Return the static fields and present states of contracts.

        Args:
            contract_names: contracts by name, and patterns of names: ``GC*``.
            contract_ids: contracts by id, and patterns of ids.
            markets: all listed contracts of these markets.
            underlying: all listed contracts of an underlying, by its name or id, or of several.
                Together with `markets` or patterns, only contracts that match both are returned.

        Returns:
            The contracts by the given names and ids; None for an unknown one.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
            SettingsError: an argument cannot be a name or an id.
        """
        selectors = selectors_of(contract_names, contract_ids, markets, underlying)
        data = await self._live("overview", selectors, DETAILS)
        return {name: overview_of(contract) for name, contract in data.items()}

    async def contracts(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
    ) -> list[Contract | None]:
        """Return the static fields of contracts.

        Args:
            contract_names: contracts by name, and patterns of names: ``GC*``.
            contract_ids: contracts by id, and patterns of ids.
            markets: all listed contracts of these markets.
            underlying: all listed contracts of an underlying, by its name or id, or of several.
                Together with `markets` or patterns, only contracts that match both are returned.

        Returns:
            The contracts by name, then those by id, in the given order; None for an unknown one.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
            SettingsError: an argument cannot be a name or an id.
        """
        contracts: list[Contract | None] = []
        selectors = selectors_of(contract_names, contract_ids, markets, underlying)
        for by, words, pairs in divide_into_calls(selectors, DETAILS):
            records = await self._caller.get(f"/static/data/contract/{by}", pairs)
            part = [
                None if record is None else contract_of(record)
                for record in convert(records, list[Any])
            ]
            if words and len(part) != len(words):
                raise ServiceError(
                    f"the service must answer with {len(words)} contracts, got {len(part)}"
                )
            contracts += part
        return contracts

    async def candles(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
        interval: Interval | str = Interval.MINUTE,
        start: date | str | None = None,
        end: date | str | None = None,
    ) -> dict[str, list[Candle] | None]:
        """Return the candles of contracts, the oldest first; the last one may still be open.

        Args:
            contract_names: contracts by name, and patterns of names: ``GC*``.
            contract_ids: contracts by id, and patterns of ids.
            markets: all listed contracts of these markets.
            underlying: all listed contracts of an underlying, by its name or id, or of several.
                Together with `markets` or patterns, only contracts that match both are returned.
            interval: length of a candle: 1m, 5m, 15m, 1h or 1d.
            start: time of the first candle, as a `datetime.date`, a `datetime.datetime` or a text
                in ISO 8601; on Tehran's clock if it has no time zone. None takes the day of
                ``end``, or today.
            end: time before which candles begin; a date includes its whole day. None takes the end
                of today.

        Returns:
            The candles by the given names and ids; None for an unknown contract.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
            SettingsError: an argument cannot be a name, an id, an interval or a time.
        """
        pairs, most = candle_pairs(interval, start, end), candle_contracts(start, end)
        selectors = selectors_of(contract_names, contract_ids, markets, underlying)
        keys: list[Selector] = [
            selector for selector in selectors if not isinstance(selector, ContractFilter)
        ]
        filters = [selector for selector in selectors if isinstance(selector, ContractFilter)]
        kind = list[Candle] | None
        candles = (
            await self._live("candles", keys, pairs, kind, most) if keys or not filters else {}
        )
        for contract_filter in filters:
            # The names are needed to divide the call; this is the shortest answer that has them.
            names = [
                n for n in await self._live("contract-info", [contract_filter]) if n not in candles
            ]
            by_id = [
                n.removeprefix(_ID)
                for n in names
                if contract_filter.by == "name" and n.startswith(_ID)
            ]
            keys = [(contract_filter.by, n) for n in names if not (by_id and n.startswith(_ID))]
            part = await self._live("candles", keys, pairs, kind, most) if keys else {}
            if by_id:
                ids: list[Selector] = [("id", contract_id) for contract_id in by_id]
                series = await self._live("candles", ids, pairs, kind, most)
                part |= {
                    _ID + contract_id: candles_of_id
                    for contract_id, candles_of_id in series.items()
                }
            candles |= {name: part[name] for name in names}
        return candles

    async def search(self, market: Market | str, text: str = "") -> list[Contract]:
        """Return the contracts of a market whose name or title contains a text, sorted by name.

        Args:
            market: the market, as a `Market` or by its name.
            text: part of a name or a title; empty for the whole market.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
            SettingsError: the market does not exist, or ``text`` is not a text.
        """
        TEXT.check("text", text)
        market = market_of(market)
        pairs = [("market", market.value), ("Search_char", text), *DETAILS]
        records = await self._caller.get("/static/data/contract/search", pairs)
        contracts = [contract_of(record) for record in convert(records, list[Any])]
        return [msgspec.structs.replace(contract, market=market) for contract in contracts]

    async def option_chain(
        self, underlying: str, expiration: date | str | None = None
    ) -> list[OptionPair]:
        """Return the listed options of an underlying, with their present states.

        ::

            chain = await client.option_chain("GC")
            table = pandas.DataFrame(pair.to_dict() for pair in chain)

        Args:
            underlying: id, name or title of the underlying, in any spelling.
            expiration: last trading day of the options, as a date or as ``YYYY-MM-DD``
                (Gregorian); None for all.

        Returns:
            Pairs of call and put, by expiration and strike price; an empty list if there are none,
            or the token covers none of them.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
            SettingsError: ``underlying`` is empty or not a text, or ``expiration`` is not a day.
        """
        pairs = chain_pairs(underlying, expiration)
        return chain_of(await self._caller.get("/static/data/contract/option-chain", pairs))

    async def markets(self) -> list[MarketInfo]:
        """Return the trading hours and holidays of all markets.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
        """
        return markets_of(await self._caller.get("/static/data/market", ()))

    async def _live(
        self,
        section: str,
        selectors: Sequence[Selector],
        more: Pairs = (),
        kind: Any = Any,  # noqa: ANN401 - a type
        most: int | None = None,
    ) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for by, words, pairs in divide_into_calls(selectors, more, most):
            response = await self._caller.get(f"/live/data/{section}/contract/{by}", pairs)
            part = convert(response, dict[str, kind])
            # The service leaves out the contracts that it does not know.
            data |= {word: part.get(word) for word in words} if words else part
        return data

    async def aclose(self) -> None:
        """Close the connections. Running calls end; later ones raise `ServiceError`."""
        self._caller.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
