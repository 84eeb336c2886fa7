"""Frames of the exchange's hub: one frame in, the contracts and states it tells out.

Classic SignalR: a frame carries messages, a message a whole board, a board one row per contract
(for options: per strike). A row that cannot be read loses only itself. No I/O and no clock of
its own: what a frame does not say about the day, the caller may.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ime_live.errors import FeedError
from ime_live.feeds.cells import CellError, Row, identity, moment, read_clock
from ime_live.feeds.fields import (
    CALL,
    CDC,
    FUTURE,
    GAVAHI,
    PLAIN_CALL,
    PLAIN_PUT,
    PUT,
    UNLISTED,
    Fields,
)
from ime_live.feeds.rows import AHEAD, DEFAULT_BANDS, Bands, Quote, pushed_at, read_row

__all__ = [
    "BOARDS",
    "DEFAULT_BANDS",
    "DEFAULT_BOARDS",
    "MARKETS",
    "Bands",
    "Board",
    "Frame",
    "Quote",
    "RowError",
    "read_frame",
]

BOARDS: Final[Mapping[str, tuple[tuple[Fields, ...], ...]]] = MappingProxyType(
    {
        "updateFutureMarketsInfo": ((FUTURE,),),
        "updateMarketsInfo": ((CALL, PLAIN_CALL), (PUT, PLAIN_PUT)),
        "updateCDCMarketsInfo": ((CDC,),),
        "updateGavahiMarketsInfo": ((GAVAHI,),),
        "updateSandoqMarketsInfo": ((UNLISTED,),),
        "updateSalafMarketsInfo": ((UNLISTED,),),
    }
)
"""Method of a board → the contracts in one of its rows → the spellings of their fields."""

DEFAULT_BOARDS: Final = frozenset(BOARDS) - {"updateSandoqMarketsInfo", "updateSalafMarketsInfo"}
"""Funds and parallel salaf are left out unless asked for."""

MARKETS: Final = {method: rows[0][0].market for method, rows in BOARDS.items()}
"""Method of a board → the market of its contracts; None for funds and parallel salaf."""

CLOCK: Final = "updateFutureDateTime"
CDC_BOARD: Final = "updateCDCMarketsInfo"
PUSHED_AT: Final = {
    method: rows[0][0].pushed_at for method, rows in BOARDS.items() if rows[0][0].pushed_at
}
"""Method of a board → the field with the stamp of its push, where it has one."""


class RowError(Struct, frozen=True):
    """A row, or a side of an option's row, that could not be read.

    Attributes:
        board: the board's method, or what stood in its place.
        index: of the row in the board; None if it is the board itself.
        contract_id: where the row still told it.
        reason: the field and what is wrong with it.
        row: as it was decoded; None if it is the board itself.
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
    """One board of a frame, all that its kind has to say at that moment.

    Attributes:
        method: its kind.
        quotes: contracts with their states, in the board's order.
        pushed_at: the stamp of each one's row, Tehran's wall clock; None for rows without one.
        errors: what could not be read.
    """

    method: str
    quotes: tuple[Quote, ...] = ()
    pushed_at: tuple[datetime | None, ...] = ()
    errors: tuple[RowError, ...] = ()


class Frame(Struct, frozen=True):
    """What a frame says.

    Attributes:
        boards: the boards that are read, in the frame's order, also those without a row. The hub
            puts whatever waited into one frame, so there may be several of a kind: the last one
            counts.
        day: the day that the frame tells, or else the caller's; None if nobody knows it.
        day_told: whether the frame itself tells the day.
        clock: the latest stamp in the frame, Tehran's wall clock; None if it has none.
        told: the exchange's clock as its own board shows it; None if that is not in the frame.
    """

    boards: tuple[Board, ...] = ()
    day: date | None = None
    day_told: bool = False
    clock: datetime | None = None
    told: datetime | None = None

    @property
    def quotes(self) -> tuple[Quote, ...]:
        """The contracts with their states, in the frame's order."""
        return tuple(quote for board in self.boards for quote in board.quotes)

    @property
    def errors(self) -> tuple[RowError, ...]:
        """What could not be read, in the frame's order."""
        return tuple(error for board in self.boards for error in board.errors)


def read_frame(
    frame: bytes | str | Mapping[str, Any],
    *,
    day: date | None = None,
    latest: datetime | None = None,
    boards: Collection[str] = DEFAULT_BOARDS,
    bands: Bands = DEFAULT_BANDS,
) -> Frame:
    """Read a frame as the hub sent it. A keep-alive (``{}``) says nothing.

    Args:
        frame: JSON, or what was decoded from it.
        day: the day of rows that carry only a time, where the frame itself does not tell it:
            warehouse receipts often come in frames of their own.
        latest: the present moment, Tehran's wall clock. A stamp that is later by more than
            `ime_live.feeds.rows.AHEAD` tells no day, and no row that carries only a time is dated
            later. None for recordings.
        boards: methods of the boards to read, of `BOARDS`.
        bands: see `ime_live.feeds.rows.Bands`.

    Raises:
        FeedError: not JSON, or not a frame.
    """
    messages = list(_messages(_decode(frame)))
    newest = dict(messages)
    clock_text = newest.get(CLOCK)
    told = read_clock(clock_text) if isinstance(clock_text, str) else None
    day_told, clock = _day_and_clock(newest, told, latest)
    day = day_told or day
    read = tuple(
        _read_board(method, content, day, clock, bands, latest)
        for method, content in messages
        if method in boards and method in BOARDS
    )
    quotes = [quote for board in read for quote in board.quotes]
    return Frame(read, day, day_told is not None, _latest(clock, quotes), told)


