"""Frames of the SignalR hub, each read by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any

from ime_live.feeds.boards.field_map import BOARDS
from ime_live.feeds.boards.frame import Frame
from ime_live.feeds.boards.frame_reader import FrameReader
from ime_live.feeds.boards.rows import DEFAULT_PRICE_LIMITS, PriceLimits


def read_frame(
    frame: bytes | str | Mapping[str, Any],
    *,
    day: date | None = None,
    latest: datetime | None = None,
    boards: Collection[str] = BOARDS,
    price_limits: PriceLimits = DEFAULT_PRICE_LIMITS,
) -> Frame:
    """Read a frame with a new reader."""
    return FrameReader(boards=boards, price_limits=price_limits).read(frame, day=day, latest=latest)
