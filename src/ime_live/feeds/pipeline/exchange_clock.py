"""Exchange clock: compute the time at the exchange, even if this machine's clock is wrong.

The machine's clock counts as right unless the exchange shows otherwise: by the ``Date`` header of
its answer to negotiate, or by its clock board. The board alone is weaker evidence, because it
arrives late on a slow link and does not change on holidays.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from ime_live.clock import Clock

TOLERANCE: Final = 300.0
"""Seconds by which the machine's clock may differ before it counts as wrong."""

ACCURACY: Final = 2.0
"""Seconds within which the machine's clock agrees with a ``Date`` header."""

_PACE: Final = 30.0  # seconds by which the delay of two clock boards may differ

_DAY: Final = 86_400.0


class ExchangeClock:
    """Corrects this machine's clock by the times that the exchange sends.

    Attributes:
        machine: this machine's clock. The exchange's time follows its monotonic clock, so that a
            correction of the machine's clock takes effect at once.
    """

    def __init__(self, zone: ZoneInfo, machine: Clock) -> None:
        """Create a clock that trusts the machine's clock at first.

        Args:
            zone: time zone of the exchange.
            machine: this machine's clock.
        """
        self._zone = zone
        self.machine = machine
        self._by_date: float | None = None
        """Difference of the exchange's time and the monotonic clock, from `note_date`."""
        self._by_board: float | None = None
        """The same from the clock board, if that shows that the machine's clock is wrong."""
        self._board: tuple[float, float] | None = None
        """The last clock board: its time, and the difference to the monotonic clock."""

    def now(self) -> float:
        """Return the exchange's time in seconds since the Unix epoch."""
        wall = self.machine.time()
        offset = self._by_board if self._by_date is None else self._by_date
        if offset is None:
            return wall
        by_offset = offset + self.machine.monotonic()
        return wall if abs(by_offset - wall) <= ACCURACY else by_offset

    def local(self) -> datetime:
        """Return the exchange's time as in its timestamps: wall clock of its zone, no offset."""
        return datetime.fromtimestamp(self.now(), self._zone).replace(tzinfo=None)

    def note_date(self, date: float, sent: float, received: float) -> None:
        """Compare the clocks by a ``Date`` header. Times are in seconds since the Unix epoch.

        Args:
            date: time in the header, in whole seconds.
            sent: when the request was sent, by the machine's clock.
            received: when the answer arrived, by the machine's clock.
        """
        # The answer was created between the two, and less than a second after the header's time.
        least, most = date - received, date + 1.0 - sent
        wrong_by = least if least > 0 else min(most, 0.0)
        self._by_date = self.machine.time() + wrong_by - self.machine.monotonic()

    def note_board(self, exchange_time: datetime) -> None:
        """Compare the clocks by a clock board, in the wall clock of the zone."""
        at = exchange_time.replace(tzinfo=self._zone).timestamp()
        wall = self.machine.time()
        offset = at - self.machine.monotonic()
        before = self._board
        if before is not None and before[0] == at:
            return  # the same board again
        self._board = at, offset
        # No board arrives before its time. A board in the past may be late, or not be updated.
        ahead = 0 < at - wall < _DAY
        runs = before is not None and at > before[0] and abs(offset - before[1]) <= _PACE
        shows = ahead or (runs and self._by_date is None)
        self._by_board = offset if shows and abs(at - wall) > TOLERANCE else None

    @property
    def error(self) -> str | None:
        """The fault of the machine's clock; None if none is known."""
        for source, offset in (("Date header", self._by_date), ("clock board", self._by_board)):
            if offset is not None:
                ahead = self.machine.time() - offset - self.machine.monotonic()
                if abs(ahead) > TOLERANCE:
                    where = "ahead of" if ahead > 0 else "behind"
                    return (
                        f"this machine's clock is {_format_span(abs(ahead))} {where} the "
                        f"exchange's ({source})"
                    )
        return None


def _format_span(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} days"
