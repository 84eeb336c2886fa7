"""Responses of the REST calls, and the types that they are decoded to."""

from __future__ import annotations

from datetime import date
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from ime_live import contracts
from ime_live.contracts import MARKETS, Contract, Market
from ime_live.errors import ServiceError, SettingsError
from ime_live.market import (
    Aggregate,
    AllowedPriceRange,
    BestLimit,
    ContractInfo,
    Number,
    Payload,
)
from ime_live.status import Week

SectionT = TypeVar(
    "SectionT", bound=Payload | BestLimit | Aggregate | AllowedPriceRange | ContractInfo
)

SECTION_CALLS: Final[dict[type[Any], str]] = {
    Payload: "overview",
    BestLimit: "best-limit",
    Aggregate: "aggregate",
    AllowedPriceRange: "allowed-price-range",
    ContractInfo: "contract-info",
}
"""Name of the call that returns a section, in its path."""


def section_type(section: object) -> type[Any]:
    """Return the type of a section that is given as a class or by its name.

    Raises:
        SettingsError: there is no such section.
    """
    for kind in SECTION_CALLS:
        if section is kind or section == kind.__name__:
            return kind
    names = ", ".join(section_class.__name__ for section_class in SECTION_CALLS)
    raise SettingsError(f"section must be one of {names}, got {section!r}")


class Response(Struct, frozen=True):
    """A response of the service, or of a proxy.

    Attributes:
        status: HTTP status.
        body: the whole body.
        location: target of a redirect; None if the response is not one.
        retry_after: the header ``Retry-After``; None without it.
    """

    status: int
    body: bytes
    location: str | None = None
    retry_after: str | None = None

    @property
    def wait(self) -> float:
        """Seconds of ``Retry-After``; 0 without it. (The service sends no date here.)"""
        text = self.retry_after or ""
        return float(text) if text.isascii() and text.isdigit() else 0.0

    @property
    def detail(self) -> str:
        """The service's explanation of an error; else its status."""
        try:
            return _decode_error(self.body).detail
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return f"HTTP {self.status}"

    @property
    def data(self) -> Any:  # noqa: ANN401 - any JSON
        """The decoded ``Data`` of the body.

        Raises:
            ServiceError: the body cannot be read.
        """
        try:
            return _decode_body(self.body).data
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            text = f"the response cannot be read: {error}"
            raise ServiceError(text, status=self.status) from error


class Overview(Struct, frozen=True):
    """A contract with its present state.

    Attributes:
        contract: static fields of the contract.
        data: present state; None if the contract has none yet.
    """

    contract: Contract
    data: Payload | None

    def to_dict(self) -> dict[str, Any]:
        """Return static fields and state as one flat dict, for a row of a ``pandas.DataFrame``."""
        return self.contract.to_dict() | ({} if self.data is None else self.data.to_dict())


class OptionPair(Struct, frozen=True):
    """The call and the put of one strike price and expiration, side by side.

    Attributes:
        strike_price: strike price of both, in rials; None if it is not known.
        expiration_date: last trading day of both; None if it is not known.
        call: the call with its state; None if there is none, or the token does not cover it.
        put: the put with its state, likewise.
    """

    strike_price: Number | None
    expiration_date: date | None
    call: Overview | None
    put: Overview | None

    def to_dict(self) -> dict[str, Any]:
        """Return one flat dict, for a row of a ``pandas.DataFrame``.

        The keys of the two sides begin with their names: ``call_buy_price_1`` is the highest bid
        for the call. A missing side has no keys, which pandas shows as NaN.
        """
        row: dict[str, Any] = {
            "strike_price": self.strike_price,
            "expiration_date": self.expiration_date,
        }
        for name, side in (("call", self.call), ("put", self.put)):
            if side is not None:
                row |= {f"{name}_{key}": value for key, value in side.to_dict().items()}
        return row


class MarketInfo(Struct, frozen=True):
    """Trading hours and holidays of a market, as the feed has written them.

    Attributes:
        market: the market.
        time_zone: time zone of the hours and holidays.
        sessions: sessions by day of the week, ``sat`` first; None if they are not known.
        holidays: days without a session in the year from today, although the week may have one;
            None if they are not known.
    """

    market: Market
    time_zone: str = msgspec.field(name="timeZone")
    sessions: Week | None
    holidays: tuple[date, ...] | None


class _ErrorBody(Struct):
    detail: str


class _Body(Struct):
    data: Any = msgspec.field(name="Data")


_decode_error = msgspec.json.Decoder(_ErrorBody).decode
_decode_body = msgspec.json.Decoder(_Body).decode


def convert(value: object, kind: Any) -> Any:  # noqa: ANN401 - a type and a value of it
    """Convert decoded JSON to a type.

    Raises:
        ServiceError: it does not have that type; the text names the place.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> ServiceError:
    return ServiceError(f"the response cannot be read: {error}")


def contract_of(data: Any) -> Contract:  # noqa: ANN401 - any JSON
    """Convert the static fields of a contract.

    Its market is None if this version of the library does not know it.

    Raises:
        ServiceError: a field is missing or has the wrong type.
    """
    try:
        return contracts.contract_of(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _unreadable(error) from error


def markets_of(data: object) -> list[MarketInfo]:
    """Convert the data of the call for markets, without those that this version does not know.

    Raises:
        ServiceError: a field is missing or has the wrong type.
    """
    records: list[dict[str, Any]] = convert(data, list[dict[str, Any]])
    known_records = [record for record in records if record.get("market") in MARKETS]
    markets: list[MarketInfo] = convert(known_records, list[MarketInfo])
    return markets


def overview_of(data: object) -> Overview | None:
    """Convert one contract of the call ``overview``; None stays None.

    Raises:
        ServiceError: a field is missing or has the wrong type.
    """
    if data is None:
        return None
    contract = contract_of(data)
    # Static fields and sections lie side by side; without a state the sections are null.
    has_state = isinstance(data, dict) and data.get("BestLimit") is not None
    return Overview(contract, convert(data, Payload) if has_state else None)


def chain_of(data: object) -> list[OptionPair]:
    """Convert the data of the call for an option chain.

    Raises:
        ServiceError: a field is missing or has the wrong type.
    """
    return [
        OptionPair(
            pair.strike_price, pair.expiration_date, overview_of(pair.call), overview_of(pair.put)
        )
        for pair in convert(data, list[_Pair])
    ]


class _Pair(Struct):
    strike_price: Number | None = msgspec.field(name="strikePrice")
    expiration_date: date | None = msgspec.field(name="ExpirationDate")
    call: Any
    put: Any
