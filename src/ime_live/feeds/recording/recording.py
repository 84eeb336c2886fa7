"""Recordings: write frames to rotating files, and read them.

A line is a frame with the time of its arrival: ``{"received":<microseconds>,"frame":{…}}``. The
bytes of the frame are kept. Lines that are bare frames can be read as well.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import IO, Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import FeedError, system_reason

GZIP: Final = ".gz"

_STAMP: Final = "%Y%m%dT%H%M%S"
_FINISHED: Final = re.compile(r"-(\d{8}T\d{6})(?:-([1-9]\d*))?", re.ASCII)
"""Part of a finished file's name: its start, and a number if several began at that time."""

_LEVEL: Final = 6  # of zlib; level 4 takes half the CPU and 23 % more room

_RECORDED: Final = re.compile(rb'\{"received":(-?\d{1,18}),"frame":(.*)\}', re.DOTALL)


class Recorded(Struct, frozen=True):
    """One line of a recording.

    Attributes:
        number: number of the line, from 1.
        frame: the frame.
        received: time of its arrival, in microseconds since the Unix epoch; None if the line has
            none.
    """

    number: int
    frame: bytes
    received: int | None = None


class Recorder:
    """Writes a recording; its present file is ``path``, finished ones have a time in their name."""

    def __init__(
        self,
        path: Path,
        zone: ZoneInfo,
        *,
        size: int,
        keep: int = 0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Begin a recording. An existing file is renamed first: its end may be incomplete.

        Args:
            path: the file; compressed if it ends in ``.gz``.
            zone: time zone whose midnight begins a new file.
            size: bytes of frames after which a new file begins.
            keep: number of finished files to keep; 0 keeps all of them.
            clock: the machine's clock.

        Raises:
            FeedError: it cannot be written, or another process is recording to it.
        """
        self._path = path
        self._zone = zone
        self._size = size
        self._keep = keep
        self._clock = clock
        self._file: IO[bytes] | None = None
        self._lines: IO[bytes] | gzip.GzipFile | None = None
        """Stream for the lines: the file, or a compressor in front of it."""
        self._began = 0.0
        self._day: date | None = None
        self._written = 0
        self._whole = 0
        """Bytes of the file up to the end of its last whole line."""
        self._ended = False
        self._stem, dot, rest = path.name.partition(".")
        self._suffix = dot + rest
        with self._errors():
            self._move_existing()
            self._open()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def write(self, frame: bytes) -> None:
        """Write a frame that has just arrived.

        After an error the recording continues in a new file with the next frame that can be
        written; earlier frames stay.

        Raises:
            FeedError: it cannot be written, as on a full disk, or in a folder that was removed.
        """
        if self._ended:
            raise FeedError(f"recording {self._path} has ended")
        with self._errors():
            try:
                self._write(frame)
            except (OSError, ValueError):
                self._abandon()
                raise

    def _write(self, frame: bytes) -> None:
        now = self._clock.time()
        day = datetime.fromtimestamp(now, self._zone).date()
        if self._file is not None and not os.fstat(self._file.fileno()).st_nlink:
            self._close()  # the file was removed: later lines would be lost
        if self._lines is None:
            self._move_existing()
            self._open()
        elif self._written and (self._written >= self._size or day != self._day):
            self._rotate()
        assert self._lines is not None and self._file is not None  # noqa: PT018, S101 - just opened
        if not self._written:
            self._began = now
            self._day = day
        # JSON has line feeds between its tokens only.
        text = frame.replace(b"\r", b" ").replace(b"\n", b" ")
        self._lines.write(b'{"received":%d,"frame":%b}\n' % (round(now * 1e6), text))
        # After each frame, so that a crash loses nothing. The 14 recorded frames take as much time
        # and room as without it (10 ms, 66 kB); small frames take 11 % more room at worst.
        self._lines.flush()
        self._whole = self._file.tell()
        self._written += len(text)

    def _abandon(self) -> None:
        """Close the file after an error with its complete lines; remove it if it has none."""
        with suppress(OSError):
            in_place = self._is_in_place()
            with suppress(OSError, ValueError):
                self._close()
            if in_place and self._written:
                os.truncate(self._path, self._whole)
            elif in_place:
                self._path.unlink()
        self._file = self._lines = None

    def close(self) -> None:
        """End the recording; a file without a frame is removed.

        Raises:
            FeedError: its end cannot be written.
        """
        self._ended = True
        with self._errors():
            in_place = self._is_in_place()
            self._close()
            if in_place and not self._written:
                self._path.unlink()

    def _move_existing(self) -> None:
        """Rename an existing file."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        # A folder could be renamed as well, and so could /dev/null.
        if not stat.S_ISREG(status.st_mode):
            raise FeedError(f"recording {self._path} cannot be written: it is not a file")
        with self._path.open("rb") as file:
            self._lock(file)
        if _holds_nothing(self._path):
            self._path.unlink()
            return
        began = status.st_mtime
        try:
            first = next(iter(read_recording(self._path)), None)
        except FeedError:
            first = None  # any file is renamed, never deleted
        if first is not None and first.received is not None:
            began = first.received / 1e6
        self._finish_file(began)

    def _open(self) -> None:
        self._file = self._path.open("xb")
        try:
            self._lock(self._file)
        except FeedError:
            self._close()
            raise
        self._written = 0
        self._lines = self._file
        if self._path.suffix == GZIP:
            self._lines = gzip.GzipFile("", "wb", _LEVEL, self._file)

    def _lock(self, file: IO[bytes]) -> None:
        """Lock the file against other recorders; the lock ends with the process."""
        kind = fcntl.LOCK_SH if file.mode == "rb" else fcntl.LOCK_EX
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FeedError(f"recording {self._path} is being written by another process") from None
        except OSError:
            pass  # a file system without locks

    def _rotate(self) -> None:
        in_place = self._is_in_place()
        self._close()
        if in_place:
            self._finish_file(self._began)
        self._open()

    def _is_in_place(self) -> bool:
        """Return whether the open file still has its name: it may have been moved."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False
        return self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), status)

    def _close(self) -> None:
        file, self._file = self._file, None
        lines, self._lines = self._lines, None
        try:
            if lines is not None:
                lines.close()
        finally:
            if file is not None:
                file.close()

    def _finish_file(self, began: float) -> None:
        timestamp = datetime.fromtimestamp(began, self._zone).strftime(_STAMP)
        # Above all others, even deleted ones, so that names are in order of time.
        used = [number for at, number, _ in self._finished() if at == timestamp]
        number = 1 + max(used, default=0)
        while (target := self._finished_path(timestamp, number)).exists():
            number += 1
        self._path.rename(target)
        if self._keep:
            for _, _, old in self._finished()[: -self._keep]:
                old.unlink(missing_ok=True)

    def _finished_path(self, timestamp: str, number: int) -> Path:
        counted = f"-{number}" if number > 1 else ""
        return self._path.with_name(f"{self._stem}-{timestamp}{counted}{self._suffix}")

    def _finished(self) -> list[tuple[str, int, Path]]:
        """Return the finished files with timestamp and number, the oldest first."""
        files: list[tuple[str, int, Path]] = []
        for file in self._path.parent.iterdir():
            name = file.name
            if name.startswith(self._stem) and name.endswith(self._suffix) and file.is_file():
                middle = name[len(self._stem) : len(name) - len(self._suffix)]
                if match := _FINISHED.fullmatch(middle):
                    files.append((match[1], int(match[2] or 1), file))
        return sorted(files)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert operating system errors to a FeedError that names the file."""
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            raise FeedError(
                f"recording {self._path} cannot be written: {system_reason(error)}"
            ) from error


def read_recording(
    path: Path, *, cut_off: Callable[[int], None] = lambda _: None
) -> Iterator[Recorded]:
    """Read a recording or bare frames, one per line; ``.gz`` is decompressed.

    Lines are yielded unchecked: the caller finds out whether a line is a frame.

    Args:
        path: the file.
        cut_off: called with the number of whole lines if the file ends in the middle, because its
            writer was killed or is still writing.

    Raises:
        FeedError: it cannot be read.
    """
    complete = 0
    try:
        with gzip.open(path) if path.suffix == GZIP else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if _is_cut(line):
                    cut_off(complete)
                    return
                complete = number
                if line.strip():
                    yield _recorded(number, line)
    except EOFError:
        cut_off(complete)
    except (OSError, ValueError, zlib.error) as error:
        raise FeedError(f"recording {path} cannot be read: {error}") from error


def _is_cut(line: bytes) -> bool:
    # Only the last line may lack a line feed. It is complete if its JSON is.
    if line.endswith(b"\n") or not line.lstrip().startswith(b"{"):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False


class _Line(Struct, forbid_unknown_fields=True):
    received: int
    frame: msgspec.Raw


_read_line = msgspec.json.Decoder(_Line).decode


def _recorded(number: int, line: bytes) -> Recorded:
    line = line.strip()
    # By its form, not as JSON: a frame that is not valid JSON is returned as it was recorded.
    if match := _RECORDED.fullmatch(line):
        return Recorded(number, match[2], int(match[1]))
    if line.startswith(b'{"received"'):
        try:
            record = _read_line(line)  # a recorded line that another program has reformatted
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return Recorded(number, line)
        return Recorded(number, bytes(record.frame), record.received)
    return Recorded(number, line)


def _holds_nothing(path: Path) -> bool:
    try:
        with gzip.open(path) if path.suffix == GZIP else path.open("rb") as content:
            return not content.read(1)
    except EOFError:
        return True  # its writer was killed before the first frame
    except (OSError, zlib.error):
        return False
