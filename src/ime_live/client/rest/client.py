"""Client: the REST calls, for programs without async.

It runs an `AsyncClient` in a thread of its own.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import Iterable
from datetime import date
from typing import Any, Self, overload

from ime_live.candles import Candle, Interval
from ime_live.client.network.credentials import Token
from ime_live.client.network.proxy import Proxy
from ime_live.client.options import SectionName
from ime_live.client.portal import Portal
from ime_live.client.rest.async_client import AsyncClient
from ime_live.client.rest.caller import CLIENT_CLOSED
from ime_live.client.rest.response import MarketInfo, OptionPair, Overview, SectionT
from ime_live.client.selectors import Ids, Markets, Underlying
from ime_live.contracts import Contract, Market
from ime_live.market import Aggregate, AllowedPriceRange, BestLimit, ContractInfo, Payload


class Client:
    """Makes the service's REST calls, for programs without async.

    ::

        with ime_live.Client("https://example.org", token="…") as client:
            state = client.snapshot(["ContractA"])["ContractA"]

    A call that fails because the service is unreachable or busy (no connection, no answer in time,
    HTTP 429, 502, 503, 504) is repeated after a growing random wait, or after the wait that the
    service asks for (`Retry-After`) if that is at most 5 s. Names that do not fit into one URL are
    sent in several calls.

    Several threads may use one client. Connections are kept for later calls. ``with`` or `close`
    closes them, and ends the client's thread.
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
        self._client = AsyncClient(
            url,
            token=token,
            ssl=ssl,
            proxy=proxy,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            tries=tries,
        )
        self._portal = Portal(CLIENT_CLOSED)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._client._caller.place}>"

    @overload
    def snapshot(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
    ) -> dict[str, Payload | None]: ...

    @overload
    def snapshot(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
        section: type[SectionT],
    ) -> dict[str, SectionT | None]: ...

    @overload
    def snapshot(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
        section: SectionName,
    ) -> dict[str, BestLimit | Aggregate | AllowedPriceRange | ContractInfo | None]: ...

    def snapshot(
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
        call = self._client.snapshot(
            contract_names,
            contract_ids,
            markets=markets,
            underlying=underlying,
            section=section,
        )
        return self._portal.run(call)

    def overview(
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
        call = self._client.overview(
            contract_names, contract_ids, markets=markets, underlying=underlying
        )
        return self._portal.run(call)

    def contracts(
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
        call = self._client.contracts(
            contract_names, contract_ids, markets=markets, underlying=underlying
        )
        return self._portal.run(call)

    def candles(
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
        call = self._client.candles(
            contract_names,
            contract_ids,
            markets=markets,
            underlying=underlying,
            interval=interval,
            start=start,
            end=end,
        )
        return self._portal.run(call)

    def search(self, market: Market | str, text: str = "") -> list[Contract]:
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
        return self._portal.run(self._client.search(market, text))

    def option_chain(
        self, underlying: str, expiration: date | str | None = None
    ) -> list[OptionPair]:
        """Return the listed options of an underlying, with their present states.

        ::

            chain = client.option_chain("GC")
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
        return self._portal.run(self._client.option_chain(underlying, expiration))

    def markets(self) -> list[MarketInfo]:
        """Return the trading hours and holidays of all markets.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
        """
        return self._portal.run(self._client.markets())

    def close(self) -> None:
        """End the thread and close the connections.

        Calls in other threads, and later ones, raise `ServiceError`.
        """
        self._portal.close()
        self._client._caller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
