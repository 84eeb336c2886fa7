"""Boards of the exchange: rows, boards and frames, made of the project's own rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.support.paths import ROWS

Row = dict[str, Any]


def row(kind: str, **fields: object) -> Row:
    """A row of ``tests/feeds/rows``, with some of its fields changed."""
    read: Row = json.loads((ROWS / f"{kind}.json").read_text(encoding="utf-8"))
    assert fields.keys() <= read.keys()
    return read | fields


def without(made: Row, *fields: str) -> Row:
    """A row without some of its fields."""
    return {field: value for field, value in made.items() if field not in fields}


def timestamp(ago: float = 0.0) -> str:
    """The present moment as the exchange writes its timestamps, or one that was seconds ago."""
    now = datetime.now(ZoneInfo("Asia/Tehran")).replace(tzinfo=None)
    return (now - timedelta(seconds=ago)).isoformat(timespec="milliseconds")


def board(method: str, *rows: dict[str, Any]) -> dict[str, Any]:
    """A message with a whole board."""
    return {"H": "marketsHub", "M": method, "A": [list(rows)]}


def future(number: int) -> list[dict[str, Any]]:
    """Messages of a board of one futures contract, with a number to know them by."""
    return [board("updateFutureMarketsInfo", row("future", LastTradedPrice=700_000.0 + number))]


def numbers(frame: bytes) -> list[int]:
    """The numbers of the messages of `future` in a frame."""
    return [
        round(message["A"][0][0]["LastTradedPrice"] - 700_000) for message in json.loads(frame)["M"]
    ]


def frames_of_all_boards(count: int) -> Iterator[bytes]:
    """Frames with all kinds of boards, each with other prices than the one before."""
    for number in range(count):
        messages = [
            board("updateFutureMarketsInfo", row("future", LastTradedPrice=699_200.0 + number)),
            board("updateMarketsInfo", row("strike", _CallLastTradedPrice=9_250.0 + number)),
            board("updateCDCMarketsInfo", row("certificate", TradesCount=31 + number)),
            board("updateGavahiMarketsInfo", row("receipt", Quantity=338 + number)),
            {"H": "marketsHub", "M": "updateFutureDateTime", "A": ["سه شنبه ۱۰ مرداد ۱۴۰۲"]},
        ]
        yield json.dumps({"C": "", "M": messages}, ensure_ascii=False).encode()
