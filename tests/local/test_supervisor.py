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
from structlog.testing import capture_logs

from ime_live.errors import SettingsError
from ime_live.local.supervisor import Child, Supervisor

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


def end(file: Path) -> None:
    """End what a failed test has left."""
    for pid in pids(file):
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


async def test_dead_process_is_restarted_and_all_end_together(
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


async def test_stopped_process_is_restarted(tmp_path: Path, eventually: Eventually) -> None:
    file = tmp_path / "one"
    with capture_logs() as logs:
        running = asyncio.create_task(Supervisor([lives("one", file)]).run())
        await eventually(lambda: pids(file), PATIENCE)
        os.kill(pids(file)[0], signal.SIGSTOP)
        await eventually(lambda: len(pids(file)) == 2, PATIENCE)
        assert gone(pids(file)[0])
        # One that is stopped just then holds up no end.
        os.kill(pids(file)[1], signal.SIGSTOP)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert gone(pids(file)[1])
    events = [line["event"] for line in logs]
    assert events.count("process is stopped; killing it") == 1
    assert "process does not exit; killing it" not in events


async def test_processes_end_in_reverse_order(tmp_path: Path, eventually: Eventually) -> None:
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


async def test_wrong_settings_end_the_supervisor(tmp_path: Path) -> None:
    other = tmp_path / "other"
    wrong = Child("wrong", [sys.executable, "-c", "import time; time.sleep(0.3); exit(2)"])
    with pytest.raises(SettingsError, match="wrong cannot run"):
        await Supervisor([lives("other", other), wrong]).run()
    assert all(gone(pid) for pid in pids(other))


async def test_environment_reaches_the_processes(tmp_path: Path, eventually: Eventually) -> None:
    file = tmp_path / "said"
    code = f"import os, pathlib; pathlib.Path({str(file)!r}).write_text(os.environ['SECRET'])"
    child = Child(
        "child", [sys.executable, "-c", code + "; import signal; signal.pause()"], {"SECRET": "x"}
    )
    running = asyncio.create_task(Supervisor([child]).run())
    await eventually(lambda: file.exists() and file.read_text() == "x", PATIENCE)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_killed_supervisor_leaves_no_process(tmp_path: Path, eventually: Eventually) -> None:
    file = tmp_path / "child"
    code = (
        "import asyncio, sys\n"
        "from ime_live.local.supervisor import Child, Supervisor\n"
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
        end(file)


async def test_death_of_a_process_is_logged_with_its_reason(
    tmp_path: Path, eventually: Eventually
) -> None:
    file = tmp_path / "child"
    with capture_logs() as logs:
        child = lives("child", file)
        named = Child(child.name, child.command, log="/var/log/child.log")
        failing = Child("failing", [sys.executable, "-c", "exit(3)"])
        running = asyncio.create_task(Supervisor([named, failing]).run())

        def deaths(name: str) -> list[tuple[str, str | None]]:
            return [
                (each["status"], each.get("see"))
                for each in logs
                if each["event"].startswith("process died") and each["process"] == name
            ]

        await eventually(lambda: pids(file), PATIENCE)
        os.kill(pids(file)[0], signal.SIGKILL)
        await eventually(lambda: deaths("child") and deaths("failing"), PATIENCE)
        assert deaths("child") == [("SIGKILL", "/var/log/child.log")]
        assert deaths("failing")[0] == ("3", None)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_wrong_use_after_the_first_start_causes_a_restart(
    tmp_path: Path, eventually: Eventually
) -> None:
    """As when a restarted gateway finds its port still in use."""
    starts = tmp_path / "starts"
    code = (
        "import pathlib, signal, sys\n"
        f"file = pathlib.Path({str(starts)!r})\n"
        "file.open('a').write('x')\n"
        "start = len(file.read_text())\n"
        "if start < 3: sys.exit(start)\n"  # 1, then 2
        "signal.pause()\n"
    )
    supervisor = Supervisor([Child("child", [sys.executable, "-c", code])])
    running = asyncio.create_task(supervisor.run())
    await eventually(lambda: starts.exists() and starts.read_text() == "xxx", PATIENCE)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_failing_start_is_retried(tmp_path: Path, eventually: Eventually) -> None:
    program, file = tmp_path / "program", tmp_path / "child"
    with capture_logs() as logs:
        running = asyncio.create_task(Supervisor([Child("child", [str(program)])]).run())
        await eventually(lambda: logs, PATIENCE)
        assert logs[0]["status"] == "No such file or directory"
        program.write_text(f"#!/bin/sh\necho $$ >> {file}\nexec sleep 1000\n")
        program.chmod(0o700)
        await eventually(lambda: pids(file), PATIENCE)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert all(gone(pid) for pid in pids(file))


async def test_process_that_does_not_end_is_killed_with_its_children(
    tmp_path: Path, eventually: Eventually
) -> None:
    file = tmp_path / "child"
    own = LIVES.format(str(file))
    code = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"subprocess.Popen([sys.executable, '-c', {own!r}])\n"
        f"{own.replace('signal.pause()', '')}\n"
        "while True: signal.pause()\n"
    )
    stubborn = Child("stubborn", [sys.executable, "-c", code], stop_timeout=0.2)
    with capture_logs() as logs:
        running = asyncio.create_task(Supervisor([stubborn]).run())
        await eventually(lambda: len(pids(file)) == 2, PATIENCE)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    try:
        await eventually(lambda: all(gone(pid) for pid in pids(file)), PATIENCE)
    finally:
        end(file)
    assert [each["event"] for each in logs][-1] == "process does not exit; killing it"


async def test_second_signal_leaves_no_process(tmp_path: Path, eventually: Eventually) -> None:
    file, signalled, go = tmp_path / "child", tmp_path / "signalled", tmp_path / "go"
    slow = (
        "import os, pathlib, signal, sys, time\n"
        "def end(*_):\n"
        f"    pathlib.Path({str(signalled)!r}).touch()\n"
        f"    while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"{LIVES.format(str(file)).replace('signal.pause()', '')}\n"
        "while True: signal.pause()\n"
    )
    other = tmp_path / "other"
    children = [lives("other", other), Child("slow", [sys.executable, "-c", slow])]
    running = asyncio.create_task(Supervisor(children).run())
    await eventually(lambda: pids(file) and pids(other), PATIENCE)
    running.cancel()
    await eventually(signalled.exists, PATIENCE)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    go.touch()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert all(gone(pid) for pid in pids(file) + pids(other))


async def test_open_file_can_be_inherited(tmp_path: Path, eventually: Eventually) -> None:
    given, file = tmp_path / "given", tmp_path / "said"
    given.write_text("open")
    with given.open() as opened:
        number = opened.fileno()
        code = (
            "import os, pathlib, signal\n"
            f"pathlib.Path({str(file)!r}).write_bytes(os.read({number}, 10))\n"
            "signal.pause()\n"
        )
        child = Child("child", [sys.executable, "-c", code], inherits=(number,))
        running = asyncio.create_task(Supervisor([child]).run())
        await eventually(lambda: file.exists() and file.read_text() == "open", PATIENCE)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_interrupt_of_the_terminal_does_not_reach_the_processes(
    tmp_path: Path, eventually: Eventually
) -> None:
    file = tmp_path / "child"
    running = asyncio.create_task(Supervisor([lives("child", file)]).run())
    await eventually(lambda: pids(file), PATIENCE)
    [pid] = pids(file)
    assert os.getsid(pid) == pid
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
