"""Market data of a contract: the payload and its sections, updates and their timestamps.

These structs are the only definition of the documented payload. Validation, encoding and the JSON
schemas of the API documents are derived from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

Number = int | float
"""A price in rials, a quantity or a count. It keeps the publisher's spelling: 0 or 1.5."""

MICROSECONDS: Final = 1_000_000
"""Microseconds in a second: versions count microseconds since the Unix epoch."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Level(Struct, gc=False):
    """One level of a contract's order book. An empty side has price and quantity 0.

    The feed copies the numbers from the exchange's board.

    Attributes:
        buy_quantity: quantity that buyers bid for at this level, in contracts, or in certificates
            or shares where those are traded.
        buy_price: price of these bids, in rials.
        sell_quantity: quantity that sellers offer at this level, in the same unit.
        sell_price: price of these offers, in rials.
    """

    buy_quantity: Number
    buy_price: Number
    sell_quantity: Number
    sell_price: Number


_LEVELS: Final = frozenset({"1", "2", "3"})


class BestLimit(Struct, gc=False):
    """The three best levels of the order book.

    The attributes are ``1``, ``2`` and ``3`` on the wire: ``best_limit["1"]`` is ``first``.

    Attributes:
        first: the highest bid and the lowest offer.
        second: the second best bid and offer.
        third: the third best bid and offer.
    """

    first: Level = field(name="1")
    second: Level = field(name="2")
    third: Level = field(name="3")

    def __getitem__(self, level: str | int) -> Level:
        """Return a level by its name on the wire: ``best_limit["1"]`` is the best level.

        Args:
            level: 1, 2 or 3, as text or number.

        Raises:
            KeyError: the level is not 1, 2 or 3.
        """
        match str(level):
            case "1":
                return self.first
            case "2":
                return self.second
            case "3":
                return self.third
        raise KeyError(level)

    # Without these two methods, Python would iterate by calling `__getitem__` from 0 up.

    def __iter__(self) -> Iterator[Level]:
        """Iterate over the levels, the best one first."""
        return iter((self.first, self.second, self.third))

    def __contains__(self, item: object) -> bool:
        """Return whether this is the name of a level, or equal to one of the levels."""
        if isinstance(item, str | int):
            return str(item) in _LEVELS
        return any(item == level for level in self)


class Aggregate(Struct, gc=False):
    """Statistics of the trading day so far. Before the first trade, counts and prices are 0.

    The feed reads all of them from the exchange's board. ``date`` and ``time`` are texts that pass
    through unchanged. The project's own feeds write the forms below; another publisher may write
    others.

    Attributes:
        date: day of the last change of an order or the last trade, whichever is later, as
            ``YYYY-MM-DD`` (Gregorian) in Tehran.
        time: its time of day, as ``HH:MM:SS`` on Tehran's clock.
        trade_count: number of trades today.
        total_volume: quantity traded today, in contracts, or in certificates or shares where those
            are traded.
        total_value: value of today's trades, in rials. The exchange sends thousands of rials; the
            feed converts them.
        closing_price: closing price, in rials. While the exchange has none, the feed writes the
            live settlement price of a future, else the last price.
        last_price: price of the last trade, in rials.
        low_price: lowest price of today's trades, in rials.
        high_price: highest price of today's trades, in rials.
        open_price: price of today's first trade, in rials.
        previous_close: reference price of the day before, in rials: the last settlement price, or
            for warehouse receipts yesterday's price.
    """

    date: str
    time: str
    trade_count: Number
    total_volume: Number
    total_value: Number
    closing_price: Number
    last_price: Number
    low_price: Number
    high_price: Number
    open_price: Number
    previous_close: Number


class AllowedPriceRange(Struct, gc=False):
    """The range of prices that the exchange accepts today. 1 and 9999999999 mean no limit.

    The exchange's boards have no such field. The feed computes the range from ``previous_close``
    and its option ``--price-limits``, rounded inward to whole rials.

    Attributes:
        min_allowed_price: lowest accepted price, in rials.
        max_allowed_price: highest accepted price, in rials.
    """

    min_allowed_price: Number = field(name="minAllowedPrice")
    max_allowed_price: Number = field(name="maxAllowedPrice")


class ContractInfo(Struct, gc=False):
    """Open interest of a contract; 0 if its board has none, such as that of warehouse receipts.

    The feed copies both numbers from the exchange's board.

    Attributes:
        open_interest: number of open positions, in contracts; of a certificate, its total asset.
        open_interest_changes: change since the day before, in the same unit; may be negative.
    """

    open_interest: Number
    open_interest_changes: Number


class Payload(Struct, gc=False):
    """Complete market data of a contract, as messages carry it in ``data``.

    All four sections are always present with all of their fields. The names on the wire are those
    of the classes: ``BestLimit``, ``Aggregate``, ``AllowedPriceRange``, ``ContractInfo``.

    Attributes:
        best_limit: the three best levels of the order book, from the exchange's board: prices in
            rials, quantities in contracts, certificates or shares.
        aggregate: statistics of the trading day so far, from the exchange's board: prices and
            value in rials, volume in contracts, certificates or shares.
        allowed_price_range: the prices that the exchange accepts today, in rials; computed by the
            feed.
        contract_info: open interest in contracts, from the exchange's board.
    """

    best_limit: BestLimit = field(name="BestLimit")
    aggregate: Aggregate = field(name="Aggregate")
    allowed_price_range: AllowedPriceRange = field(name="AllowedPriceRange")
    contract_info: ContractInfo = field(name="ContractInfo")

    def to_json(self) -> bytes:
        """Encode as compact JSON: keys in the documented order, UTF-8 without escapes."""
        return _encode(self)

    def to_dict(self) -> dict[str, Any]:
        """Return all values as one flat dict, for a row of a ``pandas.DataFrame``.

        The keys are the names of attributes. Those of a level of the order book end in its number:
        ``buy_price_1`` is the highest bid.
        """
        return row_of(self)


class PayloadSections(Struct, gc=False, omit_defaults=True):
    """Some sections of a payload, as a stream with ``sections=`` delivers them.

    A section that was not requested is ``msgspec.UNSET``. `Payload` has the units and sources.

    Attributes:
        best_limit: the three best levels of the order book.
        aggregate: statistics of the trading day so far.
        allowed_price_range: the prices that the exchange accepts today, in rials.
        contract_info: open interest, in contracts.
    """

    best_limit: BestLimit | UnsetType = field(default=UNSET, name="BestLimit")
    aggregate: Aggregate | UnsetType = field(default=UNSET, name="Aggregate")
    allowed_price_range: AllowedPriceRange | UnsetType = field(
        default=UNSET, name="AllowedPriceRange"
    )
    contract_info: ContractInfo | UnsetType = field(default=UNSET, name="ContractInfo")

    def to_json(self) -> bytes:
        """Encode as compact JSON: keys in the documented order, UTF-8 without escapes."""
        return _encode(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the values of the present sections as one flat dict; see `Payload.to_dict`."""
        return row_of(self)


