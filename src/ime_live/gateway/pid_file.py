"""Pid file: where `ime-live drain` finds a running gateway.

The first line is the process id, the second the URL of the gateway's probes on this machine. The
gateway holds a lock on the file as long as it runs, so a file that a killed one left behind does
not lead to another process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from ime_live.errors import ImeLiveError, SettingsError
from ime_live.settings import flag

_FLAG: Final = flag("pid_file")
_MAX_SIZE: Final = 1000


class RunningGateway(Struct, frozen=True):
    """A gateway that holds a pid file.

    Attributes:
        pid: id of its main process.
        url: URL of its probes, without a path.
    """

    pid: int
    url: str


class PidFile:
    """The file."""

    def __init__(self, path: str) -> None:
        """Name the file; nothing is opened yet."""
        self._path = Path(path)

    @contextmanager
    def held(self, url: str) -> Iterator[None]:
        """Write and lock the file, and remove it at the end of the block.

        Args:
            url: URL of the gateway's probes.

        Raises:
            SettingsError: it cannot be written, or another gateway holds it.
        """
        try:
            descriptor = self._open()
            # By mistake it may name another file, which must not be lost.
            if (left := os.read(descriptor, _MAX_SIZE)) and _parsed(left) is None:
                raise SettingsError(f"{_FLAG} must name a pid file or a new file, got {self._path}")
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n{url}\n".encode(), 0)
        except BlockingIOError as error:
            raise SettingsError(
                f"{_FLAG} must name a file that no other gateway uses, got {self._path}"
            ) from error
        except OSError as error:
            raise SettingsError(f"{_FLAG} {self._path}: {_words(error)}") from error
        try:
            yield
        finally:
            # Before the lock is given up: after that it may be another gateway's.
            self._path.unlink(missing_ok=True)
            os.close(descriptor)

    def _open(self) -> int:
        """Open and lock the file; raises BlockingIOError if another process has locked it."""
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_at_path(descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # it was removed by the gateway that held it

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def read(self) -> RunningGateway:
        """Return the gateway that holds the file.

        Raises:
            SettingsError: the file cannot be read.
            ImeLiveError: no gateway holds it.
        """
        try:
            with self._path.open("rb") as file:
                if not _is_locked(file.fileno()):
                    raise ImeLiveError(f"no gateway runs with {_FLAG} {self._path}")
                found = _parsed(file.read(_MAX_SIZE))
        except FileNotFoundError as error:
            raise ImeLiveError(f"no gateway runs with {_FLAG} {self._path}") from error
        except OSError as error:
            raise SettingsError(f"{_FLAG} {self._path}: {_words(error)}") from error
        if found is None:
            raise SettingsError(f"{_FLAG} must name the pid file of a gateway, got {self._path}")
        return found


def _parsed(content: bytes) -> RunningGateway | None:
    lines = content.decode("utf-8", "replace").splitlines()
    if len(lines) == 2 and lines[0].isdecimal() and lines[1].startswith("http://"):
        return RunningGateway(int(lines[0]), lines[1])
    return None


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
