"""The demo: the documentation's programs run against it unchanged, and it leaves nothing."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.stream.test_workers import group
from tests.support.gateways import Command
from tests.support.paths import SHARED

Eventually = Callable[..., Awaitable[None]]

PROGRAMS = SHARED / "spec" / "programs"
_PORT = 8000  # in the programs


def _skip(reason: str) -> None:
    print(reason)
    pytest.skip(reason)


def _demo(folder: Path, port: int) -> Command:
    return Command(folder, ["demo", "--port", str(port)])


def _serves(demo: Command) -> bool:
    assert demo.process.poll() is None, demo.output
    return "Stop with Ctrl-C" in demo.output


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Command]:
    """The demo on the port that the documentation's programs are written for."""
    if not PROGRAMS.is_dir():
        _skip("the documentation's programs are not there: ../shared/spec/programs")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _PORT))
        except OSError:
            _skip(f"port {_PORT} is in use, and the documentation's programs know no other")
    demo = _demo(tmp_path / "demo", _PORT)
    yield demo
    demo.end()


@pytest.fixture
def folder() -> Iterator[Path]:
    """The folder of a demo, whose name is short enough for its Valkey's socket."""
    with tempfile.TemporaryDirectory(prefix="t-") as made:
        yield Path(made)


@pytest.mark.thorough
async def test_programs_of_the_documentation_print_live_messages(
    demo: Command, tmp_path: Path, eventually: Eventually
) -> None:
    await eventually(lambda: _serves(demo), timeout=20)
    outputs = {
        program: tmp_path / program for program in ("by_name.py", "by_id.py", "reconnect.py")
    }
    processes = []
    for program, output in outputs.items():
        with output.open("wb") as out:
            processes.append(
                subprocess.Popen(  # noqa: ASYNC220, S603 - returns at once
                    [sys.executable, "-u", str(PROGRAMS / program)], stdout=out, stderr=out
                )
            )
    try:
        for output in outputs.values():
            await eventually(lambda o=output: o.read_text().count("IME Stream") >= 2, timeout=20)
    finally:
        for process in processes:
            process.terminate()
            process.wait(10)
    for program, key in (("by_name.py", "contractName"), ("by_id.py", "ContractId")):
        first, _ = json.JSONDecoder().raw_decode(outputs[program].read_text())
        assert list(first) == ["channel", key, "timestamp", "data"]
        assert first[key] in {"ContractA", "ContractB", "12345", "67890"}
        assert list(first["data"]) == [
            "BestLimit",
            "Aggregate",
            "AllowedPriceRange",
            "ContractInfo",
        ]
    text = outputs["reconnect.py"].read_text()
    assert text.startswith("Connected\n{'channel': 'IME Stream', 'ContractId': '12345', ")
    assert "Disconnected" not in text


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_demo_leaves_no_process_and_no_file(
    folder: Path, eventually: Eventually, number: signal.Signals
) -> None:
    demo = _demo(folder, 0)
    try:
        await eventually(lambda: _serves(demo), timeout=20)
        assert list(demo.temporary.iterdir())
        started = _descendants(demo.process.pid)
        assert len(started) >= 2  # the keeper and Valkey
        demo.signal(number)
        status = await demo.ended()
        assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        await eventually(lambda: not [pid for pid in started if _runs(pid)], timeout=10)
        await eventually(lambda: not list(demo.temporary.iterdir()))
        assert not group(demo.process.pid)
    finally:
        demo.end()
    assert "Traceback" not in demo.output


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += [int(folder.name), *_descendants(int(folder.name))]
    return found


def _runs(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "Z"
    except OSError:
        return False
