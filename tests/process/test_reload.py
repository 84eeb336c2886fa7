"""Reloading settings: live options change, others wait for a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from ime_live.errors import SettingsError
from ime_live.logs import configure_logging
from ime_live.process.reload import Reloader, compare
from ime_live.settings import AuthMode, GatewaySettings, LogLevel, LogSettings
from tests.support.token_keys import SECRET

NEW_SECRET = "another secret of the tests, long enough too"
FORMER = GatewaySettings(jwt_secret=SECRET, max_connections=5)


def reader(result: GatewaySettings | SettingsError) -> Callable[[], GatewaySettings]:
    def read() -> GatewaySettings:
        if isinstance(result, SettingsError):
            raise result
        return result

    return read


@pytest.fixture
def _log() -> None:
    configure_logging(LogSettings())


def test_equal_settings_change_nothing() -> None:
    reloaded = compare(FORMER, replace(FORMER))
    assert (reloaded.settings, reloaded.changes, reloaded.waiting) == (FORMER, (), ())


def test_live_options_change_and_the_others_wait() -> None:
    given = replace(
        FORMER, max_connections=6, stream_origins="loopback", port=1, key_prefix="other:"
    )
    reloaded = compare(FORMER, given)
    assert reloaded.settings == replace(FORMER, max_connections=6, stream_origins="loopback")
    assert sorted(reloaded.changes) == [
        "--max-connections 5 -> 6",
        "--stream-origins * -> loopback",
    ]
    assert sorted(reloaded.waiting) == ["--key-prefix", "--port"]


def test_changes_do_not_show_secrets() -> None:
    [change] = compare(FORMER, replace(FORMER, jwt_secret=NEW_SECRET)).changes
    assert change == "--jwt-secret (not shown)"


def test_live_options_must_fit_the_former_ones() -> None:
    without_key = GatewaySettings(auth=AuthMode.NONE)
    with pytest.raises(SettingsError, match="authentication must have a key, got none"):
        compare(FORMER, without_key)


def test_reloader_keeps_the_settings_that_it_has_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    # It would take the lines from `capture_logs`.
    monkeypatch.setattr("ime_live.process.reload.configure_logging", lambda _: None)
    reloader = Reloader(FORMER, reader(replace(FORMER, max_connections=6, port=1)))
    with capture_logs() as lines:
        reloader.reload()
    assert reloader.settings == replace(FORMER, max_connections=6)
    assert [line["event"] for line in lines] == [
        "settings reloaded",
        "changed settings take effect at the next start",
    ]
    assert lines[1]["settings"] == ["--port"]


@pytest.mark.usefixtures("_log")
@pytest.mark.parametrize("fault", ["read", "check"])
def test_reloader_refuses_settings_with_one_line(fault: str) -> None:
    error = SettingsError("--jwks must be a file")

    def check(settings: GatewaySettings) -> None:
        assert settings.max_connections == 6
        raise error

    read = reader(error if fault == "read" else replace(FORMER, max_connections=6))
    reloader = Reloader(FORMER, read, check=check)
    with capture_logs() as lines:
        reloader.reload()
    assert reloader.settings == FORMER
    [line] = lines
    assert (line["log_level"], line["error"]) == ("error", "--jwks must be a file")


@pytest.mark.usefixtures("_log")
def test_reloader_sets_the_level_of_the_log() -> None:
    import structlog

    former = LogSettings()
    reloader = Reloader(former, lambda: LogSettings(log_level=LogLevel.ERROR))
    try:
        reloader.reload()
        assert not structlog.get_logger().is_enabled_for(30)
    finally:
        configure_logging(former)
