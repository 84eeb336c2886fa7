"""The state of the feed as data: what the feed says of itself, and gateways tell their clients.

Pure: records and their JSON. Where they are kept is `ime_live.store.lease`'s matter, and what makes
a feed live or stale is the feed's (`ime_live.feeds.pipeline.health`). Times are microseconds since
the Unix epoch, like versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct, field

from ime_live.contracts import Market
from ime_live.errors import FeedError


class FeedState(StrEnum):
    """What can be expected of the feed just now."""

    LIVE = "live"
    """Boards come, and it is trading time."""
    STALE = "stale"
    """Connected, but silent beyond the limit although it is trading time."""
    CLOSED = "closed"
    """Connected; outside the session."""
    DOWN = "down"
    """Not connected, or no feed is running."""


class MarketStatus(Struct, frozen=True, rename="camel"):
    """What the feed says of one market.

    Attributes:
        state: as for the feed, by the hours of this market.
        last_board: when a board of it came last; None if none has come yet.
        contracts: how many its boards listed last.
        until: when its session next begins or ends; None if it never does.
    """

    state: FeedState
    last_board: int | None = None
    contracts: int = 0
    until: int | None = None


class FeedStatus(Struct, frozen=True, rename="camel"):
    """What the feed says of itself.

    Attributes:
        state: of the feed as a whole.
        since: when it came into that state.
        last_board: when a board came last; None if none has come yet.
        markets: the markets that it serves.
        source: how it reads them now: ``webSockets``, ``serverSentEvents``, ``longPolling``,
            ``polling`` or, if it is another source, its name; empty while it has none.
        error: why it is not connected, or was not able to do better; None if all is well.
        refused: rows that could not be read or came late, and states that the store refused, since
            the feed was started.
        feed: which process of which machine it is.
        written: when this was written, by the feed's clock.
        token: the fencing token of the feed that wrote it, see `ime_live.store.lease`; 0 if it has
        none.
        lag: how many seconds late boards come, by their own stamps; None outside trading time, or
            if no stamp has told it.
    """

    state: FeedState
    since: int
    last_board: int | None = None
    markets: Mapping[Market, MarketStatus] = field(default_factory=dict)
    source: str = ""
    error: str | None = None
    refused: int = 0
    feed: str = ""
    written: int = 0
    token: int = 0
    lag: float | None = None

    def to_json(self) -> bytes:
        """Encode for the store."""
        return _encode(self)


_LATEST: Final = 8_000 * 365 * 86_400 * 1_000_000
"""Microseconds; about the year 9960, beyond which timestamps cannot be written."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(FeedStatus).decode


def read_status(raw: bytes) -> FeedStatus:
    """Decode what a feed has written.

    Raises:
        FeedError: it is not a status, or a time in it is none that a clock can show.
    """
    try:
        status = _decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FeedError(f"not a feed's status: {error}") from error
    moments = [status.since, status.last_board, status.written]
    for market in status.markets.values():
        moments += [market.last_board, market.until]
    for moment in moments:
        if moment is not None and not 0 <= moment < _LATEST:
            raise FeedError(f"not a feed's status: {moment} is no time in microseconds")
    return status
