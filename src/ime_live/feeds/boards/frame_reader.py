"""Frame reader: read the contracts and states of a frame of the SignalR hub.

A message is a whole board; a board has one row per contract (for options: per strike). A message or
row that cannot be read affects only itself, and a bad static field only that field. If a frame does
not have the day, the caller may pass it in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypedDict

from msgspec import Struct
from msgspec.structs import replace

from ime_live.errors import FeedError
from ime_live.feeds.boards.field_map import (
    BOARDS,
    CDC_BOARD,
    CLOCK,
    METHODS,
    PUSHED_AT,
    ROW_IDS,
    FieldMap,
)
from ime_live.feeds.boards.frame import Board, Frame, RowError
from ime_live.feeds.boards.invocations import (
    ForeignInvocation,
    Invocation,
    read_invocations,
)
from ime_live.feeds.boards.parsers import ParseError, Row, identity, read_clock
from ime_live.feeds.boards.row_cache import BoardRow, CachedContract, CachedRow, RowCache, decode
from ime_live.feeds.boards.rows import (
    DEFAULT_PRICE_LIMITS,
    MAX_AHEAD,
    PriceLimits,
    Quote,
    pushed_at,
    read_row,
    retimed,
)
from ime_live.feeds.boards.wrapping import got, rows_in, unwrap


class FrameReader:
    """Reads the frames of one source, one after the other.

    A row with the same bytes as in the board's last push, except for the timestamp, is not read
    again. Only the values that depend on timestamp and day are computed again.
    """

    def __init__(
        self,
        *,
        boards: Collection[str] = BOARDS,
        price_limits: PriceLimits = DEFAULT_PRICE_LIMITS,
    ) -> None:
        """Create a reader.

        Args:
            boards: methods of the boards to read, of `BOARDS`.
            price_limits: see `ime_live.feeds.boards.rows.PriceLimits`.
        """
        self._boards = boards
        self._price_limits = price_limits
        self._cache = RowCache()
        self._names: dict[str, str] = {}
        """Names by contract id, from the last row with a name."""

    def read(
        self,
        frame: bytes | str | Mapping[str, Any],
        *,
        day: date | None = None,
        latest: datetime | None = None,
    ) -> Frame:
        """Read a frame of the hub. A keep-alive (``{}``) has no boards.

        Args:
            frame: the frame as JSON, or decoded.
            day: day of rows that have only a time, if the frame does not have it: warehouse
                receipts often arrive in frames of their own.
            latest: present time, Tehran's wall clock. A timestamp later than this by more than
                `ime_live.feeds.boards.rows.MAX_AHEAD` does not determine the day, and no row with
                only a time is dated later. None for recordings.

        Raises:
            FeedError: it is not JSON, or not a frame.
        """
        dropped: list[RowError] = []
        unknown: list[str] = []
        pushes: list[tuple[str, list[BoardRow]]] = []
        exchange_time: datetime | None = None
        for message in read_invocations(frame):
            if isinstance(message, ForeignInvocation):
                unknown.append(f"{message.hub}.{message.method}")
                continue
            method = METHODS.get(message.method.lower())
            if method is None:
                if message.problem is not None and not message.method:
                    dropped.append(RowError("a message", None, None, message.problem))
                else:
                    unknown.append(message.method)
            elif message.problem is not None:
                if method == CLOCK or method in self._boards:
                    dropped.append(RowError(method, None, None, message.problem))
            elif method == CLOCK:
                text = unwrap([decode(argument) for argument in message.arguments])
                clock_time = read_clock(text) if isinstance(text, str) else None
                if clock_time is not None:
                    exchange_time = clock_time
                elif text not in ([], None, ""):
                    dropped.append(RowError(CLOCK, None, None, f"A: is not a clock, {got(text)}"))
            elif method in PUSHED_AT or (method in self._boards and method in BOARDS):
                pushes.append((method, self._rows(method, message)))
        frame_day, clock = _day_and_clock(dict(pushes), exchange_time, latest)
        day = frame_day or day
        boards = tuple(
            self._read_board(method, rows, _FrameTimes(day, clock, latest))
            for method, rows in pushes
            if method in self._boards
        )
        last = _latest(clock, [quote for board in boards for quote in board.quotes])
        return Frame(
            boards, day, frame_day is not None, last, exchange_time, tuple(dropped), tuple(unknown)
        )

    def _rows(self, method: str, message: Invocation) -> list[BoardRow]:
        last = self._cache.last(method)
        ids = ROW_IDS[method]
        rows: list[BoardRow] = []
        for argument in message.arguments:
            row = BoardRow(argument, last)
            decoded = row.decoded
            if row.known is None and not (
                isinstance(decoded, Mapping) and any(field in decoded for field in ids)
            ):
                rows += [BoardRow(inner, {}) for inner in rows_in(decoded, ids)]
            else:
                rows.append(row)
        return rows

    def _read_board(self, method: str, rows: Sequence[BoardRow], when: _FrameTimes) -> Board:
        builder = _BoardBuilder(method)
        cached: dict[bytes, CachedRow] = {}
        for index, row in enumerate(rows):
            sides = self._read_cached(row, index, when, builder) or self._read_new(
                row, index, when, builder
            )
            if row.body is not None and sides:
                cached[row.body] = sides
        self._cache.keep(method, cached)
        return builder.board()

    def _read_cached(
        self, row: BoardRow, index: int, when: _FrameTimes, builder: _BoardBuilder
    ) -> CachedRow:
        """Return a known row's contracts with their new times; empty if it is not known."""
        for side in row.known or ():
            times = {**side.times, **row.timestamps}
            try:
                quote = retimed(side.quote, times, side.fields, **when.of_row)
                timestamp = pushed_at(times, side.fields, when.day, when.clock)
            except ParseError as error:
                builder.refuse(index, side.quote.contract.contract_id, str(error), times)
            else:
                builder.take(index, quote, timestamp)
        return row.known or ()

    def _read_new(
        self, row: BoardRow, index: int, when: _FrameTimes, builder: _BoardBuilder
    ) -> CachedRow:
        """Read a new row, and return its contracts if all of them could be read."""
        if not isinstance(row.decoded, Mapping):
            wrong = isinstance(row.decoded, FeedError)
            reason = f"{row.decoded}" if wrong else f"the row is not an object, {got(row.decoded)}"
            builder.refuse(index, None, reason, None if wrong else row.decoded)
            return ()
        contracts: list[CachedContract] = []
        complete = all(
            row.decoded.get(name) == timestamp for name, timestamp in row.timestamps.items()
        )
        for spellings in BOARDS[builder.method]:
            fields = next((f for f in spellings if f.contract_id in row.decoded), spellings[0])
            if fields.option_type and _is_vacant(row.decoded, fields):
                continue
            try:
                quote = read_row(
                    row.decoded,
                    fields,
                    price_limits=self._price_limits,
                    names=self._names,
                    **when.of_row,
                )
                timestamp = pushed_at(row.decoded, fields, when.day, when.clock)
            except ParseError as error:
                contract_id = _known_id(row.decoded, fields)
                builder.refuse(index, contract_id, str(error), row.decoded)
                complete = False
            else:
                quote = _on_board(quote, builder.method)
                self._names[quote.contract.contract_id] = quote.contract.contract_name
                builder.take(index, quote, timestamp)
                times = {name: row.decoded[name] for name in fields.times if name in row.decoded}
                contracts.append(CachedContract(fields, quote, times))
        return tuple(contracts) if complete else ()


