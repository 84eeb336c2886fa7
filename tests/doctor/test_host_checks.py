"""Checks of this machine: keys, ports and open files."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import pytest

from ime_live.doctor.check import Finding, run_checks
from ime_live.doctor.host_checks import HOST_CHECKS
from ime_live.settings import AuthMode, DoctorSettings


async def answers(settings: DoctorSettings) -> dict[str, Finding]:
    """The first answer of each check, by its name."""
    found: dict[str, Finding] = {}
    async for each in run_checks(HOST_CHECKS, settings):
        found.setdefault(each.check, each)
    return found


async def test_settings_without_a_key_fail() -> None:
    found = await answers(DoctorSettings(port=0))
    assert "must have a key" in found["settings"].text
    assert found["tokens"].level == "skipped"
    assert found["clock"].level == "ok"
    assert found["port"].level == "ok"


async def test_secret_is_accepted_and_is_in_no_answer() -> None:
    found = await answers(DoctorSettings(port=0, jwt_secret="s" * 40))
    assert found["settings"].text == "a gateway accepts them"
    assert found["tokens"].text == "checked with 1 key"
    assert "sssss" not in str(found)


async def test_key_that_cannot_be_read_fails_with_its_path(tmp_path: Path) -> None:
    found = await answers(DoctorSettings(port=0, jwks=str(tmp_path / "none.json")))
    assert found["tokens"].level == "failed"
    assert "none.json" in found["tokens"].text


async def test_disabled_authentication_is_a_warning() -> None:
    found = await answers(DoctorSettings(port=0, auth=AuthMode.NONE))
    assert found["tokens"].level == "warning"


async def test_port_that_is_taken_by_another_program_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.listen()
        accepted = taken.getsockname()[1]
        taken.close()
        with socket.create_server(("127.0.0.1", accepted)):
            found = await answers(DoctorSettings(port=accepted))
    assert found["port"].level == "failed"
    assert "address already in use" in found["port"].text


async def test_host_that_cannot_be_found_fails_with_the_reason() -> None:
    for host, reason in (
        ("fe80::1%nothing", "name or service not known"),
        ("..", "label empty or too long"),
    ):
        found = await answers(DoctorSettings(host=host, port=1234))
        assert found["port"].level == "failed"
        assert reason in found["port"].text


async def test_low_limit_of_open_files_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    found = await answers(DoctorSettings(port=0))
    assert (found["files"].level, "LimitNOFILE" in found["files"].remedy) == ("warning", True)
    assert "at most 4,096 without root" in found["files"].remedy
