"""Replay: publish the contracts and states of recorded frames.

It follows the arrival times in the recording, or else the timestamps in the frames. Dates and times
in the states stay those of the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.contracts import Contract
from ime_live.errors import FeedError
from ime_live.feeds.boards.field_map import BOARDS
from ime_live.feeds.boards.frame import Frame
from ime_live.feeds.boards.frame_reader import FrameReader
from ime_live.feeds.boards.rows import DEFAULT_PRICE_LIMITS, PriceLimits
from ime_live.feeds.pipeline.ingest import Ingest, Register, StatePublisher, Totals
from ime_live.feeds.recording.recording import read_recording
from ime_live.log_limiter import LogLimiter, PlainLines
from ime_live.timezones import TEHRAN, zone_of

MAX_PAUSE: Final = timedelta(seconds=60)
"""Maximum pause between two frames, at speed 1: a replay does not wait for a night."""

LATE: Final = timedelta(minutes=10)
"""A frame that is older than the frames before it by more than this begins another period. A
smaller difference is a board that is pushed later than others: receipts were 28 s behind and ahead
of futures."""

PAUSE_BETWEEN_ROUNDS: Final = 1.0
"""Seconds at speed 1 before a recording is repeated."""


async def replay(
    files: Sequence[Path],
    publisher: StatePublisher,
    register: Register,
    *,
    speed: float = 1.0,
    loop: bool = False,
    day: date | None = None,
    boards: Collection[str] = BOARDS,
    price_limits: PriceLimits = DEFAULT_PRICE_LIMITS,
    clock: Clock = SYSTEM_CLOCK,
    report: Callable[[str], None] = print,
    count: Callable[[Totals], object] = lambda _: None,
) -> Totals:
    """Publish the contents of recorded frames, at the pace of their arrival.

    Args:
        files: recordings in their order: one frame per line, compressed if the name ends in
            ``.gz``.
        publisher: publishes the states.
        register: registers contracts, when they are new and whenever they change.
        speed: 2 is twice as fast as recorded; 0 never waits.
        loop: repeat the files until cancelled. ``report`` then gets each round's totals.
        day: the day of warehouse receipts until a frame of the file has it.
        boards: see `FrameReader`.
        price_limits: see `FrameReader`.
        clock: the machine's clock, which waits.
        report: called with a line about each bad line, each frame with rows or fields that cannot
            be read, and each unknown method; of refusals by the store, one line per minute and
            reason.
        count: called with the totals when a round begins; they grow from then on.

    Returns:
        The totals; a loop never returns.

    Raises:
        FeedError: a file is missing or cannot be read, or the files have no frame.
        StoreError: the publisher raised it.
    """
    if not 0 <= speed < float("inf"):
        raise FeedError(f"speed must be a number of 0 or more, got {speed}")
    _check(files)
    ingest = Ingest(publisher, register)
    limited = LogLimiter(PlainLines(report))
    once = LogLimiter(PlainLines(report), interval=float("inf"))
    while True:
        totals = ingest.totals = Totals()
        count(totals)
        mark: datetime | None = None
        frames = frames_of(
            files,
            day=day,
            boards=boards,
            price_limits=price_limits,
            totals=totals,
            report=report,
        )
        for place, frame, received in frames:
            pause, mark = pace(mark, frame.clock if received is None else received)
            # Even without a pause, because other tasks need the event loop.
            await clock.sleep(pause / speed if speed else 0)
            for name in dict.fromkeys(frame.unknown):
                once.info(f"{place}: unknown method of the SignalR hub, ignored: {name}", key=name)
            if frame.lost:
                report(f"{place}: {len(frame.lost)} fields lost, the first: {frame.lost[0]}")
            refusal = await ingest.take(frame)
            if refusal.errors or refusal.late:
                report(f"{place}: {refusal}")
            elif refusal.outcomes:
                # The store will probably refuse the next frames as well.
                limited.warning(f"{place}: {refusal}", key=refusal.outcomes[0].kind)
        if not totals.frames:
            names = ", ".join(map(str, files)) or "no files"
            raise FeedError(f"recordings must have a frame, got none in {names}")
        if not loop:
            return totals
        report(f"replayed {totals}")
        await clock.sleep(PAUSE_BETWEEN_ROUNDS / speed if speed else 0)


def contracts_in(files: Sequence[Path]) -> tuple[Contract, ...]:
    """Return the contracts of recordings, as in their last frames.

    Raises:
        FeedError: a file is missing or cannot be read.
    """
    _check(files)
    contracts: dict[str, Contract] = {}
    for _, frame, _ in frames_of(files):
        contracts |= {quote.contract.contract_id: quote.contract for quote in frame.quotes}
    return tuple(contracts.values())


def pace(mark: datetime | None, clock: datetime | None) -> tuple[float, datetime | None]:
    """Return the wait before a frame, in seconds at speed 1, and the new latest time.

    Args:
        mark: the latest time of the frames before it.
        clock: when it was received, or the latest timestamp in it.
    """
    if clock is None:
        return 0.0, mark
    if mark is None or mark - clock > LATE:
        return 0.0, clock
    gap = min(max(clock - mark, timedelta()), MAX_PAUSE)
    return gap.total_seconds(), max(mark, clock)


def frames_of(
    files: Sequence[Path],
    *,
    day: date | None = None,
    boards: Collection[str] = BOARDS,
    price_limits: PriceLimits = DEFAULT_PRICE_LIMITS,
    totals: Totals | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[str, Frame, datetime | None]]:
    """Read the frames of recordings, each with its place and, if recorded, its time of arrival.

    Args:
        files: as in `replay`.
        day: as in `replay`.
        boards: as in `replay`.
        price_limits: as in `replay`.
        totals: counts lines that are not frames; None counts nothing.
        report: called with a line about each of these.

    Raises:
        FeedError: a file cannot be read.
    """
    totals = Totals() if totals is None else totals
    zone = zone_of(TEHRAN)
    reader = FrameReader(boards=boards, price_limits=price_limits)

    for file in files:
        known_day = day  # a day does not carry over: the next file may be of any other

        def cut_off(number: int, file: Path = file) -> None:
            report(f"{file} was cut off after line {number}")

        for line in read_recording(file, cut_off=cut_off):
            place = f"{file}:{line.number}"
            received = None
            if line.received is not None:
                # Tehran's wall clock, as timestamps in frames are; a live feed knew the day, too.
                received = datetime.fromtimestamp(line.received / 1e6, zone).replace(tzinfo=None)
                known_day = received.date()
            try:
                frame = reader.read(line.frame, day=known_day)
            except FeedError as error:
                totals.bad_lines += 1
                report(f"{place}: {error}")
                continue
            known_day = frame.day
            yield place, frame, received


def _check(files: Sequence[Path]) -> None:
    # All of them before the first frame is sent.
    for file in files:
        if not file.is_file():
            raise FeedError(
                f"a recording must be a file, got {file}, which is not one or does not exist"
            )
