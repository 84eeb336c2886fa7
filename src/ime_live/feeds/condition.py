"""Condition: what can be expected of the feed, from its connection, its boards and the hours.

The connection and the boards that come are told; the status comes out. Pure: times are given to
it, in microseconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from ime_live.contracts import Market
from ime_live.feeds.boards import MARKETS
from ime_live.feeds.exchange.link import Link
from ime_live.status import FeedState, FeedStatus, MarketStatus


class Hours(Protocol):
    """When markets trade; `ime_live.feeds.hours.TradingHours` is one."""

    def session_began(self, market: Market, at: int) -> int | None:
        """When the session that is on then began; None if none is on."""

    def next_change(self, market: Market, at: int) -> int | None:
        """When its session next begins or ends."""


class _MarketCondition:
    """What is known of one market."""

    def __init__(self) -> None:
        self.contracts: dict[str, int] = {}
        """Listed on each of its boards last."""
        self.last_board: int | None = None


class Condition:
    """See the module's text."""

    def __init__(self, boards: Collection[str], *, stale_after: float, hours: Hours) -> None:
        """Make the condition of a feed that has no connection yet.

        Args:
            boards: methods of the boards that it reads.
            stale_after: seconds.
            hours: when markets trade.
        """
        self._stale_after = round(stale_after * 1e6)
        self._hours = hours
        self._markets = {
            market: _MarketCondition()
            for market in Market
            if any(MARKETS.get(board) is market for board in boards)
        }
        self._link = Link()
        self._state: FeedState | None = None
        self._since = 0
        self._last_board: int | None = None

    def link(self, link: Link) -> None:
        """The connection is like this now."""
        self._link = link

    def board(self, board: str, contracts: int, at: int) -> None:
        """A board has come, with so many contracts."""
        self._last_board = at
        name = MARKETS.get(board)
        if name in self._markets:
            self._markets[name].contracts[board] = contracts
            self._markets[name].last_board = at

    def status(self, at: int) -> FeedStatus:
        """What is to be said of the feed at ``at``."""
        markets = {name: self._market(name, each, at) for name, each in self._markets.items()}
        state = self._whole(markets, at)
        if state is not self._state:
            self._state, self._since = state, at
        return FeedStatus(
            state,
            self._since,
            last_board=self._last_board,
            markets=markets,
            source=self._link.source,
            error=self._link.error,
            written=at,
        )

    def _whole(self, markets: Mapping[Market, MarketStatus], at: int) -> FeedState:
        if not markets:  # only boards of no market are read, whose hours nobody has told
            return self._state_of(self._last_board, 0, at)
        states = {each.state for each in markets.values()}
        return next((state for state in _FIRST_OF if state in states), FeedState.DOWN)

    def _market(self, name: Market, market: _MarketCondition, at: int) -> MarketStatus:
        # From the hours, not from when it was last asked: a standby asks for no status.
        began = self._hours.session_began(name, at)
        return MarketStatus(
            self._state_of(market.last_board, began, at),
            last_board=market.last_board,
            contracts=sum(market.contracts.values()),
            until=self._hours.next_change(name, at),
        )

    def _state_of(self, last_board: int | None, began: int | None, at: int) -> FeedState:
        if not self._link.source:
            return FeedState.DOWN
        if began is None:
            return FeedState.CLOSED
        # Nobody can be blamed for silence before the session, or before there was a connection.
        heard = max(last_board or 0, began, round(self._link.since * 1e6))
        return FeedState.STALE if at - heard > self._stale_after else FeedState.LIVE


_FIRST_OF: Final = (FeedState.DOWN, FeedState.LIVE, FeedState.STALE, FeedState.CLOSED)
"""The whole's state is the first of these that a market is in."""