class _FrameTimes(Struct, frozen=True):
    """The known times while a frame is read, see `ime_live.feeds.boards.rows.read_row`."""

    day: date | None
    clock: datetime | None
    latest: datetime | None

    @property
    def of_row(self) -> _RowTimes:
        return {"day": self.day, "clock": self.clock, "latest": self.latest}


class _RowTimes(TypedDict):
    day: date | None
    clock: datetime | None
    latest: datetime | None


class _BoardBuilder:
    """Builds a board, row by row."""

    def __init__(self, method: str) -> None:
        self.method = method
        self._quotes: list[Quote] = []
        self._timestamps: list[datetime | None] = []
        self._errors: list[RowError] = []
        self._lost: list[RowError] = []

    def take(self, index: int, quote: Quote, timestamp: datetime | None) -> None:
        self._quotes.append(quote)
        self._timestamps.append(timestamp)
        contract_id = quote.contract.contract_id
        self._lost += [RowError(self.method, index, contract_id, reason) for reason in quote.lost]

    def refuse(self, index: int, contract_id: str | None, reason: str, row: object) -> None:
        self._errors.append(RowError(self.method, index, contract_id, reason, row))

    def board(self) -> Board:
        return Board(
            self.method,
            tuple(self._quotes),
            tuple(self._timestamps),
            tuple(self._errors),
            tuple(self._lost),
        )


def _day_and_clock(
    newest: Mapping[str, Sequence[BoardRow]],
    exchange_time: datetime | None,
    latest: datetime | None,
) -> tuple[date | None, datetime | None]:
    """Return the day of a frame, and the latest timestamp of the SignalR hub's 24-hour clock.

    Args:
        newest: the rows of the last message of each method.
        exchange_time: see `Frame.exchange_time`.
        latest: see `FrameReader.read`.
    """
    timestamps: list[datetime] = []
    days: Counter[date] = Counter()
    for method, rows in newest.items():
        field = PUSHED_AT.get(method)
        for row in rows:
            at = None if field is None else row.timestamp(field)
            if at is not None and (latest is None or at <= latest + MAX_AHEAD):
                days[at.date()] += 1
                if method != CDC_BOARD:  # seen on a 12-hour clock
                    timestamps.append(at)
    # The day of most rows: one wrong timestamp must not move the others.
    day = days.most_common(1)[0][0] if days else None
    if exchange_time is not None and (latest is None or exchange_time <= latest + MAX_AHEAD):
        day = exchange_time.date()
        timestamps.append(exchange_time)
    return day, max(timestamps, default=None)


def _on_board(quote: Quote, method: str) -> Quote:
    contract = replace(quote.contract, board=method, expired=quote.expired)
    return replace(quote, contract=contract)


def _is_vacant(row: Row, fields: FieldMap) -> bool:
    """Return whether a strike has no contract on this side: all its fields are empty."""
    return row.get(fields.contract_id, "") is None and row.get(fields.name) in (None, "")


def _known_id(row: Row, fields: FieldMap) -> str | None:
    try:
        return identity(row, fields.contract_id)
    except ParseError:
        return None


def _latest(clock: datetime | None, quotes: Sequence[Quote]) -> datetime | None:
    """Return the latest of the frame's clock and the times of its contracts."""
    moments = (quote.payload.aggregate for quote in quotes)
    last = max((f"{at.date}T{at.time}" for at in moments), default=None)
    if last is None:
        return clock
    at = datetime.fromisoformat(last)
    return at if clock is None else max(at, clock)
