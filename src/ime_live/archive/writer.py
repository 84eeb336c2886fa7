"""Archive writer: append the states of a stream to one file per day, without duplicates.

A state belongs to the file of the day of its timestamp. Lines wait in memory until `flush`, which
appends one gzip member per file and syncs it to the disk. After a kill, the unfinished member is
cut off. The newest file has the last recorded state of each contract.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import BinaryIO, Final

from ime_live.archive.day_file import Cut, DayFile, day_files, file_of, read_members
from ime_live.archive.line import FORMAT, event, opening, read_line
from ime_live.contracts import Contract
from ime_live.errors import FeedError, system_reason

LOCK: Final = ".lock"
"""Lock file in the folder, against a second recorder."""

_STAMP: Final = len("2026-05-23T15:10:00.000001")


Batch = list[tuple[DayFile, list[bytes]]]
"""Lines to append to files."""


class ArchiveWriter:
    """Writes an archive; use it as a context manager.

    Attributes:
        states: number of states taken.
        size: bytes written by this writer.
        last_time: timestamp of the newest line that an earlier run has left; empty if there is
            none.
    """

    def __init__(self, folder: Path, *, report: Callable[[str], None] = lambda _: None) -> None:
        """Open or create an archive, and repair the file of a killed recorder.

        Args:
            folder: the folder of its files.
            report: takes a line about each repair.

        Raises:
            FeedError: the folder cannot be used, or another process is recording to it.
        """
        self.states = 0
        self.size = 0
        self.last_time = ""
        self._folder = folder
        self._report = report
        self._files: dict[str, DayFile] = {}
        self._newest = ""
        self._last: dict[str, tuple[str, bytes]] = {}
        """By contract id: timestamp and message of its newest state, on the disk or waiting."""
        self._contracts: dict[str, Contract] = {}
        self._waiting = 0
        self._failed = False
        with self._errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
        try:
            self._resume()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            self.close()
        except FeedError:
            if kind is None:  # else the block has failed, probably for the same reason
                raise

    @property
    def last(self) -> Mapping[str, str]:
        """By contract id, the timestamp of its newest state."""
        return {i: timestamp for i, (timestamp, _) in self._last.items()}

    @property
    def day(self) -> str:
        """The newest day; empty before the first state."""
        return self._newest

    @property
    def waiting(self) -> int:
        """Size of the lines that are not written to the disk yet [bytes]."""
        return self._waiting

    def take(self, contract_id: str, timestamp: str, message: bytes) -> bool:
        """Add a state, if it is new.

        Args:
            contract_id: id of its contract.
            timestamp: its timestamp, as the gateway sent it.
            message: the message, JSON on one line.

        Returns:
            Whether it is new. A state that is not newer than the last one of its contract is not
            written.

        Raises:
            FeedError: the timestamp cannot be one, or the file of its day cannot be read.
        """
        day = timestamp[:10]
        if day not in self._files:
            self._find(day, timestamp)
        if timestamp <= self._last.get(contract_id, ("",))[0]:
            return False
        if day not in self._files:
            self._begin(day)
        self._last[contract_id] = timestamp, message
        self.states += 1
        self._put(day, message)
        if day != self._newest:
            # The next run, and a playback, read the last state of each contract in this file only.
            self._put(self._newest, opening(message))
        return True

    def note_contract(self, contract: Contract) -> bool:
        """Note the static data of a contract; return whether it is new or has changed."""
        if self._contracts.get(contract.contract_id) == contract:
            return False
        self._contracts[contract.contract_id] = contract
        if self._newest:
            self._put(self._newest, _contract_line(contract))
        return True

    def note(self, name: str, timestamp: str, **fields: str) -> None:
        """Write an event of the recorder after the last line; before the first state, drop it."""
        if self._newest:
            self._put(self._newest, event(name, timestamp=timestamp, **fields))

    def swap(self) -> Batch:
        """Return the waiting lines for `write`, and start a new list.

        Raises:
            FeedError: the folder cannot be read.
        """
        self._waiting = 0
        batch: Batch = []
        if self._failed:
            return batch  # lines are missing, so no other may follow
        with self._errors():
            # Older days first: the newest file must not refer to a state that is not on the disk.
            for day in sorted(self._files):
                file = self._files[day]
                if file.lines:
                    if file.end and not file.exists():
                        self._report(f"{file.path} has been removed; creating it again")
                        file.close()
                        file.end = 0
                        file.lines = [*self._beginning(day), *file.lines]
                    batch.append((file, file.lines))
                    file.lines = []
                elif day != self._newest:
                    self._files.pop(day).close()
        return batch

    def write(self, batch: Batch) -> None:
        """Write the lines of `swap` to the disk; one call at a time, in any thread.

        Raises:
            FeedError: they cannot be written, as on a full disk. The files end with the lines of
                earlier calls, and are good. Nothing more is written.
        """
        self._failed = True
        with self._errors():
            for file, lines in batch:
                self.size += file.append(lines)
        self._failed = False

    def flush(self) -> None:
        """Write all lines to the disk; raises FeedError as `write`."""
        self.write(self.swap())

    def close(self) -> None:
        """Write all lines to the disk, and release the lock of the archive.

        Raises:
            FeedError: as `flush`.
        """
        try:
            self.flush()
        finally:
            for file in self._files.values():
                file.close()
            self._lock.close()

    def _locked(self) -> BinaryIO:
        lock = (self._folder / LOCK).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise FeedError(
                f"recording {self._folder} is being written by another process"
            ) from None
        except OSError:
            pass  # a file system without locks
        return lock

    def _resume(self) -> None:
        for day, path in reversed(day_files(self._folder)):
            if self._scan(day, path):
                self._newest = day
                return

    def _find(self, day: str, timestamp: str) -> None:
        """Check a day, and read its file if it exists."""
        try:
            good = len(timestamp) == _STAMP and date.fromisoformat(day).isoformat() == day
        except ValueError:
            good = False
        if not good:
            raise FeedError(
                "a recorded timestamp must have the form 2026-05-23T15:10:00.000001, "
                f"got {timestamp!r}"
            )
        path = file_of(self._folder, day)
        if path.exists():
            self._scan(day, path)

    def _begin(self, day: str) -> None:
        """Start the file of a day with the last states of the days before."""
        self._files[day] = DayFile(file_of(self._folder, day))
        for line in self._beginning(day):
            self._put(day, line)
        self._newest = max(self._newest, day)

    def _scan(self, day: str, path: Path) -> bool:
        """Read an earlier file, and cut off an incomplete end; return whether lines are left."""
        file = DayFile(path)
        cuts: list[Cut] = []
        for member in read_members(path, cut=cuts.append):
            file.end = member.end
            for text in member.lines:
                self._learn(path, text)
        for cut in cuts:
            with self._errors():
                self._repair(path, cut)
        if file.end:
            self._files[day] = file
        return file.end > 0

    def _learn(self, path: Path, text: bytes) -> None:
        try:
            line = read_line(text)
            self.last_time = max(self.last_time, line.timestamp)
            if line.event == "opening":
                text = bytes(line.state)
                line = read_line(text)
        except FeedError as error:
            self._report(f"{path}: {error}")
            return
        if line.format > FORMAT:
            raise FeedError(
                f"recording {path} must have format {FORMAT}, got {line.format}; update ime-live"
            )
        if line.contract is not None:
            self._contracts[line.contract.contract_id] = line.contract
        if line.is_state and line.timestamp > self._last.get(line.contract_id, ("",))[0]:
            self._last[line.contract_id] = line.timestamp, text

    def _repair(self, path: Path, cut: Cut) -> None:
        size = path.stat().st_size
        if cut.damaged:
            beside = path.with_name(f"{path.name}.damaged-{cut.offset}")
            with path.open("rb") as file:
                file.seek(cut.offset)
                beside.write_bytes(file.read())
            self._report(
                f"{path} is damaged after byte {cut.offset} ({cut.reason}); "
                f"the rest is kept in {beside.name}"
            )
        else:
            self._report(
                f"{path} was not finished; {size - cut.offset} bytes at its end are cut off"
            )
        os.truncate(path, cut.offset)

    def _beginning(self, day: str) -> Iterator[bytes]:
        """Return the first lines of a file, with which it can be read without the other files."""
        yield event("header", format=FORMAT, day=day)
        for contract in self._contracts.values():
            yield _contract_line(contract)
        for timestamp, message in self._last.values():
            if timestamp[:10] < day:
                yield opening(message)

    def _put(self, day: str, line: bytes) -> None:
        self._files[day].lines.append(line)
        self._waiting += len(line)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert operating system errors to a FeedError that names the folder."""
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            raise FeedError(
                f"recording {self._folder} cannot be written: {system_reason(error)}"
            ) from error


def _contract_line(contract: Contract) -> bytes:
    return event("contract", contract=contract)
