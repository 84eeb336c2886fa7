"""Exchange clock: the time at the exchange, even if this machine's clock is wrong.

The machine's clock counts as right unless the exchange shows otherwise: by the ``Date`` header of
its answer to negotiate, or by its clock board. The board alone is weaker evidence, because it
arrives late on a slow link and stands still on holidays.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

TOLERANCE: Final = 300.0
"""Seconds by which the machine's clock may differ before it is said to be wrong."""

ACCURACY: Final = 2.0
"""Seconds within which the machine's clock agrees with a ``Date`` header."""

_PACE: Final = 30.0  # seconds that a clock board may come later or sooner than the one before it

_DAY: Final = 86_400.0


class ExchangeClock:
    """Corrects this machine's clock by the times that the exchange sends."""

    def __init__(
        self, zone: ZoneInfo, *, wall: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        """Believe the machine's clock.

        Args:
            zone: of the exchange.
            wall: the machine's clock, seconds since the Unix epoch.
            monotonic: seconds; what the exchange has told goes on by it, so that a machine's clock
                that is put right is right at once.
        """
        self._zone = zone
        self._wall = wall
        self._monotonic = monotonic
        self._by_date: float | None = None
        """The exchange's time less the monotonic one, as `hear_date` was told it."""
        self._by_board: float | None = None
        """The same by the clock board, if that shows the machine's clock to be wrong."""
        self._board: tuple[float, float] | None = None
        """The last clock board: its time, and that less the monotonic one."""

    def now(self) -> float:
        """The exchange's time, seconds since the Unix epoch."""
        wall = self._wall()
        offset = self._by_board if self._by_date is None else self._by_date
        if offset is None:
            return wall
        told = offset + self._monotonic()
        return wall if abs(told - wall) <= ACCURACY else told

    def local(self) -> datetime:
        """The exchange's time as its stamps have it: wall clock of its zone, without offset."""
        return datetime.fromtimestamp(self.now(), self._zone).replace(tzinfo=None)

    def hear_date(self, date: float, sent: float, received: float) -> None:
        """Take a ``Date`` header into account, seconds since the Unix epoch.

        Args:
            date: what it says, in whole seconds.
            sent: when the request was sent, by the machine's clock.
            received: when the answer had come.
        """
        # The answer was made between the two, and within a second after what the header says.
        least, most = date - received, date + 1.0 - sent
        wrong_by = least if least > 0 else min(most, 0.0)
        self._by_date = self._wall() + wrong_by - self._monotonic()

    def hear_board(self, told: datetime) -> None:
        """Take a clock board into account, wall clock of the zone."""
        at = told.replace(tzinfo=self._zone).timestamp()
        wall = self._wall()
        offset = at - self._monotonic()
        before = self._board
        if before is not None and before[0] == at:
            return  # the same board again
        self._board = at, offset
        # No board comes before its time. One that is behind may stand still, or have come late.
        ahead = 0 < at - wall < _DAY
        runs = before is not None and at > before[0] and abs(offset - before[1]) <= _PACE
        shows = ahead or (runs and self._by_date is None)
        self._by_board = offset if shows and abs(at - wall) > TOLERANCE else None

    @property
    def error(self) -> str | None:
        """What is wrong with the machine's clock; None as far as is known."""
        for source, offset in (("Date header", self._by_date), ("clock board", self._by_board)):
            if offset is not None:
                ahead = self._wall() - offset - self._monotonic()
                if abs(ahead) > TOLERANCE:
                    where = "ahead of" if ahead > 0 else "behind"
                    return (
                        f"this machine's clock is {_span(abs(ahead))} {where} the exchange's "
                        f"({source})"
                    )
        return None


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} days"
