"""`ime-live settings`: the value of each option, and where it comes from."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

SECRET = "made up for the tests, 32 bytes "


def test_settings_shows_each_value_and_its_source(ime_live: Run, tmp_path: Path) -> None:
    file = tmp_path / "ime-live.env"
    file.write_text(f"IME_LIVE_JWT_SECRET='{SECRET}'\nIME_LIVE_PORT=1\nIME_LIVE_WORKERS=2\n")
    done = ime_live(
        *("settings", "serve", "--port", "9000", "--no-docs", "--env-file", file),
        IME_LIVE_LOG_LEVEL="debug",
        IME_LIVE_REDIS_URL="redis://:geheim@example.org",
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    shown = {name: rest.rsplit(maxsplit=1) for name, rest in lines}
    assert shown["--port"] == ["9000", "flag"]
    assert shown["--docs"] == ["false", "flag"]
    assert shown["--workers"] == ["2", str(file)]
    assert shown["--log-level"] == ["debug", "IME_LIVE_LOG_LEVEL"]
    assert shown["--root-path"] == ["-", "default"]
    assert shown["--jwt-secret"] == ["(set, not shown)", str(file)]
    assert shown["--redis-url"] == ["(set, not shown)", "IME_LIVE_REDIS_URL"]
    assert SECRET not in done.stdout
    assert "geheim" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("feed",), "the command must be one of ime, record, replay, got none"),
        (("nonsense",), "settings, contracts, feed, token, got 'nonsense'"),
        (("serve", "--nonsense"), "No such option: --nonsense"),
        (("serve", "--port", "x"), "Invalid value for '--port'"),
        ((), "Missing argument"),
    ],
)
def test_settings_of_something_else_are_refused(
    ime_live: Run, arguments: tuple[str, ...], error: str
) -> None:
    done = ime_live("settings", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr
