"""Settings of the gateway: its defaults, and values that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from ime_live.errors import SettingsError
from ime_live.settings import (
    AuthMode,
    DemoSettings,
    GatewaySettings,
    is_loopback,
)
from tests.support.rows import each_row
from tests.support.token_keys import SECRET


def gateway(**values: Any) -> GatewaySettings:  # noqa: ANN401 - any option
    return GatewaySettings(**{"jwt_secret": SECRET, **values})


def test_settings_have_documented_defaults() -> None:
    settings = gateway()
    assert settings.redis_url == "redis://127.0.0.1:6379"
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert (settings.ping_interval, settings.ping_timeout) == (20, 20)
    assert settings.slow_client_timeout == 60
    assert settings.max_contracts == 1000
    assert settings.max_client_message == 4096
    assert settings.contracts_interval <= 30
    assert settings.auth is AuthMode.JWT
    assert settings.zone.key == "Asia/Tehran"
    assert settings.request_rate == 100
    assert settings.origins == ()


@each_row("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
def test_auth_none_is_allowed_on_loopback(host: str) -> None:
    assert GatewaySettings(auth=AuthMode.NONE, host=host).auth is AuthMode.NONE


@each_row("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])  # noqa: S104
def test_auth_none_is_refused_elsewhere(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(SettingsError, match=f"--host must be a loopback address .*, got {host!r}"):
        GatewaySettings(auth=AuthMode.NONE, host=host)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_port_must_be_in_its_range(port: int) -> None:
    for make in (gateway, DemoSettings):
        with pytest.raises(SettingsError, match=f"--port must be .*, got {port}"):
            make(port=port)
    assert gateway(port=0).port == 0


@each_row("root_path", ["data", "/data/", "/"])
def test_root_path_must_start_with_a_slash(root_path: str) -> None:
    with pytest.raises(SettingsError, match="--root-path must start with '/' and not end"):
        gateway(root_path=root_path)
    assert gateway(root_path="/data-engine/ime").root_path


@each_row(
    "url",
    [
        "example.com",
        "ftp://example.com",
        "https://",
        "https://u:geheim@h",
        "https://h:x",
        "https://h/?a=1",
        "https://h/#a",
        "https://[h",
    ],
)
def test_public_url_must_be_an_http_url(url: str) -> None:
    with pytest.raises(SettingsError, match="--public-url must be an http") as refused:
        gateway(public_url=url)
    assert "geheim" not in str(refused.value)
    assert gateway(public_url="https://example.com:8443/data-engine/ime").public_url


@each_row("timezone", ["", "Tehran", "../etc/passwd", "/etc/localtime", "Asia"])
def test_timezone_must_exist(timezone: str) -> None:
    with pytest.raises(SettingsError, match=f"--timezone: {timezone!r} is not a time zone"):
        gateway(timezone=timezone)


@each_row(
    ("given", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        (
            " https://a.example , http://localhost:3000,",
            ("https://a.example", "http://localhost:3000"),
        ),
        ("http://[::1]:8080", ("http://[::1]:8080",)),
    ],
)
def test_cors_origins_are_read(given: str, origins: tuple[str, ...]) -> None:
    assert gateway(cors_origins=given).origins == origins


@each_row(
    "origin", ["a.example", "https://a.example/", "https://a.example/path", "https://", "null"]
)
def test_malformed_cors_origin_is_refused(origin: str) -> None:
    with pytest.raises(SettingsError, match=f"--cors-origins must .*, got {origin!r}"):
        gateway(cors_origins=f"https://b.example,{origin}")
