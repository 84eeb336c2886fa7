"""Simulator: generate a synthetic market for the demo, from a seed.

All prices are invented. It follows the exchange's rules but not its hours, because a demo must work
around the clock. The caller passes the time in.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ime_live.contracts import Contract
from ime_live.feeds.synthetic.instrument import Instrument, Underlying
from ime_live.feeds.synthetic.instruments import INSTRUMENTS
from ime_live.market import Aggregate, AllowedPriceRange, BestLimit, ContractInfo, Level, Payload
from ime_live.timezones import TEHRAN, zone_of

_ZONE: Final = zone_of(TEHRAN)

# Seconds in which an underlying's price returns about two thirds of the way to its mean. With half
# an hour, a busy future moves by about a tick per second.
REVERSION: Final = 1800.0

# The demo starts in the middle of a trading day, after this many rounds of a minute.
PAST_ROUNDS: Final = 30

# Probability that a change of a thin contract withdraws all orders of one side.
WITHDRAWAL: Final = 0.04

LEVELS: Final = 3


class SyntheticMarket:
    """Some fifty contracts whose prices follow the time that is passed in.

    The same seed, start and times of `step` give the same market.
    """

    def __init__(self, seed: int, start: datetime) -> None:
        """Create a market that has already traded for a while at ``start``.

        Args:
            seed: any integer.
            start: time with an offset; payloads show it on Tehran's clock.

        Raises:
            ValueError: ``start`` has no offset.
        """
        # As text, because Random(-1) is Random(1). It must be repeatable, not secret.
        rng = random.Random(str(seed))  # noqa: S311
        self._now = _checked(start)
        self._day = self._now.date()
        spots = {
            instrument.underlying: _Spot(instrument.underlying, rng) for instrument in INSTRUMENTS
        }
        self._spots = tuple(spots.values())
        self._books = tuple(
            _OrderBook(instrument, spots[instrument.underlying], rng) for instrument in INSTRUMENTS
        )
        for _ in range(PAST_ROUNDS):
            self._advance(60.0)
        self._last = dict(self._payloads(self._books))
        self.contracts: tuple[Contract, ...]
        """The contracts of the day; the documentation's ``ContractA`` and ``ContractB`` first."""
        self._list_contracts()

    def states(self) -> list[tuple[str, Payload]]:
        """Return each contract's id and last payload, at first that of the start."""
        return list(self._last.items())

    def step(self, now: datetime) -> list[tuple[str, Payload]]:
        """Advance the market to ``now``.

        A contract changes once in a step at most: steps of 0.2 s show its pace, longer ones thin
        it out. The first step of a day in Tehran starts a new trading day and changes all
        contracts. If the clock is set back, the market and its day continue.

        Args:
            now: time with an offset.

        Returns:
            Ids and complete payloads of the contracts that changed since the last step.

        Raises:
            ValueError: ``now`` has no offset.
        """
        now = _checked(now)
        # In UTC, because Python subtracts two times of one zone by the wall clock.
        elapsed = (now.astimezone(UTC) - self._now.astimezone(UTC)).total_seconds()
        self._now = now
        is_new_day = now.date() > self._day
        if is_new_day:
            self._day = now.date()
            self._list_contracts()
            for book in self._books:
                book.open_day()
        changed = self._advance(max(0.0, elapsed))
        payloads = self._payloads(self._books if is_new_day else changed)
        self._last.update(payloads)
        return payloads

    def _list_contracts(self) -> None:
        self.contracts = tuple(instrument.contract_on(self._day) for instrument in INSTRUMENTS)

    def _advance(self, seconds: float) -> list[_OrderBook]:
        for spot in self._spots:
            spot.advance(seconds)
        return [book for book in self._books if book.advance(seconds)]

    def _payloads(self, books: Iterable[_OrderBook]) -> list[tuple[str, Payload]]:
        date, time = self._now.strftime("%Y-%m-%d %H:%M:%S").split()
        return [(book.contract_id, book.payload(date, time)) for book in books]


def _checked(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"a time must have an offset, got {moment}")
    return moment.astimezone(_ZONE)


