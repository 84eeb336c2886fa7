"""`ime-live drain`: progress, and a gateway that ends meanwhile or is not found."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ime_live.gateway.pid_file import PidFile

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
Serve = Callable[..., str]


@pytest.fixture
def pid_file(tmp_path: Path) -> str:
    return str(tmp_path / "gateway.pid")


@pytest.fixture
def clients(
    serve: Serve, pid_file: str, register: Callable[..., None], request: pytest.FixtureRequest
) -> Iterator[list[ClientConnection]]:
    """Ten clients of a gateway with this spread, whose pid is in ``pid_file``."""
    register(("12345", "ContractA"))
    address = serve("--pid-file", pid_file, "--shutdown-spread", request.param)
    url = f"ws://{address}/live/data/websocket/contract/name?contract_names=ContractA"
    with ExitStack() as stack:
        yield [stack.enter_context(connect(url, proxy=None)) for _ in range(10)]


def close_code(client: ClientConnection) -> int:
    """How a client was closed."""
    with pytest.raises(ConnectionClosed) as error:
        client.recv(timeout=10)
    assert error.value.rcvd is not None
    return error.value.rcvd.code


@pytest.mark.parametrize("clients", ["1.5"], indirect=True)
def test_drain_reports_progress_until_no_stream_is_open(
    ime_live: Run, clients: list[ClientConnection], pid_file: str
) -> None:
    done = ime_live("drain", "--pid-file", pid_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"(draining: (10|\d) streams? open\n)+drained: 0 streams open\n", done.stdout
    )
    assert {close_code(client) for client in clients} == {1001}
    # The gateway stays drained, so a second command ends at once.
    again = ime_live("drain", IME_LIVE_PID_FILE=pid_file)
    assert (again.returncode, again.stdout) == (0, "drained: 0 streams open\n")


@pytest.mark.parametrize("clients", ["60"], indirect=True)
def test_drain_of_a_gateway_that_ends_meanwhile_fails(
    start: Start, clients: list[ClientConnection], pid_file: str
) -> None:
    pid = PidFile(pid_file).read().pid
    draining = start("drain", "--pid-file", pid_file)
    assert draining.stdout is not None
    assert draining.stdout.readline().startswith("draining: ")
    os.kill(pid, signal.SIGKILL)
    _, said = draining.communicate(timeout=30)
    assert draining.returncode == 1
    assert re.search(
        rf"the gateway has ended before it was drained \(process {pid}\); \d+ streams were", said
    )


@pytest.mark.parametrize("clients", ["10"], indirect=True)
def test_stopped_drain_command_leaves_the_gateway_draining(
    start: Start, clients: list[ClientConnection], pid_file: str
) -> None:
    draining = start("drain", "--pid-file", pid_file)
    assert draining.stdout is not None
    assert draining.stdout.readline().startswith("draining: ")
    draining.send_signal(signal.SIGINT)
    _, said = draining.communicate(timeout=30)
    assert draining.returncode == -signal.SIGINT
    assert "Traceback" not in said
    assert close_code(clients[0]) == close_code(clients[1]) == 1001


def test_drain_needs_the_pid_file_of_a_running_gateway(ime_live: Run, tmp_path: Path) -> None:
    none = ime_live("drain")
    assert none.returncode == 2
    assert "--pid-file must name the file with which the gateway was started, got" in none.stderr
    gone = ime_live("drain", "--pid-file", tmp_path / "pid")
    assert gone.returncode == 1
    assert gone.stderr == f"ime-live: no gateway runs with --pid-file {tmp_path / 'pid'}\n"
    # The lock is missing: whatever process has this number now gets no signal.
    (tmp_path / "pid").write_text(f"{os.getpid()}\nhttp://127.0.0.1:1\n")
    assert ime_live("drain", "--pid-file", tmp_path / "pid").returncode == 1


def test_signal_to_drain_is_ignored_by_other_commands(start: Start) -> None:
    process = start("publish", "-")
    assert process.stderr is not None
    assert process.stdin is not None
    for _ in range(2):  # the second line shows that it lives on
        process.stdin.write("nonsense\n")
        process.stdin.flush()
        assert process.stderr.readline() != ""
        process.send_signal(signal.SIGUSR2)
    process.terminate()
    assert process.wait(30) != -signal.SIGUSR2
