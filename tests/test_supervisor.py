"""Supervisor: real processes are started, restarted and ended, also when we are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ime_live.errors import SettingsError
from ime_live.supervisor import Child, Supervisor

Eventually = Callable[..., Awaitable[None]]
PATIENCE = 20.0

# Writes its pid, and lives until it is told to stop.
LIVES = (
    "import os, pathlib, signal; p = pathlib.Path({!r}); "
    "p.open('a').write(f'{{os.getpid()}}\\n'); signal.pause()"
)


def lives(name: str, file: Path) -> Child:
    return Child(name, [sys.executable, "-c", LIVES.format(str(file))])


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "Z"


async def test_who_dies_is_started_again_and_all_end_together(
    tmp_path: Path, eventually: Eventually
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    running = asyncio.create_task(Supervisor([lives("one", one), lives("other", other)]).run())
    await eventually(lambda: pids(one) and pids(other), PATIENCE)
    os.kill(pids(one)[0], signal.SIGKILL)
    await eventually(lambda: len(pids(one)) == 2, PATIENCE)
    assert len(pids(other)) == 1  # it was not touched

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert all(gone(pid) for pid in pids(one) + pids(other))


async def test_they_end_in_the_other_order(tmp_path: Path, eventually: Eventually) -> None:
    log = tmp_path / "log"
    code = (
        "import pathlib, signal, sys\n"
        f"log = pathlib.Path({str(log)!r})\n"
        "def end(*_): log.open('a').write('end ' + sys.argv[1] + '\\n'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "log.open('a').write('up ' + sys.argv[1] + '\\n')\n"
        "while True: signal.pause()\n"
    )
    children = [Child(name, [sys.executable, "-c", code, name]) for name in ("first", "last")]
    running = asyncio.create_task(Supervisor(children).run())
    await eventually(lambda: log.exists() and log.read_text().count("up") == 2, PATIENCE)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert log.read_text().splitlines()[2:] == ["end last", "end first"]


async def test_wrong_settings_end_it_all(tmp_path: Path, eventually: Eventually) -> None:
    other = tmp_path / "other"
    wrong = Child("wrong", [sys.executable, "-c", "import time; time.sleep(0.3); exit(2)"])
    with pytest.raises(SettingsError, match="wrong cannot run"):
        await Supervisor([lives("other", other), wrong]).run()
    assert all(gone(pid) for pid in pids(other))
    del eventually


async def test_the_environment_reaches_them(tmp_path: Path, eventually: Eventually) -> None:
    file = tmp_path / "said"
    code = f"import os, pathlib; pathlib.Path({str(file)!r}).write_text(os.environ['SECRET'])"
    child = Child(
        "child", [sys.executable, "-c", code + "; import signal; signal.pause()"], {"SECRET": "x"}
    )
    running = asyncio.create_task(Supervisor([child]).run())
    await eventually(lambda: file.exists() and file.read_text() == "x", PATIENCE)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_none_outlives_a_supervisor_that_was_killed(
    tmp_path: Path, eventually: Eventually
) -> None:
    file = tmp_path / "child"
    code = (
        "import asyncio, sys\n"
        "from ime_live.supervisor import Child, Supervisor\n"
        f"child = Child('child', [sys.executable, '-c', {LIVES.format(str(file))!r}])\n"
        "asyncio.run(Supervisor([child]).run())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])  # noqa: ASYNC220, S603 - to be killed
    try:
        await eventually(lambda: pids(file), PATIENCE)
        [pid] = pids(file)
        assert not gone(pid)
        parent.kill()
        await eventually(lambda: gone(pid), PATIENCE)
    finally:
        parent.kill()
        parent.wait()
