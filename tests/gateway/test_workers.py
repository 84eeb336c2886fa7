"""Workers: real processes that die, hang, are stopped, or do not end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.marks import thorough

PATIENCE = 40.0

# Each worker writes its pid into a file, and then does as it was told.
PROGRAM = """
import os, signal, sys, time
from ime_live.process import signals
from ime_live.errors import ImeLiveError
from ime_live.gateway.workers import Workers

def note(text):
    with open(sys.argv[1], "a") as file:
        file.write(f"{text} {os.getpid()}\\n")

def good(heartbeat, inbox, reloaded):
    signal.signal(signal.SIGTERM, lambda *_: (note("ended"), sys.exit()))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.Signals)
    heartbeat.beat()
    note("up")
    if reloaded is not None:
        note("began-" + reloaded)
    while True:
        heartbeat.beat()
        if inbox.poll():
            note(inbox.recv())
        time.sleep(0.05)

def hangs(heartbeat, inbox, reloaded):
    heartbeat.beat()
    note("up")
    time.sleep(1000)

def deaf(heartbeat, inbox, reloaded):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal = lambda *_: None  # so that it does not change its mind
    good(heartbeat, inbox, reloaded)

def cannot(heartbeat, inbox, reloaded):
    note("up")
    sys.exit(3)

if __name__ == "__main__":
    signals.reset()
    try:
        Workers(
            globals()[sys.argv[2]],
            2,
            stop_timeout=float(sys.argv[3]),
            hung=1.0,
            reload=lambda: "reloaded" if sys.argv[2] == "good" else 1 / 0,
        ).run()
    except ImeLiveError as error:
        sys.exit(f"error: {error}")
"""


class Running:
    """The program, and what its workers have written."""

    def __init__(self, folder: Path, work: str, stop_timeout: float) -> None:
        script, self._notes = folder / "program.py", folder / "notes"
        script.write_text(PROGRAM)
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, str(script), str(self._notes), work, str(stop_timeout)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def pids(self, what: str = "up") -> list[int]:
        """The workers that have written this, in that order."""
        if not self._notes.exists():
            return []
        lines = (line.split() for line in self._notes.read_text().splitlines())
        return [int(pid) for text, pid in lines if text == what]

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until the workers bring it about."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.pids()
            time.sleep(0.01)


@contextmanager
def running(folder: Path, work: str, stop_timeout: float = 10.0) -> Iterator[Running]:
    """Run the program, and kill it at the end."""
    program = Running(folder, work, stop_timeout)
    try:
        program.until(lambda: len(program.pids()) >= 2 or program.process.poll() is not None)
        yield program
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.process.pid, signal.SIGKILL)
        program.process.communicate()


def ended(program: Running, *numbers: signal.Signals) -> str:
    """Tell the program to stop, and return its output."""
    for number in numbers:
        program.process.send_signal(number)
    said, _ = program.process.communicate(timeout=PATIENCE)
    assert program.process.returncode == 0
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *map(thorough, (signal.SIGTERM, signal.SIGSTOP))]
)
def test_worker_that_died_or_stopped_is_replaced(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, "good") as program:
        [first, second] = program.pids()
        os.kill(first, number)
        program.until(lambda: len(program.pids()) == 3)
        said = ended(program, signal.SIGTERM)
        assert {second, program.pids()[2]} <= set(program.pids("ended"))
    assert f"pid={first}" in said
    assert ("worker does not respond" in said) is (number is signal.SIGSTOP)
    assert "worker exited; starting another one" in said


def test_worker_with_a_hanging_event_loop_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path, "hangs") as program:
        first = program.pids()[:2]
        program.until(lambda: len(program.pids()) >= 4)
        said = ended(program, signal.SIGTERM)
    for pid in first:
        assert f"worker does not respond; killing it pid={pid}" in said


@pytest.mark.thorough
def test_workers_are_not_replaced_for_a_pause_of_all(tmp_path: Path) -> None:
    """A job that is stopped in a terminal by Ctrl-Z and continued by fg does so."""
    with running(tmp_path, "good") as program:
        os.killpg(program.process.pid, signal.SIGSTOP)
        time.sleep(3)  # the machine's clock goes on
        os.killpg(program.process.pid, signal.SIGCONT)
        time.sleep(1)
        assert len(program.pids()) == 2
        assert "worker" not in ended(program, signal.SIGTERM)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM,), thorough((signal.SIGINT,)), thorough((signal.SIGINT, signal.SIGINT))],
)
def test_stopped_workers_do_not_hold_up_the_end(
    tmp_path: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    with running(tmp_path, "good") as program:
        os.kill(program.pids()[0], signal.SIGSTOP)
        ended(program, *numbers)
        assert set(program.pids("ended")) == set(program.pids())


@pytest.mark.thorough
def test_workers_that_do_not_end_are_killed(tmp_path: Path) -> None:
    with running(tmp_path, "deaf", stop_timeout=0.5) as program:
        assert "workers do not exit; killing them" in ended(program, signal.SIGTERM)


def test_sighup_reaches_all_workers_and_their_successors_begin_with_it(tmp_path: Path) -> None:
    with running(tmp_path, "good") as program:
        both = program.pids()
        os.kill(program.process.pid, signal.SIGHUP)
        program.until(lambda: set(program.pids("reloaded")) == set(both))
        os.kill(both[0], signal.SIGKILL)
        program.until(lambda: len(program.pids()) == 3)
        program.until(lambda: program.pids()[2:] == program.pids("began-reloaded"))
        ended(program, signal.SIGTERM)
        assert len(program.pids()) == 3


@pytest.mark.thorough
def test_sighup_that_cannot_be_handled_ends_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "hangs") as program:
        program.pids()
        os.kill(program.process.pid, signal.SIGHUP)
        time.sleep(0.3)
        program.process.terminate()
        said, _ = program.process.communicate(timeout=PATIENCE)
        assert program.process.returncode == 0
        assert "settings cannot be reloaded" in said


@pytest.mark.thorough
def test_workers_that_cannot_start_end_the_command_with_an_error(tmp_path: Path) -> None:
    with running(tmp_path, "cannot") as program:
        said, _ = program.process.communicate(timeout=PATIENCE)
        assert program.process.returncode == 1
        assert "error: a worker cannot start; see above" in said
