"""Feed health: the state of the feed, from its connection, its boards and the trading hours.

Times are microseconds since the Unix epoch, and are passed in.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Collection, Mapping
from datetime import date
from typing import Final, Protocol

from ime_live.contracts import Market
from ime_live.feeds.boards.field_map import MARKETS
from ime_live.feeds.ime.frame_source import ConnectionState
from ime_live.status import FeedState, FeedStatus, MarketStatus, Week


class Hours(Protocol):
    """Interface of trading hours, as `ime_live.feeds.pipeline.hours.TradingHours`."""

    def session_start(self, market: Market, at: int) -> int | None:
        """Return when the present session began; None outside of the sessions."""

    def next_change(self, market: Market, at: int) -> int | None:
        """Return when a session next begins or ends."""

    def week(self, market: Market) -> Week:
        """Return the sessions of a market."""

    def holidays(self, at: int) -> tuple[date, ...]:
        """Return the days without a session in the year from ``at``."""


class _MarketHealth:
    """The health of one market."""

    def __init__(self) -> None:
        self.contracts: dict[str, int] = {}
        """Number of contracts in the last push of each board."""
        self.last_board: int | None = None


class FeedHealth:
    """Computes the status of a feed."""

    def __init__(
        self,
        boards: Collection[str],
        *,
        stale_after: float,
        hours: Hours,
        max_lag: float = float("inf"),
    ) -> None:
        """Create the health of a feed without a connection.

        Args:
            boards: methods of the boards that the feed reads.
            stale_after: seconds without a board after which a market is stale.
            hours: trading hours of the markets.
            max_lag: delay of boards in seconds beyond which their markets are stale.
        """
        self._stale_after = round(stale_after * 1e6)
        self._max_lag = max_lag
        self._hours = hours
        self._markets = {
            market: _MarketHealth()
            for market in Market
            if any(MARKETS.get(board) is market for board in boards)
        }
        self._connection = ConnectionState()
        self._state: FeedState | None = None
        self._since = 0
        self._last_board: int | None = None
        self._timestamps: dict[str, int] = {}
        """Newest timestamp of each board on this connection."""
        self._lag: tuple[float, int] | None = None
        """Delay of the last board in seconds, and its timestamp."""
        self.late = False
        """Whether boards were too late at the last status."""
        self.connections = 0
        """Number of connections, including resumed ones."""
        self.boards: Tally[str] = Tally()
        """Number of boards that have arrived, by method."""

    def note_connection(self, state: ConnectionState) -> None:
        """Note the present state of the connection."""
        if (state.source, state.since) != (self._connection.source, self._connection.since):
            self._timestamps.clear()
            self._lag = None
            self.connections += bool(state.source)
        self._connection = state

    def note_board(self, board: str, contracts: int, at: int) -> None:
        """Note the arrival of a board with this number of contracts."""
        self.boards[board] += 1
        self._last_board = at
        market = self._markets.get(MARKETS[board]) if board in MARKETS else None
        if market is not None:
            market.contracts[board] = contracts
            market.last_board = at

    def note_timestamp(self, board: str, timestamp: int, at: int) -> None:
        """Note the timestamp of a board that arrived ``at``, both by the exchange's clock.

        Only a timestamp that has moved since the board's last push, and is newer than those of all
        other boards, shows the delay. Otherwise nothing has changed in its market.
        """
        if board in self._timestamps and timestamp > max(self._timestamps.values()):
            self._lag = max(0, at - timestamp) / 1e6, timestamp
        self._timestamps[board] = max(timestamp, self._timestamps.get(board, timestamp))

    def status(self, at: int) -> FeedStatus:
        """Return the status of the feed at the time ``at``."""
        markets = {name: self._market(name, market, at) for name, market in self._markets.items()}
        state = self._whole(markets)
        lag = self._lag_of_session(state, at)
        self.late = lag is not None and lag > self._max_lag
        if state is not self._state:
            self._state, self._since = state, at
        return FeedStatus(
            state,
            self._since,
            last_board=self._last_board,
            markets=markets,
            source=self._connection.source,
            error=self._connection.error,
            written=at,
            lag=lag,
            holidays=self._hours.holidays(at),
        )

    def _whole(self, markets: Mapping[Market, MarketStatus]) -> FeedState:
        states = {market.state for market in markets.values()}
        return next((state for state in _FIRST_OF if state in states), FeedState.DOWN)

    def _market(self, name: Market, market: _MarketHealth, at: int) -> MarketStatus:
        # From the hours, not from the last status: a standby computes none.
        began = self._hours.session_start(name, at)
        return MarketStatus(
            self._state_of(market.last_board, began, at),
            last_board=market.last_board,
            contracts=sum(market.contracts.values()),
            until=self._hours.next_change(name, at),
            hours=self._hours.week(name),
        )

    def _state_of(self, last_board: int | None, began: int | None, at: int) -> FeedState:
        if not self._connection.source:
            return FeedState.DOWN
        if began is None:
            return FeedState.CLOSED
        # Silence before the session, or before the connection, does not count.
        heard = max(last_board or 0, began, round(self._connection.since * 1e6))
        late = self._lag_since(began)
        if at - heard > self._stale_after or (late is not None and late > self._max_lag):
            return FeedState.STALE
        return FeedState.LIVE

    def _lag_of_session(self, state: FeedState, at: int) -> float | None:
        if state not in (FeedState.LIVE, FeedState.STALE):
            return None
        began = [self._hours.session_start(name, at) for name in self._markets]
        return self._lag_since(min((begin for begin in began if begin is not None), default=0))

    def _lag_since(self, began: int) -> float | None:
        """Return the delay of the boards of the session that began then; None if unknown."""
        return self._lag[0] if self._lag is not None and self._lag[1] >= began else None


_FIRST_OF: Final = (FeedState.DOWN, FeedState.LIVE, FeedState.STALE, FeedState.CLOSED)
"""The feed's state is the first of these that a market has."""
