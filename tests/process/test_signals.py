"""Signals: SIGHUP ends nothing, and Ctrl-C shows no traceback, at any moment and any number."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ime_live.local.embedded import EmbeddedValkey
from tests.cli.conftest import environment
from tests.support.boards import frames_of_all_boards
from tests.support.marks import thorough
from tests.support.paths import ROOT

PATIENCE = 40.0
NOWHERE = ("--base-url", "http://127.0.0.1:1/", "--polling-url", "http://127.0.0.1:1/")
PROGRAM = [sys.executable, "-m", "ime_live"]


class Process:
    """A process in a group of its own, as a terminal starts it; its output goes to files."""

    def __init__(self, command: Sequence[str], folder: Path, **variables: str) -> None:
        self.output = folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment(TMPDIR=str(folder), **variables),
                cwd=folder,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """All that it has written."""
        return self.output.read_text()

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until it has come so far."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.005)

    def says(self, text: str) -> None:
        """Wait until it says something."""
        self.until(lambda: text in self.said)

    def loads(self, library: str) -> None:
        """Wait until it has come so far in its start as to have loaded a library."""
        maps = Path(f"/proc/{self.process.pid}/maps")
        self.until(lambda: library in maps.read_text())

    def interrupt(self, times: int = 1) -> None:
        """Press Ctrl-C in its terminal."""
        for _ in range(times):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGINT)
            time.sleep(0.02)

    def ended(self) -> int:
        """Wait until it ends; its status, as a shell shows it."""
        status = self.process.wait(PATIENCE)
        assert "Traceback" not in self.said, self.said
        assert "Exception ignored" not in self.said, self.said
        return 128 - status if status < 0 else status


@contextmanager
def started(command: Sequence[str], folder: Path, **variables: str) -> Iterator[Process]:
    """Start a process; the rest of its group is killed at the end."""
    process = Process(command, folder, **variables)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.process.pid, signal.SIGKILL)
        process.process.communicate()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "frames.ndjson"
    path.write_bytes(b"\n".join(frames_of_all_boards(3)) + b"\n")
    return path


def commands(valkey: EmbeddedValkey, recording: Path) -> dict[str, tuple[list[str], str]]:
    """Commands that run until they are told to stop, and what they say when they are there."""
    store = ["--redis-url", valkey.url]
    serve = ["serve", "--auth", "none", "--port", "0", *store]
    return {
        "serve": (serve, "contracts loaded"),
        "serve, several": ([*serve, "--workers", "2"], "contracts loaded"),
        "demo": (["demo", "--port", "0"], "Stop with Ctrl-C"),
        "up": (["up", "--data", "data", "--port", "0", *NOWHERE], "Stop with Ctrl-C"),
        "feed": (["feed", "ime", *NOWHERE, *store], "this feed leads"),
        "record": (["feed", "record", "r.ndjson", *NOWHERE], "hub"),
        "replay": (
            ["feed", "replay", str(recording), "--speed", "50", "--loop", *store],
            "replayed",
        ),
        "publish": (
            ["publish", "-", "--redis-url", "redis://127.0.0.1:1"],
            "waiting until Redis answers",
        ),
    }


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    [
        "serve, several",
        "publish",
        *map(thorough, ("feed", "serve", "demo", "up", "record", "replay")),
    ],
)
def test_hangup_does_not_end_the_process(
    name: str, valkey: EmbeddedValkey, recording: Path, tmp_path: Path
) -> None:
    arguments, said = commands(valkey, recording)[name]
    with started([*PROGRAM, *arguments], tmp_path) as process:
        process.says(said)
        for _ in range(2):
            os.killpg(process.process.pid, signal.SIGHUP)
        reloads = name.startswith(("serve", "feed", "record", "up"))
        process.says("settings reloaded changes=none" if reloads else "SIGHUP is ignored")
        assert "worker ended" not in process.said
        process.process.terminate()
        assert process.ended() in {0, 143}


@pytest.mark.thorough
def test_hangup_disconnects_no_client(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    arguments = ["serve", "--auth", "none", "--port", "0", "--redis-url", valkey.url]
    with started([*PROGRAM, *arguments], tmp_path) as process:
        process.says("contracts loaded")
        found = re.search(r"port=(\d+)", process.said)
        assert found is not None
        process.process.send_signal(signal.SIGHUP)
        process.says("settings reloaded")
        url = f"http://127.0.0.1:{found[1]}/health"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("feed", 2),
        thorough("demo", 1),
        *(
            thorough(name, 2)
            for name in ("publish", "serve, several", "demo", "up", "record", "replay")
        ),
        *(thorough("serve", times) for times in (1, 2, 4)),
    ],
)
def test_interrupt_shows_no_traceback(
    name: str, times: int, valkey: EmbeddedValkey, recording: Path, tmp_path: Path
) -> None:
    arguments, said = commands(valkey, recording)[name]
    with started([*PROGRAM, *arguments], tmp_path) as process:
        process.says(said)
        process.interrupt(times)
        status = process.ended()
        # A second interrupt may find the process almost gone.
        expected = 130 if name in {"replay", "publish"} else 0
        assert status == expected or (times > 1 and status == 130)


@pytest.mark.parametrize("library", [thorough("msgspec/_core"), "cryptography/hazmat"])
@pytest.mark.parametrize("name", ["serve, several", *map(thorough, ("serve", "demo"))])
def test_interrupt_of_the_start_shows_no_traceback(
    name: str, library: str, valkey: EmbeddedValkey, recording: Path, tmp_path: Path
) -> None:
    arguments, _ = commands(valkey, recording)[name]
    with started([*PROGRAM, *arguments], tmp_path) as process:
        process.loads(library)
        process.interrupt(2)
        assert process.ended() in {0, 130}


@pytest.mark.thorough
@pytest.mark.parametrize("delay", [0.2, *map(thorough, (0.0, 0.6))])
def test_interrupt_while_workers_start_shows_no_traceback(
    delay: float, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    serve = ["serve", "--auth", "none", "--port", "0", "--workers", "3", "--redis-url", valkey.url]
    with started([*PROGRAM, *serve], tmp_path) as process:
        process.says("listening")
        time.sleep(delay)  # at a few moments of their start
        process.interrupt(2)
        assert process.ended() in {0, 130}


@pytest.mark.thorough
def test_interrupt_while_redis_hangs_shows_no_traceback(
    own_valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    own_valkey.stop()
    serve = ["serve", "--auth", "none", "--port", "0", "--redis-url", own_valkey.url]
    with started([*PROGRAM, *serve], tmp_path) as process:
        process.says("connection to Redis lost")
        process.interrupt(2)
        assert process.ended() in {0, 130}


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["demo", thorough("up")])
def test_unread_greeting_shows_no_traceback(
    name: str, valkey: EmbeddedValkey, recording: Path, tmp_path: Path
) -> None:
    arguments, _ = commands(valkey, recording)[name]
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(tmp_path)),
        cwd=tmp_path,
        text=True,
    )
    os.close(writer)
    assert process.stderr is not None
    with process:
        last = (
            "the greeting cannot be written"
            if name == "up"
            else "the state of the feed has changed"
        )
        said = next((line for line in process.stderr if last in line), "")
        process.terminate()
        rest = process.stderr.read()
    assert last in said
    assert "Traceback" not in rest
    assert "Exception ignored" not in rest
    assert process.returncode == 0


def readme_snippet() -> str:
    """The first program of the README."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


