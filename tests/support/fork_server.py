"""A fork server: processes of ``ime-live`` that do not import everything again.

A start of ``ime-live`` costs 0.4 to 0.8 s of CPU, nearly all of it for imports, and the tests start
hundreds. So a server process imports all modules once, and each `ForkedProcess` is a fork of it: a
process of its own, with its own arguments, environment, folder and files, and a child of the tests
as any other. Tests of the start itself run ``python -m ime_live``.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, AnyStr, Final, NoReturn

import typer

_ROOT: Final = Path(__file__).parents[2]
_PREFIXES: Final = ("PYTHON", "LC_", "LANG", "TZ")
_WARNINGS: Final = "PYTHONWARNINGS"
"""Variables that Python reads when it starts, before there is a program. The last one is done by
each fork, so that there is one server as a rule."""

_LARGEST_REQUEST: Final = 200_000  # bytes; the kernel's limit for one message is somewhat higher
_PR_SET_CHILD_SUBREAPER: Final = 36


class ForkServer:
    """A process that has imported all of ``ime_live``, and forks on request."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this module
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=_ROOT,
                env=environment,
                pass_fds=[theirs.fileno()],
                # Pipes, as standard files are made for what they are when Python starts.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )

    def fork(self, request: dict[str, Any], files: Sequence[int]) -> int:
        """Start a process with these standard files, as a child of ours; its process id."""
        prctl = ctypes.CDLL(None).prctl
        with self._lock:
            # A process whose parent has ended becomes a child of the nearest subreaper.
            prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                socket.send_fds(self._connection, [json.dumps(request).encode()], files)
                answer = self._connection.recv(100)
            finally:
                prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        assert answer, "the fork server has ended; its standard error says why"
        return int(answer)

    def close(self) -> None:
        """End it; the processes that it has started go on."""
        self._connection.close()
        self._process.communicate()


_servers: dict[frozenset[tuple[str, str]], ForkServer] = {}


def _server_for(environment: Mapping[str, str]) -> ForkServer:
    """The server whose Python was started with the same variables."""
    key = frozenset(
        pair
        for pair in environment.items()
        if pair[0].startswith(_PREFIXES) and pair[0] != _WARNINGS
    )
    if (server := _servers.get(key)) is None:
        ours = {k: v for k, v in os.environ.items() if not k.startswith((*_PREFIXES, "IME_LIVE_"))}
        server = _servers[key] = ForkServer(ours | dict(key))
        atexit.register(server.close)
    return server


class ForkedProcess(subprocess.Popen[AnyStr]):
    """``python -m module …`` by the fork server; elsewhere than on Linux, a new process."""

    def __init__(self, module: str, arguments: Sequence[str], **options: Any) -> None:  # noqa: ANN401
        """Start it.

        Args:
            module: what is run.
            arguments: of its command line.
            options: as of `subprocess.Popen`: standard files, ``env``, ``cwd``, ``text`` and
                ``start_new_session``.
        """
        super().__init__([sys.executable, "-m", module, *arguments], **options)

    if sys.platform == "linux":

        def _execute_child(self, args: list[str], *given: Any) -> None:  # noqa: ANN401
            """Start the process; `subprocess.Popen` has made the pipes."""
            _, preexec_fn, _, pass_fds, cwd, env, _, _, shell, *pipes = given[:-7]
            _, gid, gids, uid, umask, new_session, group = given[-7:]
            assert not any((preexec_fn, pass_fds, shell)), "a fork cannot do this"
            assert {gid, gids, uid, umask, group} <= {None, -1}, "a fork cannot do this"
            environment = dict(os.environ if env is None else env)
            request = {
                "module": args[2],
                "arguments": args[3:],
                "environment": environment,
                "folder": os.fspath(cwd or Path.cwd()),
                "new_session": new_session,
            }
            stdin, _, _, stdout, _, stderr = pipes
            files = [
                theirs if theirs >= 0 else n for n, theirs in enumerate((stdin, stdout, stderr))
            ]
            try:
                self.pid = _server_for(environment).fork(request, files)
                self._child_created = True
            finally:
                self._close_pipe_fds(*pipes)  # type: ignore[attr-defined] # of Popen


def _import_all() -> None:
    import ime_live

    for module in pkgutil.walk_packages(ime_live.__path__, "ime_live."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    # Modules that commands import when they run.
    for name in ("holidays", "httpx", "prometheus_client", "rich.table", "uvloop"):
        importlib.import_module(name)
    command = typer.Typer()
    command.command()(_read_an_option)
    command([], standalone_mode=False)


def _read_an_option(option: str = "") -> None:
    """Do nothing, but typer has imported pydantic then."""


def _wait_for_request(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork at each request; return it in the child. Exit when nobody can make one any more."""
    while True:
        message, files, *_ = socket.recv_fds(connection, _LARGEST_REQUEST, 3)
        if not message:
            sys.exit()
        reader, writer = os.pipe()
        between = os.fork()
        if not between:
            if child := os.fork():
                os.write(writer, str(child).encode())
                os._exit(0)
            os.close(reader)
            os.close(writer)
            return json.loads(message), files
        os.close(writer)
        for file in files:
            os.close(file)
        os.waitpid(between, 0)  # now the child is the tests'
        connection.send(os.read(reader, 100))
        os.close(reader)


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Be what a new process is when Python runs its module."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    if request["new_session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    if action := os.environ.get(_WARNINGS):
        warnings.simplefilter(action)  # type: ignore[arg-type] # "error", as a rule
        sys.warnoptions.append(action)
    os.chdir(request["folder"])
    tempfile.tempdir = None
    sys.path[0] = request["folder"]
    sys.argv[1:] = request["arguments"]


def _main(number: int) -> str:
    """Serve; in each process that is asked for, return the module to run."""
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_all()
    assert threading.active_count() == 1, "a fork has one thread only"
    gc.collect()
    gc.freeze()  # else each fork's collections would write to all objects, and so copy them
    with closing(socket.socket(fileno=number)) as connection:
        request, files = _wait_for_request(connection)
    _become(request, files)
    signal.signal(signal.SIGINT, on_interrupt)
    return str(request["module"])


def _exit(status: int) -> NoReturn:
    """End as Python does, but leave it to the kernel to free the memory: that takes 0.08 s less."""
    # As multiprocessing does in its forks; Python has no public function for it.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()  # tells of what was not closed
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)  # it finds the same, and says so
    os._exit(status)


if __name__ == "__main__":
    _module = _main(int(sys.argv[1]))
    try:
        runpy.run_module(_module, run_name="__main__", alter_sys=True)
    except SystemExit as _end:
        if not isinstance(_end.code or 0, int):
            raise
        _exit(int(_end.code or 0))
    _exit(0)
