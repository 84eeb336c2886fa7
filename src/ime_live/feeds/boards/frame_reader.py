"""Boards of the exchange's hub: read the contracts and states of a frame.

A message is a whole board; a board has one row per contract (for options: per strike). A message or
row that cannot be read affects only itself, and a bad static field only that field. If a frame does
not tell the day, the caller may pass it in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Any, TypedDict

from msgspec import Raw, Struct
from msgspec.structs import replace

from ime_live.errors import FeedError
from ime_live.feeds.boards.cells import CellError, Row, identity, moment, read_clock
from ime_live.feeds.boards.field_map import (
    BOARDS,
    CDC_BOARD,
    CLOCK,
    DEFAULT_BOARDS,
    MARKETS,
    METHODS,
    PUSHED_AT,
    ROW_IDS,
    Fields,
)
from ime_live.feeds.boards.invocations import (
    ForeignInvocation,
    Invocation,
    read_invocations,
    read_json,
)
from ime_live.feeds.boards.row_cache import Known, KnownSide, RowCache, cut
from ime_live.feeds.boards.rows import (
    DEFAULT_BANDS,
    MAX_AHEAD,
    Bands,
    Quote,
    pushed_at,
    read_row,
    retimed,
)
from ime_live.feeds.boards.wrapping import got, rows_in, unwrap

__all__ = [
    "BOARDS",
    "CLOCK",
    "DEFAULT_BANDS",
    "DEFAULT_BOARDS",
    "MARKETS",
    "Bands",
    "Board",
    "Frame",
    "FrameReader",
    "Quote",
    "RowError",
    "read_frame",
]


class RowError(Struct, frozen=True):
    """A row, a side of an option's row, a field or a whole message that could not be read.

    Attributes:
        board: method of the board, or the text in its place.
        index: position of the row in the board; None for a whole message.
        contract_id: id of the contract, if the row has it.
        reason: the field, what is wrong with it, and its value.
        row: the decoded row; None for a whole message.
    """

    board: str
    index: int | None
    contract_id: str | None
    reason: str
    row: object = None

    def __str__(self) -> str:
        place = self.board if self.index is None else f"{self.board}[{self.index}]"
        contract = "" if self.contract_id is None else f", contract {self.contract_id}"
        return f"{place}{contract}: {self.reason}"


class Board(Struct, frozen=True):
    """One board of a frame: the whole present state of its kind.

    Attributes:
        method: kind of the board.
        quotes: contracts with their states, in the board's order.
        pushed_at: timestamp of each row, Tehran's wall clock; None for rows without one.
        errors: rows that could not be read.
        lost: static fields that could not be read, of rows that count without them.
    """

    method: str
    quotes: tuple[Quote, ...] = ()
    pushed_at: tuple[datetime | None, ...] = ()
    errors: tuple[RowError, ...] = ()
    lost: tuple[RowError, ...] = ()


class Frame(Struct, frozen=True):
    """The content of a frame.

    Attributes:
        boards: boards in the frame's order, also those without a row. The hub puts all waiting
            messages into one frame, so there may be several of a kind: the last one counts.
        day: day of the frame, or else the caller's; None if it is unknown.
        day_told: whether the frame itself tells the day.
        clock: latest timestamp in the frame, Tehran's wall clock; None if it has none.
        told: time of the exchange's clock board; None if it is not in the frame.
        dropped: messages that could not be read.
        unknown: unknown hubs and methods, as ``hub.method``.
    """

    boards: tuple[Board, ...] = ()
    day: date | None = None
    day_told: bool = False
    clock: datetime | None = None
    told: datetime | None = None
    dropped: tuple[RowError, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def quotes(self) -> tuple[Quote, ...]:
        """The contracts with their states, in the frame's order."""
        return tuple(quote for board in self.boards for quote in board.quotes)

    @property
    def errors(self) -> tuple[RowError, ...]:
        """Messages and rows that could not be read, in the frame's order."""
        return (*self.dropped, *(error for board in self.boards for error in board.errors))

    @property
    def lost(self) -> tuple[RowError, ...]:
        """Static fields that could not be read, in the frame's order."""
        return tuple(error for board in self.boards for error in board.lost)


class _BoardRow:
    """A row while it is read: its bytes, and the known or decoded row of them."""

    __slots__ = ("body", "decoded", "known", "stamps")

    def __init__(self, value: object, last: Mapping[bytes, Known]) -> None:
        self.decoded: object = value
        self.body: bytes | None = None
        self.stamps: Mapping[str, str] = {}
        self.known: Known | None = None
        if isinstance(value, Raw):
            raw = bytes(value)
            self.body, self.stamps = cut(raw)
            self.known = last.get(self.body)
            if self.known is None:
                self.decoded = _decoded(value)

    def stamp(self, field: str) -> datetime | None:
        """Return when its board was pushed; None if that cannot be read, an error of the row."""
        told: Row = self.stamps
        if field not in told:
            told = self.decoded if isinstance(self.decoded, Mapping) else {}
            if self.known:
                told = self.known[0].times
        with suppress(CellError):
            # Options may be spelled with or without the underscore.
            return moment(told, field if field in told else field.lstrip("_"), None)
        return None