class _Spot:
    """The price of an underlying: an Ornstein-Uhlenbeck walk of its logarithm.

    Its exact solution is used, so a step may be of any length: the price never runs away.
    """

    def __init__(self, underlying: Underlying, rng: random.Random) -> None:
        self._underlying = underlying
        self._random = rng
        self._strayed = 0.0
        self.price = float(underlying.price)

    def advance(self, seconds: float) -> None:
        decay = math.exp(-seconds / REVERSION)
        shock = self._underlying.swing * math.sqrt(1 - decay * decay)
        self._strayed = self._strayed * decay + self._random.gauss(0, shock)
        self.price = self._underlying.price * math.exp(self._strayed)


@dataclass(slots=True)
class _Side:
    """One side of an order book: quantities by price, in ticks."""

    sign: int  # -1 for bids, 1 for asks: `sign * price` grows away from the other side
    orders: dict[int, int] = field(default_factory=dict)

    def levels(self) -> list[tuple[int, int]]:
        """Return prices and quantities of three levels, the best first; zeros for missing ones."""
        orders = sorted(self.orders.items(), key=lambda order: self.sign * order[0])
        return orders + [(0, 0)] * (LEVELS - len(orders))

    def trim(self, fair: float, reach: float) -> None:
        """Drop orders that the fair price has crossed, or left more than ``reach`` behind.

        Half a tick is kept free on both sides, so that bids stay below asks.
        """
        nearest = self.sign * fair + 0.5
        self.orders = {
            price: quantity
            for price, quantity in self.orders.items()
            if nearest <= self.sign * price <= nearest + reach
        }

    def add(self, price: int, quantity: int, low: int, high: int) -> None:
        """Place an order at ``price``, or behind the orders there, unless that is out of range."""
        while price in self.orders:
            price += self.sign
        if low <= price <= high:
            self.orders[price] = quantity

    def take(self, price: int, volume: int) -> None:
        """Trade ``volume`` of the orders at ``price``."""
        self.orders[price] -= volume
        if not self.orders[price]:
            del self.orders[price]


@dataclass(slots=True)
class _DayTotals:
    """The trades of a day; prices in ticks, 0 while there is none."""

    count: int = 0
    volume: int = 0
    value: int = 0  # sum of price times volume
    first: int = 0
    high: int = 0
    low: int = 0
    last: int = 0

    def add(self, price: int, volume: int) -> None:
        if not self.count:
            self.first = self.high = self.low = price
        self.count += 1
        self.volume += volume
        self.value += price * volume
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.last = price

    @property
    def close(self) -> int:
        """The mean price of the trades, as the exchange settles, rounded to a tick."""
        return (2 * self.value + self.volume) // (2 * self.volume) if self.volume else 0


