"""Feed: read the exchange's frames, publish the changes, and report the state of the feed.

It combines a source of frames, the ingest, the recorder, the health, the exchange's clock and the
lease. Of two feeds one leads. The other reads as well, and takes over with the newest boards that
it has received.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable
from contextlib import aclosing
from datetime import date, datetime
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import msgspec
import structlog
from msgspec import Struct

from ime_live.errors import FeedError
from ime_live.feeds.boards.field_map import CLOCK
from ime_live.feeds.boards.frame import Frame, RowError
from ime_live.feeds.boards.frame_reader import FrameReader
from ime_live.feeds.boards.rows import MAX_AHEAD, PriceLimits
from ime_live.feeds.ime.frame_source import Source
from ime_live.feeds.pipeline.exchange_clock import ExchangeClock
from ime_live.feeds.pipeline.health import FeedHealth
from ime_live.feeds.pipeline.ingest import FrameRefusal, Ingest, Totals
from ime_live.feeds.pipeline.leader import Leader, Writer
from ime_live.feeds.pipeline.leadership import FeedLease, Leadership
from ime_live.log_limiter import LogLimiter
from ime_live.status import FeedStatus

log = structlog.get_logger()

FAULTS: Final = ("frame", "row", "field", "late", "recording")
"""Kinds of faults: unreadable frames, rows and fields, late rows, unrecorded frames."""

_SHOWN: Final = 2_000  # characters of a row or frame in the log


class FrameRecorder(Protocol):
    """Interface of a recorder of frames."""

    def write(self, frame: bytes, /) -> None:
        """Write a frame that has just arrived; raises FeedError."""


class ReadOptions(Struct, frozen=True):
    """Options for reading frames.

    Attributes:
        boards: methods of the boards to read.
        price_limits: see `ime_live.feeds.boards.rows.PriceLimits`.
        zone: time zone of the exchange.
    """

    boards: Collection[str]
    price_limits: PriceLimits
    zone: ZoneInfo


class Feed:
    """One feed process: reads, publishes while it leads, and writes its status."""

    def __init__(
        self,
        source: Source,
        ingest: Ingest,
        lease: FeedLease,
        health: FeedHealth,
        reading: ReadOptions,
        *,
        writer: Writer,
        clock: ExchangeClock,
        recorder: FrameRecorder | None = None,
        failovers: Callable[[], int] = lambda: 0,
    ) -> None:
        """Create a feed from its parts.

        Args:
            source: source of the frames.
            ingest: notes the boards of frames, and publishes the changes.
            lease: lease of the leading feed.
            health: computes the status of the feed.
            reading: options for reading frames.
            writer: the writer of the ingest.
            clock: clock of the exchange, and of this machine.
            recorder: records each frame; None records nothing.
            failovers: see `ime_live.feeds.pipeline.leader.Leader`.
        """
        self._source = source
        self._ingest = ingest
        self.health = health
        self._reading = reading
        self._clock = clock
        self._recorder = recorder
        self._unrecorded = 0
        """Number of frames since the last one that could be recorded."""
        self._reader = FrameReader(boards=reading.boards, price_limits=reading.price_limits)
        self._day: date | None = None
        """The latest day in the exchange's frames."""
        self.faults: Tally[str] = Tally(dict.fromkeys(FAULTS, 0))
        """Number of faults by kind; see `FAULTS`."""
        self._late = False
        self._clock_wrong = False
        self._limited = LogLimiter(log, clock=clock.machine)
        self._once = LogLimiter(log, interval=float("inf"))
        self.leadership = Leadership(
            lease, self.status, on_lead=lambda: self._leader.begin(), clock=clock.machine
        )
        self._leader = Leader(
            ingest,
            writer,
            self.leadership,
            boards=reading.boards,
            latest=lambda: clock.local() + MAX_AHEAD,
            failovers=failovers,
            clock=clock.machine,
        )

    @property
    def totals(self) -> Totals:
        """Counts of frames, rows and states."""
        return self._ingest.totals

    def status(self) -> FeedStatus:
        """Return the present status of the feed."""
        self.health.note_connection(self._source.connection_state)
        status = self.health.status(round(self._clock.machine.time() * 1e6))
        self._log_lag(status.lag)
        self._log_clock()
        late = f"boards are {status.lag:.0f} s late" if self.health.late else None
        errors = [error for error in (status.error, late, self._clock.error) if error]
        totals = self._ingest.totals
        return msgspec.structs.replace(
            status,
            error="; ".join(errors) or None,
            refused=totals.refused + totals.bad_lines,
        )

    async def run(self) -> None:
        """Read, publish and lead until cancelled.

        Raises:
            SettingsError: the source cannot work with its settings.
        """
        leading = asyncio.create_task(self.leadership.run())
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._leader.run())
        tasks = (reading, writing, leading)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # each ends only with an error
        finally:
            # The lease is released last, so that this feed has stopped when the next one leads.
            for task in tasks:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _read(self) -> None:
        async with aclosing(self._source.frames()) as frames:
            async for frame in frames:
                self._record(frame)
                content = self._frame_of(frame)
                if content is not None:
                    self._note(content)
                    # More frames may be waiting, but the changes of each are published.
                    await asyncio.sleep(0)

    def _record(self, frame: bytes) -> None:
        """Record a frame if there is a recorder; an error does not stop the frame."""
        if self._recorder is None:
            return
        try:
            self._recorder.write(frame)
        except FeedError as error:
            self._unrecorded += 1
            self.faults["recording"] += 1
            self._limited.warning("frame not recorded", key="not recorded", error=str(error))
        else:
            if self._unrecorded:
                self._limited.info("recording continues", key="recorded", lost=self._unrecorded)
            self._unrecorded = 0

    def _frame_of(self, frame: bytes) -> Frame | None:
        now = self._clock.local()
        try:
            content = self._reader.read(frame, day=self._day or now.date(), latest=now)
        except FeedError as error:
            self._ingest.totals.bad_lines += 1
            self.faults["frame"] += 1
            self._limited.warning(
                "frame dropped",
                key="frame",
                error=str(error),
                frame=frame[:_SHOWN].decode("utf-8", "replace"),
            )
            return None
        if content.has_day and content.day is not None:
            self._day = max(content.day, self._day or content.day)
        return content

    def _note(self, frame: Frame) -> None:
        # A standby does so too, because its status must be right as soon as it leads.
        self.health.note_connection(self._source.connection_state)
        latest = self._clock.local() + MAX_AHEAD
        for board in frame.boards:
            listed = {quote.contract.contract_id for quote in board.quotes}
            self.health.note_board(
                board.method, len(listed), round(self._clock.machine.time() * 1e6)
            )
            self._note_timestamp(board.method, board.pushed_at, latest)
        if frame.exchange_time is not None:
            self._note_timestamp(CLOCK, [frame.exchange_time], latest)
            self._clock.note_board(frame.exchange_time)
        self._log_clock()
        for name in frame.unknown:
            self._once.info("unknown method of the SignalR hub; ignored", key=name, method=name)
        self.faults["field"] += len(frame.lost)
        for error in frame.lost:
            self._log_row("field cannot be read; the row is used without it", error)
        self._report(self._ingest.note(frame, latest))
        self._leader.wake()

    def _note_timestamp(
        self, board: str, timestamps: Iterable[datetime | None], latest: datetime
    ) -> None:
        newest = max((at for at in timestamps if at is not None and at <= latest), default=None)
        if newest is not None:
            timestamp = newest.replace(tzinfo=self._reading.zone).timestamp()
            self.health.note_timestamp(
                board, round(timestamp * 1e6), round(self._clock.now() * 1e6)
            )

    def _report(self, refusal: FrameRefusal) -> None:
        self.faults["row"] += len(refusal.errors)
        self.faults["late"] += len(refusal.late)
        for error in refusal.errors:
            kind = "message" if error.index is None else "row"
            self._log_row(f"{kind} cannot be read", error)
        for late in refusal.late:
            self._limited.warning(
                "row is older than what was published",
                key=("late", late.board),
                board=late.board,
                contract_id=late.contract_id,
                pushed_at=late.pushed_at.isoformat(),
                newest=late.newest.isoformat(),
            )

    def _log_row(self, event: str, error: RowError) -> None:
        field = error.reason.partition(":")[0]
        row = {} if error.row is None else {"row": _shown(error.row)}
        self._limited.warning(
            event,
            key=(event, error.board, field),
            board=error.board,
            index=error.index,
            contract_id=error.contract_id,
            reason=error.reason,
            **row,
        )

    def _log_lag(self, lag: float | None) -> None:
        late = self.health.late
        if late and not self._late:
            self._limited.warning("boards are late", key="late", lag=lag)
        elif self._late and not late:
            self._limited.info("boards are on time again", key="in time", lag=lag)
        self._late = late

    def _log_clock(self) -> None:
        error = self._clock.error
        if error and not self._clock_wrong:
            log.error("the clocks differ", error=error)
        elif self._clock_wrong and not error:
            log.info("the clocks agree again")
        self._clock_wrong = bool(error)


def _shown(row: object) -> str:
    # A row may contain values that JSON cannot, such as an infinite number.
    return repr(row)[:_SHOWN]
