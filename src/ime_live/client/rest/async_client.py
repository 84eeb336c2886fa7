"""AsyncClient: the REST calls, for async programs.

Each call runs in a thread, because the HTTP client of the standard library blocks.
"""

from __future__ import annotations

import asyncio
import random
import ssl as tls
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Any, Final, Self, overload

import msgspec

from ime_live.backoff import Backoff
from ime_live.candles import Candle, Interval
from ime_live.client.network.credentials import Token
from ime_live.client.network.proxy import Proxy, check_proxy
from ime_live.client.options import (
    NO_CONTRACT,
    Ids,
    Markets,
    SectionName,
    Underlying,
    check_ssl,
    credentials_of,
    selectors_of,
    service_of,
)
from ime_live.client.protocol.address import filter_pairs, first_fitting
from ime_live.client.protocol.close_reason import (
    CloseReason,
    advice,
    error_of_proxy,
    is_of_address,
    may_pass,
)
from ime_live.client.protocol.message import Selector
from ime_live.client.rest.http import CallError
from ime_live.client.rest.pool import ConnectionPool
from ime_live.client.rest.response import (
    SECTION_CALLS,
    MarketInfo,
    OptionPair,
    Overview,
    Response,
    SectionT,
    chain_of,
    contract_of,
    convert,
    markets_of,
    overview_of,
    section_type,
)
from ime_live.contracts import Contract, Market
from ime_live.errors import AuthenticationError, ImeLiveError, ServiceError, SettingsError
from ime_live.market import Aggregate, AllowedPriceRange, BestLimit, ContractInfo, Payload
from ime_live.messages import ContractFilter
from ime_live.settings.rule import COUNT, POSITIVE, TEXT

_TRANSIENT: Final = frozenset({429, 502, 503, 504})
CLIENT_CLOSED: Final = "the client cannot make calls: it was closed"
"""Text of the error for calls of a client that was closed."""

_PARAMETERS: Final = {"name": "contract_names", "id": "contract_ids"}

_DETAILS: Final = (("details", "true"),)
"""Asks for all static fields, beyond the documented ones."""

_LONGEST_WAIT: Final = 5.0  # seconds between two tries; the program waits for the answer


