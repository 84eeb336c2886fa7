"""Status of the feed: the record that the feed writes and gateways report to clients.

`ime_live.store.lease` stores it, and `ime_live.feeds.pipeline.health` computes the state. Times are
microseconds since the Unix epoch, like versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct, field

from ime_live.contracts import MARKETS, Market
from ime_live.errors import FeedError


class FeedState(StrEnum):
    """State of the feed, or of one market of it."""

    LIVE = "live"
    """In a session, and boards arrive."""
    STALE = "stale"
    """In a session and connected, but no board has arrived for longer than the limit."""
    CLOSED = "closed"
    """Connected, outside of the sessions."""
    DOWN = "down"
    """Not connected, or no feed is running."""

    @classmethod
    def _missing_(cls, value: object) -> FeedState | None:
        # Of a newer program: the feed runs, and its data should not be relied on.
        return cls.STALE if isinstance(value, str) else None


class TradingSession(Struct, frozen=True):
    """One session of a day, on Tehran's clock.

    Attributes:
        begins: its start, as ``HH:MM``.
        ends: its end, as ``HH:MM``; ``24:00`` is the end of the day.
    """

    begins: str
    ends: str


Week = Mapping[str, tuple[TradingSession, ...]]
"""Sessions by day of the week, ``sat`` first; empty for a day without a session."""


class MarketStatus(Struct, frozen=True, rename="camel"):
    """State of one market in a `FeedStatus`.

    Attributes:
        state: state of the market, by its own trading hours.
        last_board: when its last board arrived; None before the first one.
        contracts: number of contracts in its last boards.
        until: when its session next begins or ends; None if it never does.
        hours: its sessions; None if the feed does not report them.
    """

    state: FeedState
    last_board: int | None = None
    contracts: int = 0
    until: int | None = None
    hours: Week | None = None


class FeedStatus(Struct, frozen=True, rename="camel"):
    """The record that a feed writes about itself.

    Attributes:
        state: state of the feed as a whole.
        since: when the feed entered that state.
        last_board: when the last board arrived; None before the first one.
        markets: the markets that the feed serves.
        source: how the feed reads the boards now: ``webSockets``, ``serverSentEvents``,
            ``longPolling``, ``polling`` or the name of another source; empty while it has none.
        error: why the feed is not connected, or reads from a worse source; None without a problem.
        refused: number of rows that could not be read or arrived late, and of states that the store
            refused, since the feed was started.
        feed: machine and process of the feed.
        written: when the record was written, by the feed's clock.
        token: fencing token of the feed, see `ime_live.store.lease`; 0 if it has none.
        lag: delay of the boards in seconds, by their own timestamps; None outside of the sessions
            and while no timestamp has arrived.
        holidays: days without a session in any market, from today for a year, although the week
            may have one; None if the feed does not report them.
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
    holidays: tuple[date, ...] | None = None

    def to_json(self) -> bytes:
        """Encode for the store."""
        return _encode(self)


_LATEST: Final = 8_000 * 365 * 86_400 * 1_000_000
"""Microseconds; about the year 9960, beyond which timestamps cannot be written."""


class _Record(FeedStatus, frozen=True):
    # A newer feed may have markets that are unknown here.
    markets: Mapping[str, MarketStatus] = field(default_factory=dict)  # type: ignore[assignment]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Record).decode


def read_status(raw: bytes) -> FeedStatus:
    """Decode the record of a feed, without markets that this version does not know.

    Raises:
        FeedError: ``raw`` is not such a record, or a time in it is out of range.
    """
    try:
        record = _decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FeedError(f"not a feed's status: {error}") from error
    markets = {Market(name): market for name, market in record.markets.items() if name in MARKETS}
    status = FeedStatus(**msgspec.structs.asdict(record) | {"markets": markets})
    moments = [status.since, status.last_board, status.written]
    for market in status.markets.values():
        moments += [market.last_board, market.until]
    for moment in moments:
        if moment is not None and not 0 <= moment < _LATEST:
            raise FeedError(f"not a feed's status: {moment} is not a time in microseconds")
    return status