def _decoded(value: object) -> object:
    """Decode a value that may be bytes of JSON; return the error if they are none."""
    if not isinstance(value, Raw):
        return value
    try:
        return read_json(bytes(value), "the row")
    except FeedError as error:
        return error


class FrameReader:
    """Reads the frames of one source, one after the other.

    A row with the same bytes as in the board's last push, except for the timestamp, is not read
    again. Only the values that depend on timestamp and day are computed anew.
    """

    def __init__(
        self, *, boards: Collection[str] = DEFAULT_BOARDS, bands: Bands = DEFAULT_BANDS
    ) -> None:
        """Create a reader.

        Args:
            boards: methods of the boards to read, of `BOARDS`.
            bands: price bands, see `ime_live.feeds.boards.rows.Bands`.
        """
        self._boards = boards
        self._bands = bands
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
            day: day of rows with only a time, if the frame does not tell it: warehouse receipts
                often arrive in frames of their own.
            latest: present time, Tehran's wall clock. A timestamp later than this by more than
                `ime_live.feeds.boards.rows.MAX_AHEAD` tells no day, and no row with only a time is
                dated later. None for recordings.

        Raises:
            FeedError: it is not JSON, or not a frame.
        """
        dropped: list[RowError] = []
        unknown: list[str] = []
        pushes: list[tuple[str, list[_BoardRow]]] = []
        told: datetime | None = None
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
                said = unwrap([_decoded(each) for each in message.arguments])
                clock_told = read_clock(said) if isinstance(said, str) else None
                if clock_told is not None:
                    told = clock_told
                elif said not in ([], None, ""):
                    dropped.append(RowError(CLOCK, None, None, f"A: is not a clock, {got(said)}"))
            elif method in PUSHED_AT or (method in self._boards and method in BOARDS):
                pushes.append((method, self._rows(method, message)))
        day_told, clock = _day_and_clock(dict(pushes), told, latest)
        day = day_told or day
        boards = tuple(
            self._read_board(method, rows, _When(day, clock, latest))
            for method, rows in pushes
            if method in self._boards
        )
        last = _latest(clock, [quote for board in boards for quote in board.quotes])
        return Frame(boards, day, day_told is not None, last, told, tuple(dropped), tuple(unknown))

    def _rows(self, method: str, message: Invocation) -> list[_BoardRow]:
        last = self._cache.last(method)
        ids = ROW_IDS[method]
        rows: list[_BoardRow] = []
        for each in message.arguments:
            row = _BoardRow(each, last)
            decoded = row.decoded
            if row.known is None and not (
                isinstance(decoded, Mapping) and any(field in decoded for field in ids)
            ):
                rows += [_BoardRow(inner, {}) for inner in rows_in(decoded, ids)]
            else:
                rows.append(row)
        return rows

    def _read_board(self, method: str, rows: Sequence[_BoardRow], when: _When) -> Board:
        read = _BoardParts(method)
        known: dict[bytes, Known] = {}
        for index, row in enumerate(rows):
            sides = self._again(row, index, when, read) or self._anew(row, index, when, read)
            if row.body is not None and sides:
                known[row.body] = sides
        self._cache.keep(method, known)
        return read.board()

    def _again(self, row: _BoardRow, index: int, when: _When, read: _BoardParts) -> Known:
        """Return a known row's contracts with their new times; empty if it is not known."""
        for side in row.known or ():
            times = {**side.times, **row.stamps}
            try:
                quote = retimed(side.quote, times, side.fields, **when.told)
                stamp = pushed_at(times, side.fields, when.day, when.clock)
            except CellError as error:
                read.refuse(index, side.quote.contract.contract_id, str(error), times)
            else:
                read.take(index, quote, stamp)
        return row.known or ()

    def _anew(self, row: _BoardRow, index: int, when: _When, read: _BoardParts) -> Known:
        """Read a row, and return its contracts if all of them could be read."""
        if not isinstance(row.decoded, Mapping):
            wrong = isinstance(row.decoded, FeedError)
            reason = f"{row.decoded}" if wrong else f"the row is not an object, {got(row.decoded)}"
            read.refuse(index, None, reason, None if wrong else row.decoded)
            return ()
        known: list[KnownSide] = []
        whole = all(row.decoded.get(name) == stamp for name, stamp in row.stamps.items())
        for spellings in BOARDS[read.method]:
            fields = next((f for f in spellings if f.contract_id in row.decoded), spellings[0])
            if fields.option_type and _is_vacant(row.decoded, fields):
                continue
            try:
                quote = read_row(
                    row.decoded, fields, bands=self._bands, names=self._names, **when.told
                )
                stamp = pushed_at(row.decoded, fields, when.day, when.clock)
            except CellError as error:
                contract_id = _known_id(row.decoded, fields)
                read.refuse(index, contract_id, str(error), row.decoded)
                whole = False
            else:
                quote = _on_board(quote, read.method)
                self._names[quote.contract.contract_id] = quote.contract.contract_name
                read.take(index, quote, stamp)
                times = {name: row.decoded[name] for name in fields.times if name in row.decoded}
                known.append(KnownSide(fields, quote, times))
        return tuple(known) if whole else ()


