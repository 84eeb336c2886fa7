"""Replay: recorded frames of the exchange's hub in, contracts and changed states out.

It paces a recording by the stamps in its frames, reads them as a live feed would, and passes on
what changed. It knows neither the store nor the hub: contracts go to a function it is given,
states to a publisher. Dates and times in the states stay those of the recording.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from ime_live.errors import FeedError
from ime_live.feeds.boards import DEFAULT_BANDS, DEFAULT_BOARDS, Bands, Frame, read_frame
from ime_live.feeds.intake import Intake, Publishes, Register, Totals

LONGEST_PAUSE: Final = timedelta(seconds=60)
"""Between two frames, at speed 1: a night between two recordings is not waited for."""

LATE: Final = timedelta(minutes=10)
"""A frame this much behind the ones before it begins another stretch of time. Less is a board
that is pushed later than others: receipts were 28 s behind and ahead of futures."""

PAUSE_BETWEEN_ROUNDS: Final = 1.0
"""Seconds at speed 1 before a recording begins anew."""


async def replay(
    files: Sequence[Path],
    publisher: Publishes,
    register: Register,
    *,
    speed: float = 1.0,
    loop: bool = False,
    day: date | None = None,
    boards: Collection[str] = DEFAULT_BOARDS,
    bands: Bands = DEFAULT_BANDS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    report: Callable[[str], None] = print,
) -> Totals:
    """Publish what recorded frames say, as fast as they came.

    Args:
        files: recordings in their order: a frame a line, ``.gz`` compressed.
        publisher: takes the states.
        register: takes contracts, on sight and whenever they changed.
        speed: 2 is twice as fast as recorded; 0 is as fast as it goes.
        loop: begin anew at the end, until cancelled. ``report`` then gets each round's totals.
        day: the day of warehouse receipts until a frame of the file tells it.
        boards: see `read_frame`.
        bands: see `read_frame`.
        sleep: waits for some seconds.
        report: takes a line about each bad line or frame with rows that were refused.

    Returns:
        The totals, which a loop never comes to.

    Raises:
        FeedError: a file is missing or cannot be read, or there is not one frame in the files.
        StoreError: from the publisher.
    """
    if not 0 <= speed < float("inf"):
        raise FeedError(f"speed {speed} is not 0 or more")
    _check(files)
    intake = Intake(publisher, register)
    while True:
        totals = intake.totals = Totals()
        mark: datetime | None = None
        for place, frame in _frames(files, day, boards, bands, totals, report):
            pause, mark = pace(mark, frame.clock)
            # Even without a pause: others must get their turn on the event loop.
            await sleep(pause / speed if speed else 0)
            if refusal := await intake.take(frame):
                report(f"{place}: {refusal}")
        if not totals.frames:
            raise FeedError(f"no frame in {', '.join(map(str, files)) or 'no files'}")
        if not loop:
            return totals
        report(f"replayed {totals}")
        await sleep(PAUSE_BETWEEN_ROUNDS / speed if speed else 0)


def pace(mark: datetime | None, clock: datetime | None) -> tuple[float, datetime | None]:
    """How long to wait for a frame, in seconds at speed 1, and the new latest time.

    Args:
        mark: the latest time of the frames before it.
        clock: the latest stamp in it.
    """
    if clock is None:
        return 0.0, mark
    if mark is None or mark - clock > LATE:
        return 0.0, clock
    gap = min(max(clock - mark, timedelta()), LONGEST_PAUSE)
    return gap.total_seconds(), max(mark, clock)


def _frames(
    files: Sequence[Path],
    day: date | None,
    boards: Collection[str],
    bands: Bands,
    totals: Totals,
    report: Callable[[str], None],
) -> Iterator[tuple[str, Frame]]:
    """The frames of the files, each with its place; lines that are none are counted and told."""
    for file in files:
        known = day  # a day does not carry over: the next file may be of any other
        for number, line in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            place = f"{file}:{number}"
            try:
                frame = read_frame(line, day=known, boards=boards, bands=bands)
            except FeedError as error:
                totals.bad_lines += 1
                report(f"{place}: {error}")
                continue
            known = frame.day
            yield place, frame


def _check(files: Sequence[Path]) -> None:
    # All of them before the first frame is sent.
    for file in files:
        if not file.is_file():
            raise FeedError(f"no such recording: {file}")


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            yield from lines
    except (OSError, EOFError, zlib.error) as error:
        raise FeedError(f"recording {file} cannot be read: {error}") from error
