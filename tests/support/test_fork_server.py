"""The fork server: its processes are as those that Python starts anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fork_server import ForkedProcess

NOWHERE = "redis://127.0.0.1:1"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["nonsense"], ["contracts", "list", "--redis-url", NOWHERE]],
    ids=["succeeds", "is used wrongly", "fails"],
)
def test_fork_prints_and_returns_like_a_new_process(arguments: list[str], tmp_path: Path) -> None:
    new = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "ime_live", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    with ForkedProcess[str](
        "ime_live",
        arguments,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as fork:
        assert fork.communicate() == (new.stdout, new.stderr)
    assert fork.returncode == new.returncode


def test_fork_is_our_child_with_its_own_session_and_ends_by_a_signal(tmp_path: Path) -> None:
    with ForkedProcess[str](
        "ime_live",
        ["publish", "-", "--redis-url", NOWHERE],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as fork:
        assert fork.stderr is not None
        assert "waiting until Redis answers" in fork.stderr.readline()
        process = Path(f"/proc/{fork.pid}")
        assert f"\nPPid:\t{os.getpid()}\n" in (process / "status").read_text()
        assert (process / "cwd").readlink() == tmp_path
        assert os.getsid(fork.pid) == fork.pid
        fork.send_signal(signal.SIGKILL)
        fork.communicate()
    assert fork.returncode == -signal.SIGKILL
