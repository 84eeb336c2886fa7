"""The systemd units of ``deploy/``: systemd accepts them, and our commands their options."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import typer.main

from ime_live.cli import app
from ime_live.gateway.http.lingering import CLOSE_TIMEOUT
from ime_live.settings import AuthMode, GatewaySettings, UpSettings
from tests.deploy.conftest import DEPLOY
from tests.support.rows import each_row

UNITS: Final = sorted((DEPLOY / "systemd").iterdir())
EXPOSURE: Final = 20
"""Tenths of systemd's exposure level of 0 to 10; it calls a level below 2 OK."""


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    return subprocess.run(  # noqa: S603 - our own command
        [program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def _installed(unit: Path, folder: Path) -> str:
    """A copy whose program exists on this machine, as an instance where it is a template."""
    path = folder / unit.name.replace("@.", "@8001.")
    path.write_text(unit.read_text().replace("/opt/ime-live/bin/ime-live", "/bin/true"))
    return str(path)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit_and_its_hardening(unit: Path, tmp_path: Path) -> None:
    path = _installed(unit, tmp_path)
    verified = _analyze("verify", path)
    assert (verified.returncode, verified.stderr) == (0, "")
    exposed = _analyze("security", "--offline=true", f"--threshold={EXPOSURE}", path)
    assert exposed.returncode == 0, exposed.stdout


@each_row(
    "unit",
    UNITS,
)
def test_command_of_the_unit_has_the_options_it_gives(unit: Path) -> None:
    match = re.search(r"^ExecStart=\S+/ime-live (.+)$", unit.read_text(), re.MULTILINE)
    assert match is not None
    arguments = match[1].replace("%i", "8001").split()
    command = typer.main.get_command(app)
    while arguments[0] in getattr(command, "commands", ()):
        command = command.commands[arguments.pop(0)]  # type: ignore[attr-defined] # Typer's own
    # The environment file is where systemd puts it; here there is none.
    at = arguments.index("--env-file")
    del arguments[at : at + 2]
    assert command.make_context("ime-live", arguments).params


@each_row(
    "unit",
    UNITS,
)
def test_unit_reloads_by_a_signal(unit: Path) -> None:
    assert "\nExecReload=/bin/kill -HUP $MAINPID\n" in unit.read_text()


@each_row(
    "unit",
    UNITS,
)
def test_unit_is_started_again_however_often_it_fails(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    assert "Restart=always" in lines
    # Without it, systemd gives up after five failures in ten seconds, as of a missing file.
    assert "StartLimitIntervalSec=0" in lines


def test_stop_of_up_leaves_the_order_to_its_main_process() -> None:
    lines = (DEPLOY / "systemd" / "ime-live-up.service").read_text().splitlines()
    assert "KillMode=mixed" in lines


def _value(unit: str, name: str) -> str:
    """The value of a unit's only line of that name."""
    [value] = re.findall(rf"^{name}=(.*)$", (DEPLOY / "systemd" / unit).read_text(), re.MULTILINE)
    return str(value)


@each_row(
    "unit",
    UNITS,
)
def test_unit_gets_secrets_by_a_credential_only(unit: Path) -> None:
    assert _value(unit.name, "LoadCredential") == "ime-live.env:/etc/ime-live/ime-live.env"
    assert "--env-file %d/ime-live.env" in _value(unit.name, "ExecStart")
    assert "Environment" not in unit.read_text()


@pytest.mark.parametrize("unit", ["ime-live@.service", "ime-live-up.service"])
def test_unit_gives_a_gateway_time_and_files_for_its_clients(unit: str) -> None:
    kind = UpSettings if "up" in unit else GatewaySettings
    settings = kind(auth=AuthMode.NONE)
    needed = settings.shutdown_grace + settings.shutdown_spread + CLOSE_TIMEOUT
    assert int(_value(unit, "TimeoutStopSec")) > needed
    assert int(_value(unit, "LimitNOFILE")) > settings.max_connections


def test_up_keeps_its_data_in_the_state_directory() -> None:
    folder = _value("ime-live-up.service", "StateDirectory")
    assert f"--data %S/{folder} " in _value("ime-live-up.service", "ExecStart")
