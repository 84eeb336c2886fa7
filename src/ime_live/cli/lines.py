"""Lines of a command's input, from a file or standard input, with numbers for error messages."""

from __future__ import annotations

import asyncio
import codecs
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from ime_live.errors import SettingsError, StoreError, system_reason
from ime_live.log_limiter import LogLimiter, PlainLines
from ime_live.spelling import pluralize

STANDARD_INPUT: Final = "-"

# Maximum number of lines in a batch.
_BATCH: Final = 500

# Lines that are read ahead; then a slow store pauses the reader, so that memory is bounded.
_AHEAD: Final = 2_000

# A payload has 800 bytes, a contract with all its fields 2,000.
MAX_LINE: Final = 1 << 20

Line = tuple[int, bytes | None]
"""A line's number, from 1, and its text; None for one that is longer than `MAX_LINE`."""


def name_of(source: str) -> str:
    """Return the name of the input for messages."""
    return "standard input" if source == STANDARD_INPUT else source


def open_input(source: str) -> BinaryIO:
    """Open a file, or standard input for ``-``, in binary mode: the decoder checks UTF-8.

    Raises:
        SettingsError: the file cannot be read.
    """
    if source == STANDARD_INPUT:
        if sys.stdin is None:  # its number may belong to another file by now
            raise SettingsError(f"{name_of(source)} cannot be read: it is closed")
        # Not sys.stdin itself: the interpreter closes it at exit, and aborts if a thread still
        # reads from it.
        return open(sys.stdin.fileno(), "rb", closefd=False)
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - the caller closes it
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise SettingsError(f"{source} cannot be read: {reason_of(error)}") from error
    return file


def lines_of(file: BinaryIO) -> Iterator[Line]:
    """Iterate over the non-blank lines, each as soon as it arrives."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE)
            yield number, None
            continue
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)  # as some editors write it
        if line.strip():
            yield number, line


async def batches(file: BinaryIO, name: str) -> AsyncIterator[list[Line]]:
    """Iterate over batches of the lines of `lines_of` that have arrived; close the file.

    Args:
        file: the input.
        name: name of the input, for messages.

    Raises:
        SettingsError: the file cannot be read to its end.
    """
    queue: asyncio.Queue[Line | SettingsError | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)
    loop = asyncio.get_running_loop()

    def read() -> None:
        end = None
        with suppress(RuntimeError):  # the loop is closed: no caller waits
            try:
                with file:
                    for line in lines_of(file):
                        room.acquire()
                        loop.call_soon_threadsafe(queue.put_nowait, line)
            except OSError as error:
                end = SettingsError(f"{name} cannot be read: {reason_of(error)}")
            loop.call_soon_threadsafe(queue.put_nowait, end)

    # A daemon thread: one that waits for a pipe cannot be woken, and the command must be able to
    # end nevertheless.
    threading.Thread(target=read, daemon=True).start()
    batch: list[Line] = []
    while True:
        item = await queue.get()
        if isinstance(item, tuple):
            room.release()
            batch.append(item)
        if batch and (not isinstance(item, tuple) or queue.empty() or len(batch) == _BATCH):
            yield batch
            batch = []
        if item is None:
            return
        if isinstance(item, SettingsError):
            raise item


def reason_of(error: Exception) -> str:
    """Return a short description of an error of the operating system or a decoder."""
    if isinstance(error.__cause__ or error, UnicodeDecodeError):
        return "not UTF-8"
    return system_reason(error) if isinstance(error, OSError) else str(error)


class LineReport:
    """Reports bad and refused lines, and the result at the end.

    Attributes:
        source: name of the input.
        bad: number of bad lines.
        refused: number of good lines that the store refused.
    """

    def __init__(self, source: str, write: Callable[[str], None]) -> None:
        """Create a report.

        Args:
            source: name of the input, or ``-``.
            write: writes a line.
        """
        self.source = name_of(source)
        self._write = write
        self.bad = 0
        self.refused = 0
        self._limited = LogLimiter(PlainLines(write))

    def refuse(self, number: int, reason: str) -> None:
        """Report that line ``number`` is skipped for this reason."""
        self.bad += 1
        self._write(f"{self.source}, line {number}: {reason}")

    def refuse_in_store(self, number: int, error: StoreError) -> None:
        """Report that Redis refused line ``number``; later ones are counted."""
        self.refused += 1
        self._limited.warning(f"{self.source}, line {number}: {error}", key=error.kind)

    def close(self, **counts: int) -> None:
        """Report the counts."""
        parts = [f"{count} {name}" for name, count in counts.items()]
        parts.append(pluralize(self.bad, "bad line"))
        if self.refused:
            parts.append(f"{pluralize(self.refused, 'line')} refused by Redis (publish them again)")
        self._write(", ".join(parts))
