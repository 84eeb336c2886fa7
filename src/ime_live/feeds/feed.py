"""The feed: frames from the exchange in; contracts, states and the feed's own state out.

It puts the parts of one process together: a source of frames, the intake, the recorder, the
condition and the lease. Of two feeds one leads; the other reads along and takes over with the
boards that it has seen last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing
from datetime import datetime
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import msgspec
import structlog
from msgspec import Struct

from ime_live.contracts import Contract
from ime_live.errors import FeedError, StoreError
from ime_live.feeds.attendance import Attendance, FeedLease
from ime_live.feeds.boards import Bands, Frame, RowError, read_frame
from ime_live.feeds.condition import Condition
from ime_live.feeds.exchange.link import Source
from ime_live.feeds.intake import Intake, Refusal
from ime_live.status import FeedStatus

log = structlog.get_logger()

_COMPLAINT_INTERVAL: Final = 600.0
"""Seconds after which the same fault of the same contract is logged again: a bad row comes anew
with each push of its board."""

_MOST_COMPLAINTS: Final = 1_000  # faults remembered; a market has some 500 contracts

_CATCH_UP_INTERVAL: Final = 0.2  # seconds, of the five within which a standby takes over

_SHOWN: Final = 2_000  # characters of a row or frame in the log


class Writer(Protocol):
    """Where frames are recorded."""

    def write(self, frame: bytes, /) -> None:
        """Write a frame that has come now; raises FeedError."""


class Reading(Struct, frozen=True):
    """How frames are read.

    Attributes:
        boards: methods of the boards that are read.
        bands: see `ime_live.feeds.rows.Bands`.
        zone: of the exchange.
    """

    boards: Collection[str]
    bands: Bands
    zone: ZoneInfo


class Feed:
    """See the module's text."""

    def __init__(
        self,
        source: Source,
        intake: Intake,
        lease: FeedLease,
        condition: Condition,
        reading: Reading,
        *,
        known: Callable[[Collection[str]], Awaitable[list[Contract]]],
        recorder: Writer | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put the parts together.

        Args:
            source: where frames come from.
            intake: passes on what has changed.
            lease: which feed leads.
            condition: what can be expected of the feed.
            reading: how frames are read.
            known: tells the contracts that were registered from some boards before.
            recorder: takes every frame, if there is one.
            wall: seconds since the Unix epoch.
            monotonic: seconds.
        """
        self._source = source
        self._intake = intake
        self._condition = condition
        self._reading = reading
        self._known = known
        self._recorder = recorder
        self._wall = wall
        self._monotonic = monotonic
        self._last: dict[tuple[str, ...], Frame] = {}
        """The last frame of each set of boards, to begin with when we come to lead."""
        self._begin = False
        """Whether to begin anew: with the boards that were seen last."""
        self._taking = asyncio.Lock()
        self._outage = False
        self._complaints: dict[tuple[str, str | None, str], float] = {}
        self._attendance = Attendance(
            lease, self.status, on_lead=self._on_lead, monotonic=monotonic
        )

    @property
    def leads(self) -> bool:
        """Whether what comes is passed on."""
        return self._attendance.leads

    def status(self) -> FeedStatus:
        """What the feed says of itself now."""
        self._condition.link(self._source.link)
        totals = self._intake.totals
        return msgspec.structs.replace(
            self._condition.status(self._now()), refused=totals.refused + totals.bad_lines
        )

    async def run(self) -> None:
        """Feed until cancelled.

        Raises:
            SettingsError: the source cannot work with its settings.
            FeedError: the frames cannot be recorded.
        """
        attending = asyncio.create_task(self._attendance.run())
        reading = asyncio.create_task(self._read())
        catching_up = asyncio.create_task(self._catch_up())
        tasks = (reading, catching_up, attending)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # none of them ends but by an error
        finally:
            # The lease last: who takes it over finds that we have stopped.
            for task in tasks:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _read(self) -> None:
        async with aclosing(self._source.frames()) as frames:
            async for raw in frames:
                if self._recorder is not None:
                    self._recorder.write(raw)
                frame = self._frame_of(raw)
                if frame is not None and frame.boards:
                    self._note(frame)
                    await self._pass_on(frame)

    def _frame_of(self, raw: bytes) -> Frame | None:
        try:
            return read_frame(
                raw,
                day=datetime.fromtimestamp(self._wall(), self._reading.zone).date(),
                boards=self._reading.boards,
                bands=self._reading.bands,
            )
        except FeedError as error:
            self._intake.totals.bad_lines += 1
            if self._may_complain(("frame", None, str(error))):
                log.warning(
                    "frame dropped", error=str(error), frame=raw[:_SHOWN].decode("utf-8", "replace")
                )
            return None

    def _note(self, frame: Frame) -> None:
        # Also while another feed leads: what we say of ourselves must be true at once.
        now = self._now()
        for method in frame.boards:
            count = sum(quote.contract.board == method for quote in frame.quotes)
            self._condition.board(method, count, now)
        self._last.pop(frame.boards, None)
        self._last[frame.boards] = frame

    async def _pass_on(self, frame: Frame) -> None:
        # If the boards that were seen last are to be passed on, this one is among them.
        if self.leads:
            await self._take(frame)

    async def _take(self, *frames: Frame) -> None:
        # One after the other: an older frame must not come after a newer one.
        async with self._taking:
            try:
                if self._begin:
                    self._begin = False
                    self._intake.forget()
                    self._intake.know(await self._known(self._reading.boards))
                    frames = tuple(self._last.values())
                for frame in frames:
                    self._report(await self._intake.take(frame))
            except StoreError as error:
                self._lose(error)
            else:
                self._outage = False

    def _lose(self, error: StoreError) -> None:
        if not self._outage:
            log.warning("market data cannot be published", error=str(error))
        self._outage = True
        self._begin = True

    def _on_lead(self) -> None:
        self._begin = True

    async def _catch_up(self) -> None:
        # Boards may be minutes apart; whoever comes to lead, or has its store back, does not
        # wait for the next one.
        while True:
            await asyncio.sleep(_CATCH_UP_INTERVAL)
            if self._begin and self.leads:
                await self._take()

    def _report(self, refusal: Refusal) -> None:
        for error in refusal.errors:
            self._report_row(error)
        for outcome in refusal.outcomes:
            if self._may_complain(("state", outcome.contract_id, str(outcome.error))):
                log.warning(
                    "state refused", contract_id=outcome.contract_id, error=str(outcome.error)
                )

    def _report_row(self, error: RowError) -> None:
        if self._may_complain((error.board, error.contract_id, error.reason)):
            log.warning(
                "row cannot be read",
                board=error.board,
                index=error.index,
                contract_id=error.contract_id,
                reason=error.reason,
                row=_shown(error.row),
            )

    def _may_complain(self, about: tuple[str, str | None, str]) -> bool:
        now = self._monotonic()
        if now < self._complaints.get(about, now):
            return False
        if len(self._complaints) >= _MOST_COMPLAINTS:
            self._complaints.clear()
        self._complaints[about] = now + _COMPLAINT_INTERVAL
        return True

    def _now(self) -> int:
        return round(self._wall() * 1e6)


def _shown(row: object) -> str:
    # A row may hold what JSON cannot, as an infinite number.
    return repr(row)[:_SHOWN]