EXAMPLES = {
    "stream": ["ContractA"],
    "latest_state": ["ContractA"],
    "spread_alarm": ["0.001", "ContractA"],
    "backtest": ["ContractA"],
    "frame": ["100000", "ContractA"],
}


@pytest.mark.thorough
@pytest.mark.parametrize("reached", [True, thorough(False)])
@pytest.mark.parametrize("name", ["README", *map(thorough, EXAMPLES)])
def test_interrupt_of_an_example_shows_no_traceback(
    name: str, reached: bool, demo: str, tmp_path: Path
) -> None:
    address = demo if reached else "127.0.0.1:1"
    if name == "README":
        command = ["-c", readme_snippet().replace("127.0.0.1:8000", address)]
    else:
        command = [str(ROOT / "examples" / f"{name}.py"), f"ws://{address}", *EXAMPLES[name]]
    with started([sys.executable, "-u", *command], tmp_path) as process:
        if name == "frame" and reached:  # it says nothing before its end
            process.loads("websockets/speedups")
        else:  # a message, or that there is no connection
            process.until(lambda: "\n" in process.said)
        process.interrupt(2)
        assert process.ended() == 130


def test_every_example_is_interrupted() -> None:
    ends_by_itself = {"candles", "option_chain", "parquet"}
    assert EXAMPLES.keys() | ends_by_itself == {
        path.stem for path in (ROOT / "examples").glob("*.py")
    }
