"""Instrument: a contract of the synthetic market, with the parameters of its trading."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Final

import msgspec

from ime_live.contracts import Contract, Market

CALL: Final = "call"
PUT: Final = "put"

# The documentation's allowed range where the exchange sets no limit, in rials.
OPEN_RANGE: Final = (1, 9_999_999_999)


MIN_DAYS: Final = 30
"""Minimum number of days until a contract expires."""


@dataclass(frozen=True, slots=True)
class Underlying:
    """The asset whose price one or more contracts follow.

    Attributes:
        title: title in Persian, as in the titles of contracts.
        price: price in rials to which it reverts.
        swing: standard deviation of its price around that, as a fraction.
        code: its code, as the exchange's board of options has it; None for an invented one.
        name: its name: that of the goods, or the symbol of a fund.
    """

    title: str
    price: int
    swing: float
    code: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A contract as the synthetic market trades it.

    Attributes:
        contract: the contract with its static fields.
        underlying: what its price follows.
        factor: its price, or an option's forward, over the underlying's price: 1.05 for a future
            5 % above spot, 0.01 for a certificate of a hundredth of a coin.
        deviation: standard deviation of the forward at expiry, as a fraction; options only.
        tick: tick size in rials; every price is a multiple of it.
        price_limit: greatest distance of today's prices from the previous close, as a fraction;
            None for options, which have no limit (the exchange's notice of 20 Esfand 1401).
        spread: mean distance of orders from the fair price, as a fraction of it.
        pace: mean seconds between two changes.
        trade_share: the part of the changes that are trades.
        order_size: mean quantity of an order.
        open_interest: mean open interest in contracts; 0 if the board has none.
    """

    contract: Contract
    underlying: Underlying
    factor: float = 1.0
    deviation: float = 0.0
    tick: int
    price_limit: float | None
    spread: float
    pace: float
    trade_share: float
    order_size: int
    open_interest: int

    def contract_on(self, day: date) -> Contract:
        """Return the contract on a day; contracts never expire.

        Contracts of past months are still traded here, so the last trading day is postponed by
        whole years. Programs that divide by the remaining days keep working.
        """
        if self.contract.expiration_date is None:
            return self.contract
        last = self.contract.expiration_date
        while (last - day).days < MIN_DAYS:
            last = last.replace(year=last.year + 1)
        return msgspec.structs.replace(self.contract, expiration_date=last)

    @property
    def is_thin(self) -> bool:
        """Whether its order book has gaps, as for options."""
        return self.contract.market is Market.OPTION

    @property
    def size(self) -> int:
        """Units of the underlying in a volume of 1, for ``total_value``."""
        return int(self.contract.csize or 1)

    def allowed_range(self, previous_close: int) -> tuple[int, int]:
        """Return the lowest and the highest price of a day after a close, all in rials."""
        if self.price_limit is None:
            return OPEN_RANGE
        low = math.ceil(previous_close * (1 - self.price_limit) / self.tick)
        high = math.floor(previous_close * (1 + self.price_limit) / self.tick)
        return low * self.tick, high * self.tick

    def fair_price(self, spot: float) -> float:
        """Return the price in rials around which orders lie if the underlying is at ``spot``."""
        forward = spot * self.factor
        strike = self.contract.strike_price
        if strike is None:
            return forward
        return option_price(self.contract.option_type, forward, strike, forward * self.deviation)


def option_price(option_type: str | None, forward: float, strike: float, deviation: float) -> float:
    """Return intrinsic plus time value by Bachelier's formula, all in rials.

    One line gives both sides, and calls and puts of one strike differ by ``forward - strike``,
    as the exchange's settlement prices of February 2022 do to within a per cent.
    """
    intrinsic = forward - strike if option_type == CALL else strike - forward
    d = intrinsic / deviation
    likelihood = (1 + math.erf(d / math.sqrt(2))) / 2
    density = math.exp(-d * d / 2) / math.sqrt(2 * math.pi)
    return intrinsic * likelihood + deviation * density
