"""Pid file, by which `ime-live drain` finds a running gateway.

The first line is the process id, the second the URL of the gateway's probes on this machine. The
gateway locks the file while it runs. So the file of a killed gateway, whose process id another
process may have now, is ignored.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from ime_live.errors import ImeLiveError, SettingsError, system_reason
from ime_live.settings import flag

_FLAG: Final = flag("pid_file")
_MAX_SIZE: Final = 1000


class RunningGateway(Struct, frozen=True):
    """A running gateway with a pid file.

    Attributes:
        pid: process id of the main process.
        url: URL of the probes, without a path.
    """

    pid: int
    url: str


class PidFile:
    """A pid file at a path, to be written by a gateway or read by another program."""

    def __init__(self, path: str) -> None:
        """Set the path; nothing is opened yet."""
        self._path = Path(path)

    @contextmanager
    def held(self, url: str) -> Iterator[None]:
        """Write and lock the file, and remove it at the end of the block.

        Args:
            url: URL of the gateway's probes.

        Raises:
            SettingsError: the file cannot be written, or another gateway has locked it.
        """
        try:
            descriptor = self._open()
            # By mistake the path may be that of another file, which must not be overwritten.
            if (content := os.read(descriptor, _MAX_SIZE)) and _parse(content) is None:
                raise SettingsError(f"{_FLAG} must name a pid file or a new file, got {self._path}")
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n{url}\n".encode(), 0)
        except BlockingIOError as error:
            raise SettingsError(
                f"{_FLAG} must name a file that no other gateway uses, got {self._path}"
            ) from error
        except OSError as error:
            raise SettingsError(
                f"{_FLAG} {self._path} cannot be used: {system_reason(error)}"
            ) from error
        try:
            yield
        finally:
            # Before the lock is released: after that, another gateway may use the file.
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
            os.close(descriptor)  # the gateway that had locked the file has removed it

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def read(self) -> RunningGateway:
        """Return the gateway that has locked the file.

        Raises:
            SettingsError: the file cannot be read, or is no pid file.
            ImeLiveError: no gateway has locked the file.
        """
        try:
            with self._path.open("rb") as file:
                if not _is_locked(file.fileno()):
                    raise ImeLiveError(f"no gateway runs with {_FLAG} {self._path}")
                gateway = _parse(file.read(_MAX_SIZE))
        except FileNotFoundError as error:
            raise ImeLiveError(f"no gateway runs with {_FLAG} {self._path}") from error
        except OSError as error:
            raise SettingsError(
                f"{_FLAG} {self._path} cannot be used: {system_reason(error)}"
            ) from error
        if gateway is None:
            raise SettingsError(f"{_FLAG} must name the pid file of a gateway, got {self._path}")
        return gateway


def _parse(content: bytes) -> RunningGateway | None:
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
