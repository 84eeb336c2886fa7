"""Options of the commands: flags, variables, help, completion, and errors of wrong use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ime_live.cli import app
from ime_live.cli.arguments.options import OPTIONS
from ime_live.errors import SettingsError
from ime_live.gateway.query.parameters import PARAMETERS
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import (
    DemoSettings,
    GatewaySettings,
    JwtSettings,
    StoreSettings,
    flag,
    options,
    variable,
)
from tests.support.fork_server import ForkedProcess
from tests.support.paths import ROOT
from tests.support.rows import each_row

Run = Callable[..., subprocess.CompletedProcess[str]]

SECRET = "made up for the tests, 32 bytes "


def command(path: str) -> Any:  # noqa: ANN401 - of Typer's own classes
    found: Any = typer.main.get_command(app)
    for name in path.split():
        found = found.commands[name]
    return found


@each_row(
    ("path", "settings"),
    [
        ("serve", GatewaySettings),
        ("demo", DemoSettings),
        ("token inspect", JwtSettings),
        *(
            (path, StoreSettings)
            for path in (
                "publish",
                "feed replay",
                "contracts import",
                "contracts list",
                "contracts show",
                "contracts remove",
            )
        ),
    ],
)
def test_command_has_every_option_of_its_settings(path: str, settings: type[Any]) -> None:
    parameters = {each.name: each for each in command(path).params}
    for option in options(settings):
        parameter = parameters[option.name]
        assert parameter.opts == [flag(option.name)]
        assert parameter.envvar == variable(option.name)
        assert parameter.default == option.default
        assert parameter.help == option.metadata["help"]


def test_command_line_precedes_the_environment(ime_live: Run, valkey: EmbeddedValkey) -> None:
    nowhere = {"IME_LIVE_REDIS_URL": "redis://127.0.0.1:1"}
    assert ime_live("contracts", "list", **nowhere).returncode == 1
    assert ime_live("contracts", "list", "--redis-url", valkey.url, **nowhere).returncode == 0


@pytest.mark.parametrize(
    ("flags", "environment", "refused"),
    [
        (["--price-limits", "=1"], {}, True),
        (["--bands", "=1"], {}, True),
        (["--bands==1"], {}, True),
        ([], {"IME_LIVE_BANDS": "=1"}, True),
        (["--bands", "=1"], {"IME_LIVE_PRICE_LIMITS": "SAF=0.1"}, True),
        (["--bands", "SAF=0.1"], {"IME_LIVE_PRICE_LIMITS": "=1"}, False),
        ([], {"IME_LIVE_BANDS": "=1", "IME_LIVE_PRICE_LIMITS": "SAF=0.1"}, False),
    ],
)
def test_former_name_of_an_option_is_accepted(
    ime_live: Run, flags: list[str], environment: dict[str, str], refused: bool
) -> None:
    # If the limits are accepted, a malformed holiday ends the command.
    done = ime_live("feed", "ime", *flags, "--holidays", "nonsense", **environment)
    named = "--price-limits" if refused else "--holidays"
    assert done.returncode == 2
    assert done.stderr.startswith(f"ime-live: {named}")


def test_deprecated_names_are_those_of_the_document() -> None:
    text = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\S+)`.* \| `(\S+)` \| 0\.\d+ \| 0\.\d+ \|$", text, re.MULTILINE)
    former = {
        (flag(each.metadata["former"]), flag(each.name))
        for each in OPTIONS.values()
        if each.metadata["former"]
    }
    for each in PARAMETERS:
        former |= {(f"{old}=true", f"{each.name}=true") for old in each.former}
    assert len(rows) > 5
    assert sorted(rows) == sorted(former)


def test_help_does_not_show_former_names(ime_live: Run) -> None:
    shown = ime_live("feed", "ime", "--help").stdout
    assert "--price-limits" in shown
    assert "IME_LIVE_PRICE_LIMITS" in shown
    assert "bands" not in shown.lower()


def test_environment_sets_every_option(ime_live: Run) -> None:
    given = {
        "IME_LIVE_AUTH": "none",
        "IME_LIVE_COMPRESSION": "false",
        "IME_LIVE_WORKERS": "0",  # which is refused, so that it does not serve
    }
    done = ime_live("serve", **given)
    assert (done.returncode, done.stderr) == (2, "ime-live: --workers must be above 0, got 0\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nonsense"], "No such command"),
        (["serve", "--port", "abc"], "Invalid value for '--port' (env var: 'IME_LIVE_PORT')"),
        (["serve", "--port", "abc"], "must be a whole number, got 'abc'"),
        (["serve", "--ping-interval", "x"], "must be a number, got 'x'"),
    ],
)
def test_wrong_use_of_a_command_is_status_2(
    ime_live: Run, arguments: list[str], error: str
) -> None:
    done = ime_live(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    *usage, line = done.stderr.splitlines()
    assert usage[0].startswith("Usage: ime-live ")
    assert error in line


@each_row(
    ("settings", "values", "error"),
    [
        (StoreSettings, {"redis_timeout": 0.0}, "--redis-timeout must be above 0, got 0.0"),
        (
            StoreSettings,
            {"redis_timeout": float("nan")},
            "--redis-timeout must be a number, got nan",
        ),
        (JwtSettings, {"jwt_leeway": -1.0}, "--jwt-leeway must be 0 or more, got -1.0"),
        (DemoSettings, {"port": 65_536}, "--port must be 65535 or less, got 65536"),
        (GatewaySettings, {"port": -1}, "--port must be 0 or more, got -1"),
        (
            GatewaySettings,
            {"shutdown_spread": float("inf")},
            "--shutdown-spread must be a number, got inf",
        ),
        (GatewaySettings, {"max_contracts": 0}, "--max-contracts must be above 0, got 0"),
        (GatewaySettings, {"timezone": "Mars/Base"}, "--timezone: 'Mars/Base' is not a time zone"),
        (GatewaySettings, {"root_path": "a/"}, "--root-path must start with '/' .*, got 'a/'"),
        (GatewaySettings, {"jwt_secret": ""}, "authentication must have a key, got none"),
    ],
)
def test_numbers_out_of_their_range(
    settings: type[Any], values: dict[str, Any], error: str
) -> None:
    given = {"jwt_secret": SECRET} if settings is GatewaySettings else {}
    with pytest.raises(SettingsError, match=error):
        settings(**{**given, **values})


def test_help_shows_defaults_and_no_secret(ime_live: Run) -> None:
    url = "redis://user:geheim@127.0.0.1:1"
    done = ime_live("serve", "-h", IME_LIVE_REDIS_URL=url, IME_LIVE_JWT_SECRET=SECRET)
    assert (done.returncode, done.stderr) == (0, "")
    assert "geheim" not in done.stdout
    assert SECRET not in done.stdout
    words = " ".join(done.stdout.split())
    assert "IME_LIVE_REDIS_URL; default: redis://127.0.0.1:6379]" in words
    assert "--auth jwt|none" in words
    assert words.index("--host") < words.index("--redis-url") < words.index("--log-level")


def test_missing_command_prints_help(ime_live: Run) -> None:
    done = ime_live()
    assert done.returncode == 2
    assert "Commands:" in done.stderr + done.stdout


@pytest.mark.parametrize(("variable", "language"), [("1", "Python"), ("", r"(C|Python)")])
def test_version_says_the_commit_and_the_language_of_the_fan_out(
    env: dict[str, str], variable: str, language: str
) -> None:
    # Started anew: a forked process has the modules that are imported here.
    done = subprocess.run(
        [sys.executable, "-m", "ime_live", "--version"],
        env=env | {"IME_LIVE_NO_EXTENSIONS": variable},
        capture_output=True,
        text=True,
        check=True,
    )
    commit = r"(commit [0-9a-f]{12}(\+dirty)?, )?"
    assert re.fullmatch(rf"ime-live \S+ \({commit}fan-out in {language}\)\n", done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize("level", ["INFO", "Warning", "error"])
def test_words_are_taken_in_any_case(ime_live: Run, level: str) -> None:
    given = {"IME_LIVE_AUTH": "None", "IME_LIVE_WORKERS": "0"}
    done = ime_live("serve", "--log-level", level, "--log-format", "JSON", **given)
    assert (done.returncode, done.stderr) == (2, "ime-live: --workers must be above 0, got 0\n")
    done = ime_live("serve", "--log-level", "loud")
    assert done.returncode == 2
    assert "Invalid value for '--log-level'" in done.stderr
    assert done.stderr.endswith(": must be one of debug, info, warning, error, got 'loud'\n")


def test_unknown_variable_is_reported(ime_live: Run, valkey: EmbeddedValkey) -> None:
    given = {
        "IME_LIVE_REDIS_ULR": "redis://user:geheim@127.0.0.1:1",
        "IME_LIVE_NONSENSE": "1",
        "IME_LIVE_URL": "ws://127.0.0.1:8000",  # of the client library
        "IME_LIVE_JWT_SECRET": SECRET,  # of another command
        "OTHER_REDIS_URL": "x",
    }
    done = ime_live("contracts", "list", **given)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "ime-live: IME_LIVE_NONSENSE is not a setting and has no effect",
        (
            "ime-live: IME_LIVE_REDIS_ULR is not a setting and has no effect; "
            "did you mean IME_LIVE_REDIS_URL?"
        ),
    ]
    # Also if the misspelt variable is the missing setting.
    done = ime_live("serve", IME_LIVE_JWT_SECRT=SECRET)
    assert done.returncode == 2
    warning, error = done.stderr.splitlines()
    assert warning.endswith("did you mean IME_LIVE_JWT_SECRET?")
    assert error.startswith("ime-live: authentication must have a key, got none")
    assert SECRET not in done.stderr


def test_unknown_variable_is_a_log_line_where_there_is_a_log(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start(
        *("serve", "--auth", "none", "--port", "0", "--log-format", "json", "--host", "[::1]"),
        IME_LIVE_LOG_LEVLE="info",
    )
    assert process.stderr is not None
    first, second = (json.loads(process.stderr.readline()) for _ in range(2))
    assert (first["event"], first["level"]) == ("environment variable is not a setting", "warning")
    assert (first["variable"], first["meant"]) == ("IME_LIVE_LOG_LEVLE", "IME_LIVE_LOG_LEVEL")
    # An address of IPv6 may be written as in a URL.
    assert (second["event"], second["host"]) == ("listening", "::1")
    assert any("contracts loaded" in line for line in process.stderr)
    with urllib.request.urlopen(f"http://[::1]:{second['port']}/health", timeout=15) as answer:
        assert answer.status == 200


# -- output that nobody reads ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["serve", "--help"],
        ["--version"],
        ["contracts", "list"],
        ["contracts", "show", "A"],
        ["token", "create", "--subject", "x", "--jwt-secret", SECRET],
    ],
    ids=" ".join,
)
def test_closed_pipe_ends_quietly(
    env: dict[str, str], register: Callable[..., None], arguments: list[str]
) -> None:
    register(("1", "A"))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with ForkedProcess[bytes](
            "ime_live", arguments, stdout=writer, stderr=subprocess.PIPE, env=env
        ) as process:
            _, said = process.communicate(timeout=60)
    finally:
        os.close(writer)
    assert (process.returncode, said) == (1, b"")


def test_full_disk_is_one_line(env: dict[str, str], register: Callable[..., None]) -> None:
    register(("1", "A"))
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "ime_live", "contracts", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=env,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"ime-live: output cannot be written: no space left on device\n"


@pytest.mark.parametrize("command", [["publish", "-"], ["feed", "replay", "-"]])
def test_errors_that_nobody_reads_end_quietly(
    env: dict[str, str], tmp_path: Path, command: list[str]
) -> None:
    bad = tmp_path / "bad"
    bad.write_text('{"bad"\n' * 3000)
    if command[0] == "feed":
        command = [*command[:-1], str(bad)]
    reader, writer = os.pipe()
    with bad.open("rb") as lines:
        process = ForkedProcess[bytes](
            "ime_live",
            command,
            stdin=lines,
            stdout=subprocess.PIPE,
            stderr=writer,
            env=env,
        )
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as said:
        assert said.read(10)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, b"")


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_shows_the_traceback_wherever_it_stands(
    env: dict[str, str], tmp_path: Path, place: int
) -> None:
    arguments = ["tail", "1", "--redis-url=redis://127.0.0.1:1"]
    arguments.insert(place, "--debug")
    with ForkedProcess[str](
        "ime_live", arguments, env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback (most recent call last)" in said
    assert said.endswith("ime-live: Redis at 127.0.0.1:1 refused the connection\n")


def test_shell_completes_commands_and_names_of_contracts(
    ime_live: Run,
    serve: Callable[..., str],
    database: Any,  # noqa: ANN401 - see the fixture
) -> None:
    record = {"contractId": "1", "contractName": "SAF1", "market": "IMEFutures"}
    database.hset("ime:contracts", "1", json.dumps(record))
    url = f"http://{serve()}"
    completion = {"_IME_LIVE_COMPLETE": "complete_bash", "IME_LIVE_URL": url}
    done = ime_live(**completion, COMP_WORDS="ime-live wat", COMP_CWORD="1")
    assert done.stdout.split() == ["watch"]
    done = ime_live(**completion, COMP_WORDS="ime-live watch SA", COMP_CWORD="2")
    assert done.stdout.split() == ["SAF1"]
    completion["IME_LIVE_URL"] = "http://127.0.0.1:1"
    done = ime_live(**completion, COMP_WORDS="ime-live watch SA", COMP_CWORD="2")
    assert done.stdout.split() == []