class _OrderBook:
    """One instrument's order book and trading day. Prices are in ticks, up to `payload`."""

    def __init__(self, instrument: Instrument, spot: _Spot, rng: random.Random) -> None:
        self.contract_id = instrument.contract.contract_id
        self._instrument = instrument
        self._spot = spot
        self._random = rng
        self._wait = rng.uniform(0, instrument.pace)
        self._bids = _Side(-1)
        self._asks = _Side(1)
        self._open_interest = instrument.open_interest
        self._today = _DayTotals()
        self._previous_close = max(1, round(instrument.fair_price(spot.price) / instrument.tick))
        self.open_day()

    def open_day(self) -> None:
        """Close the day and open the next one: orders end, and the close sets the new range."""
        self._previous_close = self._today.close or self._previous_close
        self._today = _DayTotals()
        self._open_interest_before = self._open_interest
        tick = self._instrument.tick
        self._range = AllowedPriceRange(
            *self._instrument.allowed_range(self._previous_close * tick)
        )
        self._low = math.ceil(self._range.min_allowed_price / tick)
        self._high = math.floor(self._range.max_allowed_price / tick)
        self._bids.orders.clear()
        self._asks.orders.clear()
        self._refill(LEVELS)

    def advance(self, seconds: float) -> bool:
        """Advance by ``seconds``; return whether anything but the time has changed."""
        self._wait -= seconds
        if self._wait > 0:
            return False
        self._wait = self._instrument.pace * self._random.uniform(0.5, 1.5)
        book = self._bids.orders.copy(), self._asks.orders.copy()
        return self._change() or book != (self._bids.orders, self._asks.orders)

    def payload(self, date: str, time: str) -> Payload:
        """Return the complete state; prices and ``total_value`` in rials.

        ``total_value`` is the sum of price, volume and contract size, as on the boards.
        """
        tick, today = self._instrument.tick, self._today
        levels = [
            Level(bid_quantity, bid * tick, ask_quantity, ask * tick)
            for (bid, bid_quantity), (ask, ask_quantity) in zip(
                self._bids.levels(), self._asks.levels(), strict=True
            )
        ]
        return Payload(
            best_limit=BestLimit(*levels),
            aggregate=Aggregate(
                date=date,
                time=time,
                trade_count=today.count,
                total_volume=today.volume,
                total_value=today.value * tick * self._instrument.size,
                closing_price=today.close * tick,
                last_price=today.last * tick,
                low_price=today.low * tick,
                high_price=today.high * tick,
                open_price=today.first * tick,
                previous_close=self._previous_close * tick,
            ),
            allowed_price_range=self._range,
            contract_info=ContractInfo(
                self._open_interest, self._open_interest - self._open_interest_before
            ),
        )

    def _change(self) -> bool:
        # Orders follow the fair price; then there is a trade, or one order is cancelled and one
        # changes. Returns whether there was a trade.
        fair, distance = self._fair()
        for side in (self._bids, self._asks):
            side.trim(fair, 8 * distance + LEVELS)
        chance = self._random.random
        traded = chance() < self._instrument.trade_share and self._trade()
        if not traded and chance() < 0.5:
            self._cancel()
        if self._instrument.is_thin and chance() < WITHDRAWAL:
            self._random.choice((self._bids, self._asks)).orders.clear()
        else:
            self._refill(1 if self._instrument.is_thin else LEVELS)
        if not traded:
            self._resize()
        return traded

    def _fair(self) -> tuple[float, float]:
        # Returns the price around which orders lie, and their mean distance from it.
        fair = self._instrument.fair_price(self._spot.price) / self._instrument.tick
        fair = min(max(fair, self._low), self._high)
        return fair, max(0.5, fair * self._instrument.spread)

    def _refill(self, most: int) -> None:
        # At the limits of the range one side stays empty, as on the exchange.
        fair, distance = self._fair()
        for side in (self._bids, self._asks):
            for _ in range(min(most, LEVELS - len(side.orders))):
                away = max(0.5, self._random.expovariate(1 / distance))
                price = side.sign * math.ceil(side.sign * fair + away)
                side.add(price, self._quantity(), self._low, self._high)

    def _trade(self) -> bool:
        side = self._random.choice((self._bids, self._asks))
        if not side.orders:
            return False
        price, quantity = side.levels()[0]
        volume = self._random.randint(1, min(quantity, self._instrument.order_size))
        side.take(price, volume)
        self._today.add(price, volume)
        self._move_open_interest(volume)
        return True

    def _move_open_interest(self, volume: int) -> None:
        # A trade opens, closes or transfers positions. The higher the open interest, the more
        # trades close positions.
        usual = self._instrument.open_interest
        if not usual or self._random.random() < 0.5:
            return
        opens = self._random.random() * 2 * usual > self._open_interest
        moved = self._random.randint(1, volume)
        self._open_interest = max(0, self._open_interest + (moved if opens else -moved))

    def _cancel(self) -> None:
        side = self._random.choice((self._bids, self._asks))
        if side.orders:
            del side.orders[self._random.choice(list(side.orders))]

    def _resize(self) -> None:
        side = self._random.choice((self._bids, self._asks))
        if side.orders:
            side.orders[self._random.choice(list(side.orders))] = self._quantity()

    def _quantity(self) -> int:
        return 1 + int(self._random.expovariate(1 / self._instrument.order_size))
