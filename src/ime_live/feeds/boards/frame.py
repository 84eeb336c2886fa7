"""Frame: the boards in a frame of the SignalR hub, and the errors of reading it."""

from __future__ import annotations

from datetime import date, datetime

from msgspec import Struct

from ime_live.feeds.boards.rows import Quote


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
        boards: boards in the frame's order, including empty ones. The SignalR hub puts all waiting
            messages into one frame, so there may be several of a kind: the last one counts.
        day: day of the frame, or else the caller's; None if it is unknown.
        has_day: whether the frame itself has the day.
        clock: latest timestamp in the frame, Tehran's wall clock; None if it has none.
        exchange_time: time of the exchange's clock board; None if it is not in the frame.
        dropped: messages that could not be read.
        unknown: unknown hubs and methods, as ``hub.method``.
    """

    boards: tuple[Board, ...] = ()
    day: date | None = None
    has_day: bool = False
    clock: datetime | None = None
    exchange_time: datetime | None = None
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
