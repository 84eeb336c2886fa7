"""Contract bars: update the bars of a contract's trading days from its states. No I/O.

The rules are in docs/history.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

from ime_live.bars.trade_state import TradeState
from ime_live.market import MICROSECONDS
from ime_live.store.bar import HEADER, RECORD, Bar, pack, unpack
from ime_live.store.bar_store import BarWrite

MINUTE: Final = 60 * MICROSECONDS

_NO_TOKEN: Final = b"0" * HEADER


class TradingDay:
    """The bars of a contract on one day, and how many of them the store has.

    Attributes:
        contract_id: id of the contract.
        day: the day.
        last: the last bar, which still changes; None before the first trade.
    """

    __slots__ = ("_closed", "_stored", "contract_id", "day", "last")

    def __init__(self, contract_id: str, day: date) -> None:
        self.contract_id = contract_id
        self.day = day
        self.last: Bar | None = None
        self._closed = bytearray()
        self._stored: int | None = 0
        """Number of bars in the store; None if all of them must be written."""

    @property
    def bars(self) -> list[Bar]:
        """All bars."""
        closed = unpack(_NO_TOKEN + self._closed)
        return closed if self.last is None else [*closed, self.last]

    def begin(self, bar: Bar) -> None:
        """Close the last bar and start another one."""
        if self.last is not None:
            self._closed += pack([self.last])
        self.last = bar

    def adopt(self, stored: Iterable[Bar]) -> None:
        """Merge stored bars of another writer, or of this one before a restart.

        Of two bars of a minute the one with more trades counts, then the one without a gap.
        """
        joined = {bar.minute: bar for bar in self.bars}
        for bar in stored:
            own = joined.get(bar.minute)
            if own is None or _better(bar, own):
                joined[bar.minute] = bar
        ordered = [joined[minute] for minute in sorted(joined)]
        self._closed = bytearray(pack(ordered[:-1]))
        self.last = ordered[-1] if ordered else None
        self._stored = None

    def to_write(self) -> BarWrite | None:
        """Return the bars that the store may lack, or the last bar again; None without a bar."""
        if self.last is None:
            return None
        # The last bar in the store may have changed since.
        first = max(0, (self._stored or 0) - 1)
        records = bytes(self._closed[first * RECORD :]) + pack([self.last])
        return BarWrite(self.contract_id, self.day, self._stored, first, records)

    def note_written(self, write: BarWrite) -> None:
        """Note that these bars were stored."""
        self._stored = write.first + len(write.records) // RECORD


def _better(bar: Bar, other: Bar) -> bool:
    # Compare totals first. The last bar holds the day's totals, and no later bar can correct them.
    return (bar.trades, bar.volume, other.gap) > (other.trades, other.volume, bar.gap)


class ContractBars:
    """The bars of a contract, as far as its newest trading day."""

    __slots__ = ("_contract_id", "_version", "today")

    def __init__(self, contract_id: str) -> None:
        self._contract_id = contract_id
        self._version = 0
        self.today: TradingDay | None = None
        """The newest trading day with a trade; None before the first one."""

    def missed_before(self, version: int, gaps: Iterable[int]) -> int | None:
        """Return the minute since the epoch from which states before a newer one may be missing.

        Args:
            version: version of the newer state.
            gaps: beginnings of the gaps, in microseconds since the epoch.
        """
        begins = [gap for gap in gaps if self._version <= gap < version]
        return min(begins) // MINUTE if begins else None

    def adopt(self, day: date, stored: Sequence[Bar]) -> None:
        """Merge the stored bars of a day that is not older than the newest one."""
        if not stored or (self.today is not None and day < self.today.day):
            return
        if self.today is None or day > self.today.day:
            self.today = TradingDay(self._contract_id, day)
        self.today.adopt(stored)

    def fold(
        self, state: TradeState, seen_until: int | None = None, *, stored: bool = False
    ) -> TradingDay | None:
        """Update the bars from a state.

        Args:
            state: the state.
            seen_until: minute since the epoch until which every state was seen; None while all are.
            stored: whether it is a last state that was read from the store, and no message.

        The first state of a contract that comes as a message may include trades that were not seen:
        its feed was started, or it was registered, in the middle of a session.

        Returns:
            The day whose last bar has changed, or None.
        """
        if state.version <= self._version:
            if stored:  # a store that went back continues from here
                self._version = state.version
            return None
        is_first, self._version = self._version == 0, state.version
        if state.price <= 0 or (state.trades <= 0 and state.volume <= 0):
            return None
        if self.today is None or state.day > self.today.day:
            self.today = TradingDay(self._contract_id, state.day)
        elif state.day < self.today.day:
            return None
        if is_first and seen_until is None and self.today.last is None and state.trades != 1:
            seen_until = 0
        gap = seen_until is not None and state.version // MINUTE > seen_until
        return self.today if self._fold_into(self.today, state, gap) else None

    def _fold_into(self, today: TradingDay, state: TradeState, gap: bool) -> bool:
        last = today.last
        if last is None:
            today.begin(_first_bar(state, gap))
            return True
        traded = (
            state.trades > last.trades
            or state.volume > last.volume
            or state.value > last.value
            or state.price != last.close
        )
        if traded:
            if state.minute > last.minute:
                last = _bar(state)
                bars = today.bars if gap else ()
                today.begin(last)
            else:
                bars = today.bars[:-1] if gap else ()
                last.close = state.price
                last.high = max(last.high, state.price)
                last.low = min(last.low, state.price)
            if gap:
                last.gap = True
                _widen(last, bars, state)
        elif state.minute > last.minute and (
            (state.trades, state.volume, state.value) == (last.trades, last.volume, last.value)
        ):
            return False  # orders without a trade: the bar of their minute would be empty
        # Totals may also go down, if the exchange corrects them: the last bar takes them.
        last.trades, last.volume, last.value = state.trades, state.volume, state.value
        if state.minute <= last.minute:
            last.open_interest, last.bid, last.ask = state.open_interest, state.bid, state.ask
        return True


def _bar(state: TradeState) -> Bar:
    return Bar(
        state.minute,
        *(state.price,) * 4,
        *(state.volume, state.value, state.trades, state.open_interest, state.bid, state.ask),
    )


def _first_bar(state: TradeState, gap: bool) -> Bar:
    bar = _bar(state)
    if gap:
        # It holds all trades of the day so far, whose prices are known.
        bar.gap = True
        bar.open = state.open if state.open > 0 else state.price
        bar.high = max(state.price, state.high)
        bar.low = min(state.price, state.low) if state.low > 0 else state.price
    return bar


def _widen(bar: Bar, others: Sequence[Bar], state: TradeState) -> None:
    """Give a bar with a gap the highest and lowest price of the day that no other bar has."""
    if state.high > max((other.high for other in others), default=0):
        bar.high = max(bar.high, state.high)
    if 0 < state.low < min((other.low for other in others), default=state.low + 1):
        bar.low = min(bar.low, state.low)
