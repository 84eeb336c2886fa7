"""The pid file: held by one gateway at a time, and read only while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ime_live.errors import ImeLiveError, SettingsError
from ime_live.gateway.pid_file import PidFile, RunningGateway

URL = "http://127.0.0.1:8001"
NOT_RUNNING = r"no gateway runs with --pid-file .*pid"


def test_file_is_read_while_it_is_held_and_removed_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with PidFile(str(path)).held(URL):
        assert PidFile(str(path)).read() == RunningGateway(os.getpid(), URL)
        assert path.read_text().splitlines()[0] == str(os.getpid())
    assert not path.exists()
    with pytest.raises(ImeLiveError, match=NOT_RUNNING):
        PidFile(str(path)).read()


def test_file_of_a_killed_gateway_leads_to_no_process(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    program = (
        "import os, sys\nfrom ime_live.gateway.pid_file import PidFile\n"
        f"with PidFile(sys.argv[1]).held('{URL}'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)  # noqa: S603 - ours
    assert len(path.read_text().splitlines()) == 2
    with pytest.raises(ImeLiveError, match=NOT_RUNNING):
        PidFile(str(path)).read()
    with PidFile(str(path)).held(URL):  # the next gateway may have it
        assert PidFile(str(path)).read().pid == os.getpid()


def test_second_gateway_is_refused_and_the_first_keeps_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with PidFile(str(path)).held(URL):
        with (
            pytest.raises(SettingsError, match="must name a file that no other gateway uses"),
            PidFile(str(path)).held(URL),
        ):
            raise AssertionError
        assert PidFile(str(path)).read().pid == os.getpid()


@pytest.mark.parametrize("content", [b"root:x:0:0\n", b"12\n", b"\xff\xfe", b"1\nftp://x\n"])
def test_other_file_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with (
        pytest.raises(SettingsError, match="must name a pid file or a new file, got"),
        PidFile(str(path)).held(URL),
    ):
        raise AssertionError
    assert path.read_bytes() == content


def test_file_that_cannot_be_opened_is_one_clear_error(tmp_path: Path) -> None:
    path = str(tmp_path / "none" / "pid")
    with (
        pytest.raises(
            SettingsError, match=r"--pid-file .*/none/pid cannot be used: no such file or directory"
        ),
        PidFile(path).held(URL),
    ):
        raise AssertionError
    with pytest.raises(SettingsError, match=r"--pid-file .* cannot be used: is a directory"):
        PidFile(str(tmp_path)).read()