class AsyncClient:
    """Makes the service's REST calls, for async programs.

    ::

        async with ime_live.AsyncClient("https://example.org", token="…") as client:
            states = await client.snapshot(["ContractA"])

    A call that fails because the service is away or busy (no connection, no answer in time, HTTP
    429, 502, 503, 504) is repeated after a growing random wait, or after the wait that the service
    asks for (`Retry-After`) if that is at most 5 s. Names that do not fit into one URL are sent in
    several calls.

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
            token: a JWT, or a function, plain or async, that returns one. None reads
                ``IME_LIVE_TOKEN`` from the environment, and sends no token if that is not set.
            ssl: TLS settings for ``https``; None trusts the system's certificates.
            proxy: URL of a proxy; True reads it from the environment, None uses none.
            connect_timeout: seconds for connecting.
            read_timeout: seconds for the whole response.
            tries: how many times a call is made at most.

        Raises:
            SettingsError: an argument cannot be used; the text names it.
        """
        POSITIVE.check("connect_timeout", connect_timeout)
        POSITIVE.check("read_timeout", read_timeout)
        COUNT.check("tries", tries)
        self._service = service_of(url)
        self._credentials = credentials_of(token)
        self._proxy = check_proxy(proxy)
        self._pool = ConnectionPool(
            self._service,
            ssl=check_ssl(ssl, self._service),
            proxy=self._proxy,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )
        self._connect_timeout = connect_timeout
        self._tries = tries
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._service.place}>"

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
            underlying: those of an underlying, by name or id, or of several; with `markets` or
                patterns, those of them that fit.
            section: `Payload` for the whole state, or one of `BestLimit`, `Aggregate`,
                `AllowedPriceRange` and `ContractInfo`, as a class or by its name.

        Returns:
            The states by the names and ids that were given, or the present ones of what `markets`,
            `underlying` and patterns match; None for a contract that is unknown or
            has no state yet.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
            SettingsError: an argument cannot be a name, an id or a section.
        """
        kind = section_type(section)
        selectors = selectors_of(contract_names, contract_ids, markets, underlying)
        found = await self._live(SECTION_CALLS[kind], selectors)
        if kind is Payload:
            whole = {name: overview_of(raw) for name, raw in found.items()}
            return {name: each and each.data for name, each in whole.items()}
        return {name: convert(raw, kind | None) for name, raw in found.items()}

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
            underlying: those of an underlying, by name or id, or of several; with `markets` or
                patterns, those of them that fit.

        Returns:
            The contracts by the names and ids that were given; None for an unknown one.

        Raises:
            AuthenticationError, ServiceError, SettingsError: as `snapshot`.
        """
        selectors = selectors_of(contract_names, contract_ids, markets, underlying)
        found = await self._live("overview", selectors, _DETAILS)
        return {name: overview_of(raw) for name, raw in found.items()}

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
            underlying: those of an underlying, by name or id, or of several; with `markets` or
                patterns, those of them that fit.

        Returns:
            The contracts by name, then those by id, in the given order; None for an unknown one.

        Raises:
            AuthenticationError, ServiceError, SettingsError: as `snapshot`.
        """
        found: list[Contract | None] = []
        selectors = selectors_of(contract_names, contract_ids, markets, underlying)
        for by, words, pairs in _portions(selectors, _DETAILS):
            raw = await self._get(f"/static/data/contract/{by}", pairs)
            part = [None if each is None else contract_of(each) for each in convert(raw, list[Any])]
            if words and len(part) != len(words):
                raise ServiceError(
                    f"the service must answer with {len(words)} contracts, got {len(part)}"
                )
            found += part
        return found

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
            underlying: those of an underlying, by name or id, or of several; with `markets` or
                patterns, those of them that fit.
            interval: length of a candle: 1m, 5m, 15m, 1h or 1d.
            start: candles that begin at this date or time, or later, as a `datetime.date`, a
                `datetime.datetime` or in ISO 8601; without a time zone on Tehran's clock. None for
                the day of ``end``, else today.
            end: candles that begin before this time; of a date, until its end. None for the end of
                today.

        Returns:
            The candles by the names and ids that were given; None for an unknown contract.

        Raises:
            AuthenticationError, ServiceError: as `snapshot`.
            SettingsError: an argument cannot be a name, an id, an interval or a time.
        """
        try:
            pairs = [("interval", Interval(interval).value)]
        except ValueError:
            raise SettingsError(
                f"interval must be one of {', '.join(Interval)}, got {interval!r}"
            ) from None
        for name, parameter, moment in (("start", "from", start), ("end", "to", end)):
            if isinstance(moment, date):  # a datetime is one
                pairs.append((parameter, moment.isoformat()))
            elif isinstance(moment, str):
                pairs.append((parameter, moment))
            elif moment is not None:
                raise SettingsError(
                    f"{name} must be a date, a time or a text in ISO 8601, got {moment!r}"
                )
        selectors = selectors_of(contract_names, contract_ids, markets, underlying)
        return await self._live("candles", selectors, pairs, list[Candle] | None)

    async def search(self, market: Market | str, text: str = "") -> list[Contract]:
        """Return the contracts of a market whose name or title contains a text, by name.

        Args:
            market: the market, as a `Market` or by its name.
            text: part of a name or a title; empty for the whole market.

        Raises:
            AuthenticationError, ServiceError: as `snapshot`.
            SettingsError: there is no such market, or ``text`` is not a text.
        """
        TEXT.check("text", text)
        try:
            market = Market(market)
        except ValueError:
            raise SettingsError(
                f"market must be one of {', '.join(Market)}, got {market!r}"
            ) from None
        pairs = [("market", market.value), ("Search_char", text), *_DETAILS]
        raw = await self._get("/static/data/contract/search", pairs)
        found = [contract_of(each) for each in convert(raw, list[Any])]
        return [msgspec.structs.replace(each, market=market) for each in found]

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
            Calls and puts side by side, by expiration and strike price; an empty list if there
            are none, or the token covers none.

        Raises:
            AuthenticationError, ServiceError: as `snapshot`.
            SettingsError: ``underlying`` is not a text, or empty, or ``expiration`` is no day.
        """
        TEXT.check("underlying", underlying)
        if not underlying.strip():
            raise SettingsError(f"underlying must not be empty, got {underlying!r}")
        pairs = [("underlying", underlying)]
        if expiration is not None:
            pairs.append(("expiration", _day("expiration", expiration)))
        return chain_of(await self._get("/static/data/contract/option-chain", pairs))

    async def markets(self) -> list[MarketInfo]:
        """Return the trading hours and holidays of all markets.

        Raises:
            AuthenticationError, ServiceError: as `snapshot`.
        """
        return markets_of(await self._get("/static/data/market", ()))

    async def _live(
        self,
        section: str,
        selectors: Sequence[Selector],
        more: Sequence[tuple[str, str]] = (),
        kind: Any = Any,  # noqa: ANN401 - a type
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for by, words, pairs in _portions(selectors, more):
            raw = await self._get(f"/live/data/{section}/contract/{by}", pairs)
            part = convert(raw, dict[str, kind])
            # The service leaves out the contracts that it does not know.
            found |= {word: part.get(word) for word in words} if words else part
        return found

    async def _get(self, path: str, pairs: Iterable[tuple[str, str]]) -> Any:  # noqa: ANN401 - JSON
        """Make a call, and return the decoded ``Data`` of its response."""
        url = self._service.call(path, pairs)
        backoff = Backoff(_LONGEST_WAIT, random.random)
        renewed = False
        while True:
            if self._closed:
                raise ServiceError(CLIENT_CLOSED)
            headers = await self._credentials.headers()
            asked = 0.0
            try:
                response = await asyncio.to_thread(self._pool.get, url, headers)
            except CallError as failed:
                reason = await self._look_closer(failed.reason)
                error = reason.fatal(reached=self._pool.reached)
                if error is not None:
                    raise error from failed
                error = ServiceError(reason.text)
            else:
                if response.status == 200:
                    self._credentials.accepted(headers)
                    return response.data
                error, asked = self._fault_of(response, path), response.wait
                if response.status == 401:
                    worth = self._credentials.refused(headers, response.detail)
                    # A new token is tried once per call: the token may be good for other calls.
                    if not worth or (renewed and not may_pass(response.detail)):
                        raise error
                    if not renewed:
                        renewed = True
                        continue
                elif response.status not in _TRANSIENT:
                    unclear = CloseReason(str(error), error, unclear=response.status == 400)
                    raise (await self._look_closer(unclear)).error or error
            wait = max(backoff.next(), asked)
            if backoff.failures >= self._tries or asked > _LONGEST_WAIT:
                raise error
            await asyncio.sleep(wait)

    async def _look_closer(self, reason: CloseReason) -> CloseReason:
        if self._pool.reached:
            return reason
        # Importing the WebSocket library takes as long as all the rest; few programs need it.
        from ime_live.client.network.websocket import look_closer

        return await look_closer(
            self._service,
            self._proxy,
            reason,
            self._service.named("http"),
            open_timeout=self._connect_timeout,
        )

    def _fault_of(self, response: Response, path: str) -> ImeLiveError:
        if response.status == 401:
            return AuthenticationError(response.detail)
        if response.status == 407 and (error := error_of_proxy(response.status)) is not None:
            return error
        text = f"the service cannot answer this call: {response.detail}"
        if is_of_address(response.status):
            address = self._service.named("http", path)
            text = f"{address} must be a REST call, but is not: {response.detail}"
            text += advice(response.status, response.location)
            if response.status == 404:
                text += " A service of an older version may not have this call."
        return ServiceError(text, status=response.status)

    async def aclose(self) -> None:
        """Close the connections. Running calls end; later ones raise `ServiceError`."""
        self._closed = True
        self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _day(name: str, day: object) -> str:
    if isinstance(day, date) and not isinstance(day, datetime):
        return day.isoformat()
    if isinstance(day, str):
        with suppress(ValueError):
            return date.fromisoformat(day.strip()).isoformat()
    raise SettingsError(f"{name} must be a date, or a text as YYYY-MM-DD (Gregorian), got {day!r}")


def _portions(
    selectors: Sequence[Selector], more: Sequence[tuple[str, str]] = ()
) -> Iterator[tuple[str, list[str], list[tuple[str, str]]]]:
    """Divide a selection into calls.

    Args:
        selectors: the selection.
        more: parameters that each call has as well.

    Yields:
        Whether the contracts are by ``name`` or ``id``, their names or ids, and the parameters of
        the call. A call with a filter names no contracts.
    """
    if not selectors:
        raise SettingsError(NO_CONTRACT)
    left = [each for each in selectors if not isinstance(each, ContractFilter)]
    while left:
        fitting = set(first_fitting(left))
        keys = [key for key in left if key in fitting]
        by, words = keys[0][0], [word for _, word in keys]
        yield by, words, [*((_PARAMETERS[by], word) for word in words), *more]
        left = [key for key in left if key not in fitting]
    for each in selectors:
        if isinstance(each, ContractFilter):
            yield each.by, [], [*filter_pairs(each, _PARAMETERS[each.by]), *more]