class _When(Struct, frozen=True):
    """The known times while a frame is read, see `ime_live.feeds.boards.rows.read_row`."""

    day: date | None
    clock: datetime | None
    latest: datetime | None

    @property
    def told(self) -> _Told:
        return {"day": self.day, "clock": self.clock, "latest": self.latest}


class _Told(TypedDict):
    day: date | None
    clock: datetime | None
    latest: datetime | None


class _BoardParts:
    """The parts of a board while it is read."""

    def __init__(self, method: str) -> None:
        self.method = method
        self._quotes: list[Quote] = []
        self._stamps: list[datetime | None] = []
        self._errors: list[RowError] = []
        self._lost: list[RowError] = []

    def take(self, index: int, quote: Quote, stamp: datetime | None) -> None:
        self._quotes.append(quote)
        self._stamps.append(stamp)
        contract_id = quote.contract.contract_id
        self._lost += [RowError(self.method, index, contract_id, each) for each in quote.lost]

    def refuse(self, index: int, contract_id: str | None, reason: str, row: object) -> None:
        self._errors.append(RowError(self.method, index, contract_id, reason, row))

    def board(self) -> Board:
        return Board(
            self.method,
            tuple(self._quotes),
            tuple(self._stamps),
            tuple(self._errors),
            tuple(self._lost),
        )


def read_frame(
    frame: bytes | str | Mapping[str, Any],
    *,
    day: date | None = None,
    latest: datetime | None = None,
    boards: Collection[str] = DEFAULT_BOARDS,
    bands: Bands = DEFAULT_BANDS,
) -> Frame:
    """Read one frame by itself, see `FrameReader.read`."""
    return FrameReader(boards=boards, bands=bands).read(frame, day=day, latest=latest)


def _day_and_clock(
    newest: Mapping[str, Sequence[_BoardRow]], told: datetime | None, latest: datetime | None
) -> tuple[date | None, datetime | None]:
    """Return the day of a frame, and the latest timestamp of the hub's 24-hour clock.

    Args:
        newest: the rows of the last message of each method.
        told: see `Frame.told`.
        latest: see `FrameReader.read`.
    """
    stamps: list[datetime] = []
    days: Counter[date] = Counter()
    for method, rows in newest.items():
        field = PUSHED_AT.get(method)
        for row in rows:
            at = None if field is None else row.stamp(field)
            if at is not None and (latest is None or at <= latest + MAX_AHEAD):
                days[at.date()] += 1
                if method != CDC_BOARD:  # seen on a 12-hour clock
                    stamps.append(at)
    # The day of most rows: one wrong timestamp must not move the others.
    day = days.most_common(1)[0][0] if days else None
    if told is not None and (latest is None or told <= latest + MAX_AHEAD):
        day = told.date()
        stamps.append(told)
    return day, max(stamps, default=None)


def _on_board(quote: Quote, method: str) -> Quote:
    contract = replace(quote.contract, board=method, expired=quote.expired)
    return replace(quote, contract=contract)


def _is_vacant(row: Row, fields: Fields) -> bool:
    """Return whether a strike has no contract on this side: all its fields are empty."""
    return row.get(fields.contract_id, "") is None and row.get(fields.name) in (None, "")


def _known_id(row: Row, fields: Fields) -> str | None:
    try:
        return identity(row, fields.contract_id)
    except CellError:
        return None


def _latest(clock: datetime | None, quotes: Sequence[Quote]) -> datetime | None:
    """Return the latest of the frame's clock and the times of its contracts."""
    moments = (quote.payload.aggregate for quote in quotes)
    last = max((f"{at.date}T{at.time}" for at in moments), default=None)
    if last is None:
        return clock
    at = datetime.fromisoformat(last)
    return at if clock is None else max(at, clock)
