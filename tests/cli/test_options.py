from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import typer.main

from ime_live.cli import app
from ime_live.embedded import EmbeddedValkey
from ime_live.errors import SettingsError
from ime_live.settings import (
    DemoSettings,
    GatewaySettings,
    JwtSettings,
    StoreSettings,
    flag,
    options,
    variable,
)

Run = Callable[..., subprocess.CompletedProcess[str]]

SECRET = "made up for the tests, 32 bytes "


def command(path: str) -> Any:  # noqa: ANN401 - of Typer's own classes
    found: Any = typer.main.get_command(app)
    for name in path.split():
        found = found.commands[name]
    return found


@pytest.mark.parametrize(
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
def test_a_command_has_every_option_of_its_settings(path: str, settings: type[Any]) -> None:
    parameters = {each.name: each for each in command(path).params}
    for option in options(settings):
        parameter = parameters[option.name]
        assert parameter.opts == [flag(option.name)]
        assert parameter.envvar == variable(option.name)
        assert parameter.default == option.default
        assert parameter.help == option.metadata["help"]


def test_the_command_line_goes_before_the_environment(
    ime_live: Run, valkey: EmbeddedValkey
) -> None:
    nowhere = {"IME_LIVE_REDIS_URL": "redis://127.0.0.1:1"}
    assert ime_live("contracts", "list", **nowhere).returncode == 1
    assert ime_live("contracts", "list", "--redis-url", valkey.url, **nowhere).returncode == 0


def test_the_environment_sets_what_a_flag_does(ime_live: Run) -> None:
    given = {
        "IME_LIVE_AUTH": "none",
        "IME_LIVE_COMPRESSION": "false",
        "IME_LIVE_WORKERS": "0",  # which is refused, so that it does not serve
    }
    done = ime_live("serve", **given)
    assert (done.returncode, done.stderr) == (2, "ime-live: --workers must be above 0\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nonsense"], "No such command"),
        (["serve", "--port", "abc"], "Invalid value for '--port' (env var: 'IME_LIVE_PORT')"),
    ],
)
def test_wrong_use(ime_live: Run, arguments: list[str], error: str) -> None:
    done = ime_live(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    *usage, line = done.stderr.splitlines()
    assert usage[0].startswith("Usage: ime-live ")
    assert error in line


@pytest.mark.parametrize(
    ("settings", "values", "error"),
    [
        (StoreSettings, {"redis_timeout": 0.0}, "--redis-timeout must be above 0"),
        (StoreSettings, {"redis_timeout": float("nan")}, "--redis-timeout must be a number, not"),
        (JwtSettings, {"jwt_leeway": -1.0}, "--jwt-leeway must be 0 or more"),
        (DemoSettings, {"port": 65_536}, "--port must be 65535 or less"),
        (GatewaySettings, {"port": -1}, "--port must be 0 or more"),
        (GatewaySettings, {"drain": float("inf")}, "--drain must be a number, not inf"),
        (GatewaySettings, {"max_contracts": 0}, "--max-contracts must be above 0"),
        (GatewaySettings, {"timezone": "Mars/Base"}, "--timezone: Mars/Base is not a time zone"),
        (GatewaySettings, {"root_path": "a/"}, "--root-path begins with a slash"),
        (GatewaySettings, {"jwt_secret": ""}, "no authentication is configured"),
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


def test_without_a_command(ime_live: Run) -> None:
    done = ime_live()
    assert done.returncode == 2
    assert "Commands:" in done.stderr + done.stdout
    assert ime_live("--version").stdout.startswith("ime-live ")
