"""The programs of `examples/` when somebody presses Ctrl-C, or reads no more of their output."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection

from tests.client.service import service
from tests.client.texts import update
from tests.support.marks import thorough
from tests.support.paths import ROOT

Eventually = Callable[..., Awaitable[None]]

EXAMPLES = ROOT / "examples"
ARGUMENTS = {
    "frame": ["1000", "A"],
    "latest_state": ["A"],
    "record": ["FILE", "A"],
    "spread_alarm": ["0.1", "A"],
    "stream": ["A"],
}


def test_every_example_is_interrupted() -> None:
    assert set(ARGUMENTS) == {path.stem for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("times", [2, thorough(1)])
@pytest.mark.parametrize("away", [True, False], ids=["no connection", "connection"])
@pytest.mark.parametrize("name", ARGUMENTS)
async def test_example_ends_without_a_traceback_at_ctrl_c(
    name: str, away: bool, times: int, tmp_path: Path, eventually: Eventually
) -> None:
    async def deaf(connection: ServerConnection) -> None:
        await connection.send(update("A", 1), text=True)
        # It never answers a close, so that a second Ctrl-C comes while the first one is obeyed.
        connection.transport.pause_reading()
        reached.set()
        await over.wait()
        connection.transport.abort()

    reached, over = asyncio.Event(), asyncio.Event()
    arguments = [str(tmp_path / "file") if word == "FILE" else word for word in ARGUMENTS[name]]
    async with service(503 if away else deaf) as made:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLES / f"{name}.py"), made.url, *arguments),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        await eventually(lambda: made.paths if away else reached.is_set(), 20.0)
        await asyncio.sleep(0.2)
        for _ in range(times):
            program.send_signal(signal.SIGINT)
            await asyncio.sleep(0.1)
            if program.returncode is not None:
                break
        _, said = await asyncio.wait_for(program.communicate(), 20.0)
        over.set()
    # The second one may come when Python has ended already, and only the process is left.
    assert program.returncode in {0, -signal.SIGINT}
    assert b"Traceback" not in said
    assert [line for line in said.decode().splitlines() if "trying again" not in line] == []


def readme() -> str:
    """The first program of the README."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", ["README", *ARGUMENTS])
async def test_example_ends_quietly_when_nobody_reads_its_output(name: str, tmp_path: Path) -> None:
    async def talk(connection: ServerConnection) -> None:
        for number in itertools.count():
            await connection.send(update("A", number), text=True)
            await asyncio.sleep(0.02)

    given = ARGUMENTS.get(name, [])
    arguments = [str(tmp_path / "file") if word == "FILE" else word for word in given]
    if name == "frame":
        arguments[0] = "3"
    reading, writing = os.pipe()
    os.close(reading)
    async with service(talk) as made:
        if name == "README":
            command = ["-c", readme().replace("ws://127.0.0.1:8000", made.url)]
        else:
            command = [str(EXAMPLES / f"{name}.py"), made.url, *arguments]
        program = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=writing, stderr=asyncio.subprocess.PIPE
        )
        os.close(writing)
        _, said = await asyncio.wait_for(program.communicate(), 30.0)
    assert (program.returncode, said) == (1, b"")