def _decode(frame: bytes | str | Mapping[str, Any]) -> Mapping[str, Any]:
    decoded: Any = frame
    if isinstance(frame, bytes | str):
        try:
            decoded = msgspec.json.decode(frame)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # Python's own reader lets pass what only its row should be lost for: NaN, 1e400.
            try:
                decoded = json.loads(frame)
            except (ValueError, RecursionError) as error:
                raise FeedError(f"a frame is not JSON: {error}") from None
    if not isinstance(decoded, Mapping):
        raise FeedError("a frame is not a JSON object")
    return decoded


def _messages(frame: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The methods and first arguments of a frame's messages."""
    messages = frame.get("M", [])
    if not isinstance(messages, list):
        raise FeedError("M of a frame is not a list of messages")
    for message in messages:
        method = message.get("M") if isinstance(message, Mapping) else None
        arguments = message.get("A") if isinstance(message, Mapping) else None
        if not isinstance(method, str) or not isinstance(arguments, list):
            raise FeedError("a message of a frame has no method or no arguments")
        # The hub sends null at times where it has nothing to say.
        if arguments and arguments[0] is not None:
            yield method, arguments[0]


def _day_and_clock(
    newest: Mapping[str, object], told: datetime | None, latest: datetime | None
) -> tuple[date | None, datetime | None]:
    """The day that a frame tells, and the latest stamp of the hub's own 24-hour clock.

    Args:
        newest: the last message of each method.
        told: see `Frame.told`.
        latest: see `read_frame`.
    """
    stamps: list[datetime] = []
    days: Counter[date] = Counter()
    for method, content in newest.items():
        for at in _pushes(method, content):
            if latest is None or at <= latest + AHEAD:
                days[at.date()] += 1
                if method != CDC_BOARD:  # seen on a 12-hour clock
                    stamps.append(at)
    # The day of most rows: one with a wrong stamp must not move the others.
    day = days.most_common(1)[0][0] if days else None
    if told is not None and (latest is None or told <= latest + AHEAD):
        day = told.date()
        stamps.append(told)
    return day, max(stamps, default=None)


def _pushes(method: str, content: object) -> Iterator[datetime]:
    """When a board was pushed, as each of its rows says, where it can be read."""
    field = PUSHED_AT.get(method)
    if field is None or not isinstance(content, list):
        return
    for row in content:
        if isinstance(row, Mapping):
            with suppress(CellError):  # told as an error of its row
                # Options may be spelled with or without the underscore.
                at = moment(row, field if field in row else field.lstrip("_"), None)
                if at is not None:
                    yield at


def _read_board(
    method: str,
    rows: object,
    day: date | None,
    clock: datetime | None,
    bands: Bands,
    latest: datetime | None,
) -> Board:
    if not isinstance(rows, list):
        return Board(
            method, errors=(RowError(method, None, None, "the board is not a list of rows"),)
        )
    quotes: list[Quote] = []
    stamps: list[datetime | None] = []
    errors: list[RowError] = []
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            errors.append(RowError(method, index, None, "the row is not an object", row))
            continue
        for spellings in BOARDS[method]:
            fields = next((f for f in spellings if f.contract_id in row), spellings[0])
            if fields.option_type and _is_vacant(row, fields):
                continue
            try:
                quote = read_row(row, fields, day=day, clock=clock, bands=bands, latest=latest)
            except CellError as error:
                errors.append(RowError(method, index, _known_id(row, fields), str(error), row))
            else:
                quotes.append(_on_board(quote, method))
                stamps.append(pushed_at(row, fields, day, clock))
    return Board(method, tuple(quotes), tuple(stamps), tuple(errors))


def _on_board(quote: Quote, method: str) -> Quote:
    contract = replace(quote.contract, board=method, expired=quote.expired)
    return replace(quote, contract=contract)


def _is_vacant(row: Row, fields: Fields) -> bool:
    """Whether a strike has no contract on this side: the fields are there and say nothing."""
    return row.get(fields.contract_id, "") is None and row.get(fields.name) in (None, "")


def _known_id(row: Row, fields: Fields) -> str | None:
    try:
        return identity(row, fields.contract_id)
    except CellError:
        return None


def _latest(clock: datetime | None, quotes: Sequence[Quote]) -> datetime | None:
    """The latest of the frame's clock and the moments of its contracts."""
    moments = (quote.payload.aggregate for quote in quotes)
    last = max((f"{at.date}T{at.time}" for at in moments), default=None)
    if last is None:
        return clock
    at = datetime.fromisoformat(last)
    return at if clock is None else max(at, clock)
