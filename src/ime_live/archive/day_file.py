"""Day file: append lines to a file as gzip members, read them, and find an incomplete end.

The recorder appends one gzip member (RFC 1952, section 2.2) at a time. So a file that is still
being written can be read, and a process that was killed leaves an unfinished member at most.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from ime_live.errors import FeedError, system_reason

SUFFIX: Final = ".ndjson.gz"

HEADER: Final = b"\x1f\x8b\x08" + bytes(6)
"""First bytes of each member that `compressed` returns: no time, and this level."""

_NAME: Final = re.compile(r"(\d{4}-\d{2}-\d{2})" + re.escape(SUFFIX), re.ASCII)

_LEVEL: Final = 6  # of zlib
_CHUNK: Final = 1 << 16  # bytes read at once
_GZIP: Final = 31  # window bits of zlib for a gzip header
_MAX_HELD: Final = 1 << 26
"""Bytes of a member's lines that are held until its checksum has proved them. Only another program
writes longer members; their lines are given out before."""
_MAX_LINE: Final = 1 << 24  # bytes of a line; the longest message has 64 KiB


class Cut(Struct, frozen=True):
    """The end of a file that cannot be read.

    Attributes:
        offset: bytes of the file before it, which are whole members.
        reason: why it cannot be read.
        damaged: False if a member is only unfinished: its writer was killed, or still writes.
    """

    offset: int
    reason: str
    damaged: bool


class Member(Struct, frozen=True):
    """Lines of one member.

    Attributes:
        lines: the lines that are not blank, without their ends.
        end: bytes of the file up to the end of the member.
    """

    lines: list[bytes]
    end: int


def day_files(folder: Path) -> list[tuple[str, Path]]:
    """Return the files of an archive with their days, the oldest first.

    Raises:
        FeedError: the folder cannot be read.
    """
    try:
        named = [(match[1], file) for file in folder.iterdir() if (match := _is_day(file.name))]
    except OSError as error:
        raise FeedError(f"recording {folder} cannot be read: {system_reason(error)}") from error
    return sorted(named)


def file_of(folder: Path, day: str) -> Path:
    """Return the path of a day's file."""
    return folder / f"{day}{SUFFIX}"


def _is_day(name: str) -> re.Match[str] | None:
    match = _NAME.fullmatch(name)
    if match is not None:
        try:
            date.fromisoformat(match[1])
        except ValueError:
            return None
    return match


def read_members(path: Path, *, cut: Callable[[Cut], None]) -> Iterator[Member]:
    """Read a file, member by member.

    Args:
        path: the file.
        cut: called at the end if the rest of the file cannot be read.

    Raises:
        FeedError: the file cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            yield from _members(file, cut)
    except OSError as error:
        raise FeedError(f"recording {path} cannot be read: {system_reason(error)}") from error


def _members(file: BinaryIO, cut: Callable[[Cut], None]) -> Iterator[Member]:
    end = 0
    rest = b""
    while rest := rest or file.read(_CHUNK):
        unpack = zlib.decompressobj(_GZIP)
        lines: list[bytes] = []
        size, line = 0, b""
        began = end
        while not unpack.eof:
            try:
                text = unpack.decompress(rest)
            except zlib.error as error:
                cut(Cut(began, str(error), damaged=not _is_blank(file, began)))
                return
            end += len(rest) - len(unpack.unused_data)
            rest = b""
            *complete, line = (line + text).split(b"\n")
            lines += filter(bytes.strip, complete)
            size += len(text)
            if len(line) > _MAX_LINE:
                reason = f"a line must have at most {_MAX_LINE} bytes"
                cut(Cut(began, reason, damaged=True))
                return
            if size > _MAX_HELD:
                yield Member(lines, began)
                lines, size = [], 0
            if not unpack.eof and not (rest := file.read(_CHUNK)):
                reason = "the last member is not finished"
                cut(Cut(began, reason, damaged=_has_member(file, began + 1)))
                return
        rest = unpack.unused_data
        if line.strip():
            lines.append(line)
        yield Member(lines, end)


def _is_blank(file: BinaryIO, began: int) -> bool:
    # A machine that lost its power may leave zeros where a member should be.
    file.seek(began)
    while chunk := file.read(_CHUNK):
        if chunk.strip(b"\0"):
            return False
    return True


def compressed(lines: list[bytes]) -> bytes:
    """Return a member with these lines."""
    return zlib.compress(b"\n".join(lines) + b"\n", _LEVEL, _GZIP)


def _has_member(file: BinaryIO, begin: int) -> bool:
    # Damage may look as if the member went on to the end of the file.
    file.seek(begin)
    before = b""
    while chunk := file.read(_CHUNK):
        if HEADER in before + chunk:
            return True
        before = chunk[-len(HEADER) :]
    return False


class DayFile:
    """A file that lines are appended to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: BinaryIO | None = None
        self.end = 0
        """Bytes of whole members."""
        self.lines: list[bytes] = []

    def append(self, lines: list[bytes]) -> int:
        """Append one member and flush it to the disk; return its size in bytes.

        Raises:
            OSError: it cannot be written; the file is as before.
        """
        if self.file is None:
            self.file = open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")  # noqa: PTH123, SIM115 - opened without truncating it, and kept
            _sync_folder(self.path.parent)
        member = compressed(lines)
        try:
            self.file.seek(self.end)
            self.file.write(member)
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError:
            self.close()  # its buffer would be written again
            with suppress(OSError):
                os.truncate(self.path, self.end)
            raise
        self.end += len(member)
        return len(member)

    def exists(self) -> bool:
        """Return whether the open file still exists under its name."""
        if self.file is None:
            return self.path.exists()
        try:
            return os.path.samestat(os.fstat(self.file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close the file; `append` opens it again."""
        file, self.file = self.file, None
        if file is not None:
            with suppress(OSError):
                file.close()


def _sync_folder(folder: Path) -> None:
    # The name of a new file must survive a loss of power as well.
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
