"""Options: their names, their types, their ranges, and the error that lists all faults."""

from __future__ import annotations

from typing import Any

import pytest

from ime_live.errors import SettingsError
from ime_live.settings import (
    AuthSettings,
    BarsSettings,
    DemoSettings,
    FeedSettings,
    GatewaySettings,
    JwtSettings,
    LogSettings,
    MetricsSettings,
    RecorderSettings,
    StoreSettings,
    UpSettings,
    flag,
    options,
    variable,
)
from tests.support.rows import each_row
from tests.support.token_keys import SECRET

CLASSES = (
    StoreSettings,
    LogSettings,
    JwtSettings,
    AuthSettings,
    GatewaySettings,
    DemoSettings,
    MetricsSettings,
    BarsSettings,
    FeedSettings,
    RecorderSettings,
    UpSettings,
)


def gateway(**values: Any) -> GatewaySettings:  # noqa: ANN401 - any option
    return GatewaySettings(**{"jwt_secret": SECRET, **values})


@each_row(
    ("name", "on_command_line", "in_environment"),
    [
        ("redis_url", "--redis-url", "IME_LIVE_REDIS_URL"),
        ("jwt_secret", "--jwt-secret", "IME_LIVE_JWT_SECRET"),
        ("jwt_public_key", "--jwt-public-key", "IME_LIVE_JWT_PUBLIC_KEY"),
        ("jwks", "--jwks", "IME_LIVE_JWKS"),
        ("auth", "--auth", "IME_LIVE_AUTH"),
        ("host", "--host", "IME_LIVE_HOST"),
        ("port", "--port", "IME_LIVE_PORT"),
        ("workers", "--workers", "IME_LIVE_WORKERS"),
        ("root_path", "--root-path", "IME_LIVE_ROOT_PATH"),
        ("docs", "--docs", "IME_LIVE_DOCS"),
        ("public_url", "--public-url", "IME_LIVE_PUBLIC_URL"),
    ],
)
def test_names_of_flags_and_variables_are_stable(
    name: str, on_command_line: str, in_environment: str
) -> None:
    assert name in {each.name for each in options(GatewaySettings)}
    assert (flag(name), variable(name)) == (on_command_line, in_environment)


@each_row("settings", CLASSES)
def test_each_option_is_declared_once_with_a_help_text(settings: type[Any]) -> None:
    found = options(settings)
    names = [each.name for each in found]
    assert len(names) == len(set(names)) == len(settings.__dataclass_fields__)
    for each in found:
        assert each.metadata["help"].endswith("."), each.name


def test_secrets_are_marked() -> None:
    secret = {each.name for each in options(GatewaySettings) if each.metadata["secret"]}
    assert secret == {"jwt_secret", "redis_url"}


@pytest.mark.parametrize(
    "name",
    [
        "workers",
        "max_contracts",
        "ping_interval",
        "ping_timeout",
        "slow_client_timeout",
        "client_rate",
        "max_client_message",
        "max_request",
        "handshake_timeout",
        "contracts_interval",
        "redis_timeout",
    ],
)
@pytest.mark.parametrize("value", [0, -1])
def test_numbers_must_be_above_zero(name: str, value: int) -> None:
    with pytest.raises(SettingsError, match=f"{flag(name)} must be above 0, got {value}"):
        gateway(**{name: value})


@each_row("name", ["shutdown_spread", "jwt_leeway", "send_buffer", "unsent_limit", "request_rate"])
def test_numbers_must_not_be_negative(name: str) -> None:
    gateway(**{name: 0})
    with pytest.raises(SettingsError, match=f"{flag(name)} must be 0 or more, got -1"):
        gateway(**{name: -1})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_must_be_finite(value: float) -> None:
    with pytest.raises(SettingsError, match=f"--ping-interval must be a number, got {value}"):
        gateway(ping_interval=value)


@each_row(
    ("values", "text"),
    [
        ({"redis_timeout": "x"}, "--redis-timeout must be a number, got 'x'"),
        ({"redis_timeout": True}, "--redis-timeout must be a number, got True"),
        ({"workers": 1.5}, "--workers must be a whole number, got 1.5"),
        ({"workers": "2"}, "--workers must be a whole number, got '2'"),
        ({"docs": "no"}, "--docs must be True or False, got 'no'"),
        ({"docs": 0}, "--docs must be True or False, got 0"),
        ({"auth": "none"}, "--auth must be one of jwt, none, got 'none'"),
        ({"host": None}, "--host must be a text, got None"),
        ({"jwt_secret": b"SECRET" * 9}, "--jwt-secret must be a text, got bytes"),
        ({"redis_url": 5}, "--redis-url must be a text, got int"),
    ],
)
def test_value_of_another_type_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        gateway(**values)
    assert str(refused.value) == text


@each_row("settings", CLASSES)
def test_option_refuses_values_of_other_types(settings: type[Any]) -> None:
    for each in options(settings):
        with pytest.raises(SettingsError, match=f"{flag(each.name)} must be "):
            settings(**{each.name: object()})


def test_error_of_settings_lists_every_fault() -> None:
    with pytest.raises(SettingsError) as refused:
        GatewaySettings(
            root_path="api", public_url="ftp://x", workers=0, timezone="Nowhere", key_prefix=""
        )
    faults = str(refused.value).split("; ")
    for option in ("--root-path", "--public-url", "--workers", "--timezone", "--key-prefix"):
        assert len([fault for fault in faults if fault.startswith(option)]) == 1
    assert "authentication must have a key, got none" in str(refused.value)
    assert "--public-url must be an http:// or https:// URL" in str(refused.value)
    assert "got 'ftp://x'" in str(refused.value)
