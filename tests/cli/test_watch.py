"""`ime-live watch`: lines, JSON, and the table on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import environment, line_of
from tests.support.marks import thorough

Database = Any  # a client of redis-py, whose commands are loosely typed
Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
MakePayload = Callable[..., dict[str, Any]]

VERSION = 1_700_000_000_000_000


@pytest.fixture
def url(
    serve: Callable[..., str],
    database: Database,
    register: Callable[..., None],
    payload: MakePayload,
) -> str:
    """A gateway with two contracts and their states."""
    register(("12345", "ContractA"), ("67890", "ContractB"))
    for contract_id in ("12345", "67890"):
        state = {"version": VERSION, "data": json.dumps(payload()), "seen": VERSION}
        database.hset(f"ime:last:{{{contract_id}}}", mapping=state)
    return f"ws://{serve()}"


def test_watch_in_a_pipe_writes_lines_and_json(start: Start, url: str) -> None:
    lines = start("watch", "ContractA", "--url", url)
    as_json = start("watch", "67890", "--json", IME_LIVE_URL=url)
    every = start("watch", "--all", "--json", "--url", url)
    assert lines.stdout is not None
    assert as_json.stdout is not None
    assert every.stdout is not None
    assert " ContractA bid 1163000 ask 1163500 last 1163500" in lines.stdout.readline()
    message = json.loads(as_json.stdout.readline())
    assert (message["ContractId"], message["channel"]) == ("67890", "IME Stream")
    names = {json.loads(every.stdout.readline())["contractName"] for _ in range(2)}
    assert names == {"ContractA", "ContractB"}
    for number, process in ((signal.SIGTERM, lines), (signal.SIGINT, as_json)):
        process.send_signal(number)
        assert process.wait(30) in (-number, 128 + number)
        assert process.stderr is not None
        assert process.stderr.read() == "ime-live: connected\n"


def test_watch_ends_when_its_reader_has_gone(
    start: Start, url: str, database: Database, payload: MakePayload
) -> None:
    process = start("watch", "ContractA", "--json", "--url", url)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    for n in range(200):
        data = payload(Aggregate={"last_price": n})
        database.publish("ime:live:{12345}", json.dumps({"version": VERSION + n + 1, "data": data}))
        if process.poll() is not None:
            break
        time.sleep(0.05)  # the kernel tells of the closed pipe at a write
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert process.stderr.read() == "ime-live: connected\n"


def test_watch_reports_an_unreachable_service_and_waits_for_it(start: Start) -> None:
    process = start("watch", "A", "--url", "ws://127.0.0.1:1")
    assert process.stderr is not None
    line = line_of(process.stderr, "not connected")
    assert line.startswith("ime-live: not connected to ws://127.0.0.1:1: Connection refused; ")
    assert "check --url, and whether the gateway runs" in line
    process.terminate()
    process.wait(30)


def test_watch_reports_a_lost_connection(
    start: Start, database: Database, register: Callable[..., None]
) -> None:
    register(("12345", "ContractA"))
    gateway = start("serve", "--auth", "none", "--port", "0", "--shutdown-spread", "0")
    assert gateway.stderr is not None
    port = line_of(gateway.stderr, "listening").partition("port=")[2].split()[0]
    line_of(gateway.stderr, "contracts loaded")
    process = start("watch", "ContractA", "--url", f"ws://127.0.0.1:{port}")
    assert process.stderr is not None
    line_of(process.stderr, "ime-live: connected")
    gateway.kill()
    line_of(process.stderr, f"ime-live: not connected to ws://127.0.0.1:{port}: ")
    assert process.poll() is None
    process.terminate()
    process.wait(30)


@pytest.mark.parametrize(
    ("arguments", "error", "status"),
    [
        ((), "at least one contract must be given, got none", 2),
        (("A", "--json", "--lines"), "must not be given together", 2),
        (("A", "--token", "x", "--token-file", "y"), "must not be given together", 2),
        (("A", "--token-file", "nowhere"), "--token-file nowhere cannot be read: no such file", 2),
        (("A", "--url", "ftp://x"), "ftp://x", 2),
        (("A",), "IME_LIVE_URL", 2),
        (("--market", "Nothing"), "Nothing", 2),
    ],
)
def test_watch_refuses_wrong_use(
    ime_live: Run, arguments: tuple[str, ...], error: str, status: int
) -> None:
    done = ime_live("watch", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert error in done.stderr


def test_watch_says_why_it_is_refused(ime_live: Run, start: Start, url: str) -> None:
    done = ime_live("watch", "Nothing", "--json", "--url", url)
    assert done.returncode == 1
    assert "Nothing" in done.stderr
    gateway = start("serve", "--port", "0", "--jwt-secret", "x" * 32)
    assert gateway.stderr is not None
    port = line_of(gateway.stderr, "listening").partition("port=")[2].split()[0]
    line_of(gateway.stderr, "contracts loaded")
    done = ime_live("watch", "ContractA", "--url", f"ws://127.0.0.1:{port}", "--token", "a.b.c")
    assert done.returncode == 1
    assert "oken" in done.stderr.splitlines()[-1]


# On a terminal.


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process, self._master = process, master
        self.screen = b""

    def see(self, words: str) -> None:
        """Read until the screen has shown these words."""
        end = time.monotonic() + 30
        while words.encode() not in self.screen:
            assert time.monotonic() < end, self.screen[-3000:]
            with suppress(BlockingIOError, OSError):
                self.screen += os.read(self._master, 65_536)
                continue
            time.sleep(0.02)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        self.process.send_signal(signal.SIGWINCH)

    @property
    def is_raw(self) -> bool:
        """Whether the terminal still is as the table had it."""
        return not termios.tcgetattr(self._master)[3] & termios.ECHO


@contextmanager
def on_terminal(*arguments: str, folder: Path, **variables: str) -> Iterator[Terminal]:
    master, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    os.set_blocking(master, False)
    env = environment(TERM="xterm-256color", **variables)
    process = subprocess.Popen(  # noqa: S603 - this package
        [sys.executable, "-m", "ime_live", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=env,
        cwd=folder,
        start_new_session=True,
    )
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(master)


def test_table_on_a_terminal_is_resized_searched_and_left(
    url: str, tmp_path: Path, database: Database, payload: MakePayload
) -> None:
    with on_terminal("watch", "--all", "--url", url, folder=tmp_path) as terminal:
        terminal.see("ContractB")
        terminal.resize(70, 20)
        data = payload(Aggregate={"last_price": 1163777})
        database.publish("ime:live:{12345}", json.dumps({"version": VERSION + 9, "data": data}))
        terminal.see("1,163,777")
        assert terminal.is_raw
        terminal.press("q")
        assert terminal.process.wait(30) == 0
        assert not terminal.is_raw


@pytest.mark.thorough
@pytest.mark.parametrize("number", [thorough(signal.SIGTERM), signal.SIGINT])
def test_table_restores_the_terminal_after_a_signal(
    url: str, tmp_path: Path, number: signal.Signals
) -> None:
    with on_terminal("watch", "ContractA", "--url", url, folder=tmp_path, NO_COLOR="1") as terminal:
        terminal.see("1,163,500")
        terminal.process.send_signal(number)
        assert terminal.process.wait(30) == 0
        assert not terminal.is_raw
        assert b"Traceback" not in terminal.screen


def test_table_without_textual_says_how_to_install_it(url: str, tmp_path: Path) -> None:
    (tmp_path / "textual").mkdir()
    (tmp_path / "textual" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'textual'\", name='textual')\n"
    )
    with on_terminal(
        "watch", "ContractA", "--url", url, folder=tmp_path, PYTHONPATH=str(tmp_path)
    ) as terminal:
        terminal.see('pip install "ime-live[terminal]"')
        assert terminal.process.wait(30) == 2
