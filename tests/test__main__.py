"""Secrets in arguments: which ones are moved, and that nobody can read them of a process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ime_live.__main__ import _FLAGS, without_secrets
from ime_live.settings import DemoSettings, UpSettings, flag, options, variable
from tests.support.rows import each_row


@each_row(
    ("arguments", "kept", "variables"),
    [
        (["serve", "--jwt-secret", "x"], ["serve"], {"IME_LIVE_JWT_SECRET": "x"}),
        (["serve", "--jwt-secret=x=y", "-v"], ["serve", "-v"], {"IME_LIVE_JWT_SECRET": "x=y"}),
        (["watch", "--token", "t", "A"], ["watch", "A"], {"IME_LIVE_TOKEN": "t"}),
        (["serve", "--redis-url", "redis://h"], ["serve", "--redis-url", "redis://h"], {}),
        (["serve", "--redis-url=redis://:p@h"], ["serve"], {"IME_LIVE_REDIS_URL": "redis://:p@h"}),
        (["serve", "--jwt-secret="], ["serve", "--jwt-secret="], {}),
        (["serve", "--jwt-secret"], ["serve", "--jwt-secret"], {}),
        (["watch", "--", "--token", "t"], ["watch", "--", "--token", "t"], {}),
        (["watch", "--token", "old", "--token", "new"], ["watch"], {"IME_LIVE_TOKEN": "new"}),
        ([], [], {}),
    ],
)
def test_without_secrets_moves_them_into_variables(
    arguments: list[str], kept: list[str], variables: dict[str, str]
) -> None:
    found: dict[str, str] = {}
    assert (without_secrets(arguments, found), found) == (kept, variables)


def test_every_secret_setting_has_its_flag_in_the_table() -> None:
    secret = {
        flag(each.name): variable(each.name)
        for each in (*options(UpSettings), *options(DemoSettings))
        if each.metadata["secret"]
    }
    assert secret | {"--token": "IME_LIVE_TOKEN"} == _FLAGS


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_secret_of_a_flag_is_not_in_the_arguments_of_the_process() -> None:
    secret = "a secret that nobody may read in a list"
    command = [sys.executable, "-m", "ime_live", "token", "inspect", "-", "--jwt-secret", secret]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        shown = Path(f"/proc/{process.pid}/cmdline")
        end = time.monotonic() + 30
        while not shown.read_bytes().endswith(b"token\0inspect\0-\0"):
            assert time.monotonic() < end
            time.sleep(0.005)
        assert secret.encode() not in shown.read_bytes()
        _, error = process.communicate(b"no token")
    assert secret.encode() not in error
    assert process.returncode != 0
