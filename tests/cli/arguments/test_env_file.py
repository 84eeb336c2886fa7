"""Files of environment variables: how lines are read, and which value precedes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ime_live.cli.arguments import env_file
from ime_live.errors import SettingsError

Run = Callable[..., subprocess.CompletedProcess[str]]

VARIABLE = "IME_LIVE_TEST_OF_ENV_FILES"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(env_file, "_paths", {})
    return tmp_path / "ime-live.env"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}=a b", "a b"),
        ("# comment\n\nexport {}='a b'", "a b"),
        ('{}="a#b" # comment', "a#b"),
        ("{}=pass$word${{HOME}}", "pass$word${HOME}"),
        ("{}=", ""),
        ("{0}=first\n{0}=last", "last"),
        ("{}=زعفران\r\n", "زعفران"),
        ("{}=x=y", "x=y"),
    ],
)
def test_env_file_values_are_not_expanded(file: Path, text: str, value: str) -> None:
    file.write_bytes(text.format(VARIABLE).encode())
    assert env_file.variables_of(file) == {VARIABLE: value}


@pytest.mark.parametrize("line", ["secret", "=secret", "a secret", "A='secret"])
def test_env_file_refuses_a_bad_line_without_showing_it(file: Path, line: str) -> None:
    file.write_text(f"{VARIABLE}=1\n{line}\n")
    with pytest.raises(SettingsError, match="line 2, must be NAME=value") as error:
        env_file.read(file)
    assert "secret" not in str(error.value)
    assert os.environ[VARIABLE] == ""


def test_env_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--env-file .* cannot be read: is a directory"):
        env_file.read(tmp_path)
    (tmp_path / "binary").write_bytes(b"A=\xff")
    with pytest.raises(SettingsError, match="must be UTF-8"):
        env_file.read(tmp_path / "binary")


def test_env_file_does_not_replace_variables_of_the_process(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "own")
    file.write_text(f"{VARIABLE}=other")
    env_file.read(file)
    assert (os.environ[VARIABLE], env_file.path_of(VARIABLE)) == ("own", None)


def test_env_file_sets_variables_and_is_named_as_their_source(file: Path) -> None:
    file.write_text(f"{VARIABLE}=one")
    env_file.read(file)
    assert (os.environ[VARIABLE], env_file.path_of(VARIABLE)) == ("one", file)


def test_command_takes_settings_from_an_environment_file(ime_live: Run, tmp_path: Path) -> None:
    file = tmp_path / "ime-live.env"
    file.write_text("IME_LIVE_WORKERS=0\nIME_LIVE_BANDS==1\n")
    options = ("serve", "--auth", "none")
    refused = (2, "ime-live: --workers must be above 0, got 0\n")
    for done in (
        ime_live(*options, "--env-file", file),
        ime_live(*options, IME_LIVE_ENV_FILE=str(file)),
    ):
        assert (done.returncode, done.stderr) == refused
    # Former names as in the environment.
    done = ime_live("feed", "ime", "--env-file", file)
    assert done.stderr.startswith("ime-live: --price-limits ")


def test_env_file_that_is_read_again_replaces_only_its_own_variables(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{VARIABLE}_OWN", "own")
    file.write_text(f"{VARIABLE}=one\n{VARIABLE}_OWN=two\n{VARIABLE}_GONE=three\n")
    env_file.read(file)
    file.write_text(f"{VARIABLE}=four\n{VARIABLE}_OWN=five\n")
    env_file.read_again(file)
    assert os.environ[VARIABLE] == "four"
    assert os.environ[f"{VARIABLE}_OWN"] == "own"
    assert f"{VARIABLE}_GONE" not in os.environ


@pytest.mark.parametrize("text", [None, "no assignment", f"{VARIABLE}='open"])
def test_env_file_that_cannot_be_read_again_changes_nothing(file: Path, text: str | None) -> None:
    file.write_text(f"{VARIABLE}=one\n")
    env_file.read(file)
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match="--env-file"):
        env_file.read_again(file)
    assert (os.environ[VARIABLE], env_file.path_of(VARIABLE)) == ("one", file)
