"""Quote list: the newest state of each contract, searched, sorted and formatted. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from msgspec import Struct

from ime_live.client.protocol.message import Message
from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import PayloadError, ServiceError
from ime_live.market import Number, Payload
from ime_live.spelling import fold_name

_HIGHLIGHT: Final = 1.0
"""Seconds for which a price that has changed stands out."""

_WINDOW: Final = 5.0
"""Seconds over which the rate of messages and the lag are taken."""

_NONE: Final = "–"


class QuoteRow(Struct):
    """The newest state of one contract.

    Attributes:
        name: name or id of the contract, as in the service's messages.
        payload: the market data.
        timestamp: time of the state.
        direction: 1 if the last price has risen since the message before, -1 if it has fallen.
        moved_at: when the price moved, in seconds of the list's clock; below 0 if it has not.
    """

    name: str
    payload: Payload
    timestamp: datetime
    direction: int = 0
    moved_at: float = -1.0

    @property
    def change(self) -> float | None:
        """Change of the last price against the previous close [%]; None without either."""
        day = self.payload.aggregate
        if not day.last_price or not day.previous_close:
            return None
        return (day.last_price / day.previous_close - 1) * 100


_Value = float | str | None


class Column(Struct, frozen=True):
    """A column of the table.

    Attributes:
        key: identifier of the column.
        title: its heading.
        value: returns the value to sort by; None sorts last.
        text: returns the text to show.
        width: characters of the column.
    """

    key: str
    title: str
    value: Callable[[QuoteRow], _Value]
    text: Callable[[QuoteRow], str]
    width: int = 13


def number(value: Number | None) -> str:
    """Format a price or a quantity; 0 is shown as a dash.

    >>> number(1163500), number(0.5), number(0)
    ('1,163,500', '0.5', '–')
    """
    if not value:
        return _NONE
    return f"{value:,.10g}" if isinstance(value, float) and value % 1 else f"{value:,.0f}"


def _quantity(key: str, title: str, value: Callable[[QuoteRow], Number]) -> Column:
    return Column(key, title, value, lambda row: number(value(row)))


def _change(row: QuoteRow) -> str:
    return _NONE if row.change is None else f"{row.change:+.2f}%"


def _time(row: QuoteRow) -> str:
    return f"{row.timestamp:%H:%M:%S}"


COLUMNS: Final = (
    Column("name", "Contract", lambda row: row.name, lambda row: row.name, 16),
    _quantity("last", "Last", lambda row: row.payload.aggregate.last_price),
    Column("change", "Change", lambda row: row.change, _change),
    _quantity("bid_quantity", "Bid qty", lambda row: row.payload.best_limit.first.buy_quantity),
    _quantity("bid", "Bid", lambda row: row.payload.best_limit.first.buy_price),
    _quantity("ask", "Ask", lambda row: row.payload.best_limit.first.sell_price),
    _quantity("ask_quantity", "Ask qty", lambda row: row.payload.best_limit.first.sell_quantity),
    _quantity("volume", "Volume", lambda row: row.payload.aggregate.total_volume),
    _quantity("open_interest", "Open int.", lambda row: row.payload.contract_info.open_interest),
    Column(
        "time",
        "Time",
        lambda row: row.timestamp.timestamp(),
        lambda row: f"{row.timestamp:%H:%M:%S}",
    ),
)
"""The columns of the table, from left to right."""


class QuoteList:
    """The newest states of all contracts of a stream.

    Attributes:
        sort_key: key of the column that rows are sorted by.
        reverse: whether the largest is first.
        search: only contracts whose name has this text are shown; empty shows all.
        unreadable: number of messages whose data could not be read.
    """

    def __init__(self, clock: Callable[[], float] = SYSTEM_CLOCK.monotonic) -> None:
        """Create an empty list; the clock returns seconds."""
        self.sort_key = COLUMNS[0].key
        self.reverse = False
        self.search = ""
        self.unreadable = 0
        self._clock = clock
        self._rows: dict[str, QuoteRow] = {}
        self._pending: dict[str, Message[Payload]] = {}
        self._arrivals: deque[tuple[float, float]] = deque()
        self._began = clock()

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, name: str) -> QuoteRow | None:
        """Return a contract's row; None before its first state."""
        return self._rows.get(name)

    def take(self, message: Message[Payload], now: datetime) -> None:
        """Queue a message for the next `read`; it replaces an older one of its contract.

        Args:
            message: a state.
            now: the present time, for the lag.
        """
        try:
            lag = (now - message.timestamp).total_seconds()
        except ServiceError:
            self.unreadable += 1
            return
        self._arrivals.append((self._clock(), lag))
        self._pending[message.key[1]] = message

    def read(self) -> set[str]:
        """Read the messages that have arrived since the last call, and return their contracts."""
        pending, self._pending = self._pending, {}
        now = self._clock()
        for name, message in list(pending.items()):
            try:
                payload = message.data
            except PayloadError:
                self.unreadable += 1
                del pending[name]
                continue
            before = self._rows.get(name)
            row = QuoteRow(name, payload, message.timestamp)
            if before is not None:
                old, new = before.payload.aggregate.last_price, payload.aggregate.last_price
                if new != old and old and new:
                    row.direction, row.moved_at = (1 if new > old else -1), now
                else:
                    row.direction, row.moved_at = before.direction, before.moved_at
            self._rows[name] = row
        return set(pending)

    def keep(self, names: Iterable[str]) -> bool:
        """Drop the contracts that are not among ``names``; return whether there were any."""
        dropped = self._rows.keys() - set(names)
        for name in dropped:
            del self._rows[name]
        return bool(dropped)

    def rows(self) -> list[QuoteRow]:
        """Return the rows that the search finds, sorted."""
        column = next(candidate for candidate in COLUMNS if candidate.key == self.sort_key)
        rows = list(self._rows.values())
        if text := fold_name(self.search).casefold():
            rows = [row for row in rows if text in fold_name(row.name).casefold()]
        rows.sort(key=lambda row: row.name)
        sortable = [row for row in rows if column.value(row) is not None]
        sortable.sort(key=column.value, reverse=self.reverse)  # type: ignore[arg-type] # None is out
        return sortable + [row for row in rows if column.value(row) is None]

    def stands_out(self, row: QuoteRow) -> bool:
        """Return whether the row's last price has moved recently."""
        return row.moved_at >= 0 and self._clock() - row.moved_at < _HIGHLIGHT

    @property
    def rate(self) -> float:
        """Messages per second, over the last seconds."""
        self._forget()
        return len(self._arrivals) / max(1.0, min(_WINDOW, self._clock() - self._began))

    @property
    def lag(self) -> float | None:
        """Seconds from the newest states' timestamps to their arrival; None without messages.

        The smallest of the last seconds: present states, sent when a stream begins, are older.
        """
        self._forget()
        return min((lag for _, lag in self._arrivals), default=None)

    def _forget(self) -> None:
        oldest = self._clock() - _WINDOW
        while self._arrivals and self._arrivals[0][0] < oldest:
            self._arrivals.popleft()
