"""The image and the Compose file of ``deploy/``, read as text: tests have no Docker."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
import yaml  # type: ignore[import-untyped] # it has no types, nor do we need them

from ime_live.cli import app
from ime_live.gateway.http.lingering import CLOSE_TIMEOUT
from ime_live.settings import AuthMode, GatewaySettings
from tests.deploy.conftest import DEPLOY
from tests.support.rows import each_row

DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
COMPOSE: Any = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
OURS = ("feed", "bars", "gateway-1", "gateway-2")


def test_image_runs_without_root_and_checks_health() -> None:
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert "\nUSER 10001\n" in last
    assert re.search(r"HEALTHCHECK .*\\\n.*/health'", last)
    assert "/ready'" not in last
    # The compiler is in the first stage only.
    assert "gcc" in DOCKERFILE
    assert "gcc" not in last


@each_row("name", OURS)
def test_service_has_a_read_only_root_and_no_capabilities(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["depends_on"]["valkey"]["condition"] == "service_healthy"


@each_row("name", OURS)
def test_service_runs_a_command_of_ours(name: str) -> None:
    command: Any = typer.main.get_command(app)
    for word in COMPOSE["services"][name]["command"]:
        command = command.commands[word]
    assert not hasattr(command, "commands")


def test_gateways_have_time_to_close_their_clients() -> None:
    settings = GatewaySettings(auth=AuthMode.NONE)
    needed = settings.shutdown_grace + settings.shutdown_spread + CLOSE_TIMEOUT
    for name in ("gateway-1", "gateway-2"):
        assert int(COMPOSE["services"][name]["stop_grace_period"][:-1]) > needed


@pytest.mark.parametrize("name", ["feed", "bars"])
def test_programs_without_clients_answer_the_health_check_of_the_image(name: str) -> None:
    service = COMPOSE["services"][name]
    assert "healthcheck" not in service
    assert service["environment"][f"IME_LIVE_{name.upper()}_METRICS_PORT"] == 8000
    assert service["environment"]["IME_LIVE_REDIS_URL"]
