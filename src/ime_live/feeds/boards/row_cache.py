"""Row cache: the contracts of a board's last push, by the bytes of their rows without timestamps.

Most rows of a push equal those of the push before, except for the timestamp, and are not read
again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

from msgspec import Raw, Struct

from ime_live.errors import FeedError
from ime_live.feeds.boards.field_map import FieldMap
from ime_live.feeds.boards.invocations import read_json
from ime_live.feeds.boards.parsers import ParseError, Row, moment
from ime_live.feeds.boards.rows import Quote

TIMESTAMP_FIELD: Final = "LastUpdate"
"""Field with the timestamp of the board; in options it may begin with an underscore."""

_NEEDLE: Final = f'{TIMESTAMP_FIELD}"'.encode()
_MEMBER: Final = re.compile(rb'"\s*:\s*"([0-9T:. -]*)"')


class CachedContract(Struct, frozen=True):
    """A contract as it was read from its row.

    Attributes:
        fields: names of its fields.
        quote: the quote that was read.
        times: the decoded fields of the row with times.
    """

    fields: FieldMap
    quote: Quote
    times: Mapping[str, object]


CachedRow = tuple[CachedContract, ...]
"""The contracts of a row; for options the two sides of a strike."""


def cut(row: bytes) -> tuple[bytes, dict[str, str]]:
    """Cut the timestamps out of a row; return the rest of its bytes, and the timestamps by field.

    Only values in the usual form are cut out. A value of another form stays in the body, and is
    compared with the rest.
    """
    at = row.find(_NEEDLE)
    if at < 0:
        return row, {}
    parts: list[bytes] = []
    timestamps: dict[str, str] = {}
    begin = 0
    while at >= 0:
        end = at + len(_NEEDLE)
        name = _name(row, at)
        match = _MEMBER.match(row, end - 1)
        if name is not None and match is not None:
            parts.append(row[begin : match.start(1)])
            begin = match.end(1)
            timestamps[name] = match[1].decode()
            end = match.end()
        at = row.find(_NEEDLE, end)
    return b"".join((*parts, row[begin:])), timestamps


def _name(row: bytes, at: int) -> str | None:
    """Return the field's whole name if it has a timestamp; others may end in the same word."""
    if row[at - 1 : at] == b'"':
        return TIMESTAMP_FIELD
    return f"_{TIMESTAMP_FIELD}" if row[at - 2 : at] == b'"_' else None


class RowCache:
    """The rows of a board's last push."""

    def __init__(self) -> None:
        self._pushes: dict[str, dict[bytes, CachedRow]] = {}
        """By method, the rows of its last push by their bodies."""

    def last(self, method: str) -> Mapping[bytes, CachedRow]:
        """Return the rows of a board's last push by their bodies."""
        return self._pushes.get(method, {})

    def keep(self, method: str, rows: dict[bytes, CachedRow]) -> None:
        """Replace the rows of the last push by those of this one."""
        self._pushes[method] = rows


class BoardRow:
    """A row while it is read: its bytes, and the cached or decoded row.

    Attributes:
        body: its bytes without timestamps; None if it was decoded before.
        timestamps: the timestamps that were cut out of them, by field.
        known: its contracts, if the last push had the same body; None if it did not.
        decoded: the row if it is not known, or the error if it is not JSON.
    """

    __slots__ = ("body", "decoded", "known", "timestamps")

    def __init__(self, value: object, last: Mapping[bytes, CachedRow]) -> None:
        self.decoded: object = value
        self.body: bytes | None = None
        self.timestamps: Mapping[str, str] = {}
        self.known: CachedRow | None = None
        if isinstance(value, Raw):
            raw = bytes(value)
            self.body, self.timestamps = cut(raw)
            self.known = last.get(self.body)
            if self.known is None:
                self.decoded = decode(value)

    def timestamp(self, field: str) -> datetime | None:
        """Return the timestamp of the board in this row; None if it cannot be read."""
        times: Row = self.timestamps
        if field not in times:
            times = self.decoded if isinstance(self.decoded, Mapping) else {}
            if self.known:
                times = self.known[0].times
        with suppress(ParseError):
            # Options may be spelled with or without the underscore.
            return moment(times, field if field in times else field.lstrip("_"), None)
        return None


def decode(value: object) -> object:
    """Decode a value that may be bytes of JSON; return the error if they cannot be decoded."""
    if not isinstance(value, Raw):
        return value
    try:
        return read_json(bytes(value), "the row")
    except FeedError as error:
        return error
