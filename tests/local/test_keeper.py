"""The keeper of an embedded Valkey: faults of its start, and its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ime_live.local import keeper
from tests.support.servers import BINARY


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("1:M 27 Nov 2026 * started\n1:M 27 Nov 2026 # bind: in use\n", "bind: in use"),
        ("error while loading shared libraries", "error while loading shared libraries"),
        ("", ""),
    ],
)
def test_warnings_of_a_server_that_does_not_start_are_its_reason(
    tmp_path: Path, log: str, reason: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    printing = ["sh", "-c", f"printf '{log}'; exit 1"]
    assert keeper.keep(str(folder), str(folder / "socket"), printing) == reason
    assert not folder.exists()


def test_program_that_cannot_be_started_is_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    assert "No such file" in keeper.keep(str(folder), str(folder / "socket"), ["/no/valkey"])
    assert not folder.exists()


def test_server_at_the_same_address_is_not_taken_for_the_started_one(tmp_path: Path) -> None:
    folder, address = tmp_path / "data", str(tmp_path / "socket")
    folder.mkdir()
    command = [BINARY, "--port", "0", "--unixsocket", address, "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:  # noqa: S603
        assert other.stdout is not None
        while "Ready to accept" not in other.stdout.readline():
            pass
        assert keeper.keep(str(folder), address, ["sh", "-c", "echo it has ended"])
        other.kill()


def test_sigterm_stops_the_server_and_removes_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    address = str(folder / "socket")
    command = [BINARY, "--port", "0", "--unixsocket", address, "--save", "", "--dir", str(folder)]
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", keeper.__name__, str(folder), address, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as kept:
        assert kept.stdout is not None
        assert kept.stdout.readline().strip() == keeper.READY
        kept.send_signal(signal.SIGTERM)
        assert kept.wait(20) == 0
    assert not folder.exists()