SECTIONS: Final[Mapping[str, str]] = {
    section.encode_name: section.name for section in msgspec.structs.fields(Payload)
}
"""The sections of a payload in the documented order: name on the wire → attribute."""


def sections_of(payload: Payload | PayloadSections, sections: Iterable[str]) -> PayloadSections:
    """Return these sections of a payload, given by their names on the wire."""
    attributes = [SECTIONS[section] for section in sections]
    return PayloadSections(**{attribute: getattr(payload, attribute) for attribute in attributes})


def row_of(payload: Payload | PayloadSections) -> dict[str, Any]:
    """Return the values of a payload as one flat dict; see `Payload.to_dict`."""
    row: dict[str, Any] = {}
    for attribute in SECTIONS.values():
        section = getattr(payload, attribute)
        if isinstance(section, BestLimit):
            for number, level in enumerate(section, start=1):
                row |= {
                    f"{name}_{number}": value
                    for name, value in msgspec.structs.asdict(level).items()
                }
        elif section is not UNSET:
            row |= msgspec.structs.asdict(section)
    return row


_encode = msgspec.json.Encoder().encode


class Update(Struct, gc=False):
    """One state of one contract.

    Attributes:
        version: microseconds since the Unix epoch. It strictly grows per contract; clients see it
            as ``timestamp``.
        payload: the market data.
    """

    version: int
    payload: Payload


def timestamp_of(version: int, zone: tzinfo) -> str:
    """Format a version as a timestamp: ISO 8601, six digits, wall clock of ``zone``, no offset.

    >>> timestamp_of(1_779_536_400_000_000, UTC)
    '2026-05-23T11:40:00.000000'
    """
    seconds, microseconds = divmod(version, 1_000_000)
    return f"{_second(seconds, zone)}.{microseconds:06}"


# Most updates of a second come one after another. Converting each takes 10 µs, and four times as
# long if the processor has done something else since the last one.
@lru_cache(maxsize=64)
def _second(seconds: int, zone: tzinfo) -> str:
    moment = (EPOCH + timedelta(seconds=seconds)).astimezone(zone)
    return moment.replace(tzinfo=None).isoformat()


def version_of(timestamp: str, zone: tzinfo) -> int:
    """Parse a timestamp to a version; the inverse of `timestamp_of`.

    Fewer digits, an offset and ``Z`` are accepted. Without an offset the time is ``zone``'s wall
    clock.

    Raises:
        ValueError: ``timestamp`` is not a date and time in ISO 8601.
    """
    text = timestamp.strip()
    day, separator, time = text.partition("T")
    if not separator:
        day, _, time = text.partition(" ")
    if not time:
        raise ValueError(f"no date and time in {timestamp!r}")
    # In a query string a plus sign is a space: "…+03:30" arrives as "… 03:30".
    moment = datetime.fromisoformat(f"{day}T{time.replace(' ', '+')}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return (moment - EPOCH) // timedelta(microseconds=1)
