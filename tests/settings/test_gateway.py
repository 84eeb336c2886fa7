"""The table of settings: names, defaults, and what is refused with a text that names the option."""

from __future__ import annotations

from typing import Any

import pytest

from ime_live.errors import SettingsError
from ime_live.settings import (
    AuthMode,
    AuthSettings,
    DemoSettings,
    GatewaySettings,
    JwtSettings,
    LogSettings,
    StoreSettings,
    flag,
    is_loopback,
    options,
    variable,
)

SECRET = "0123456789abcdef0123456789abcdef"
CLASSES = (StoreSettings, LogSettings, JwtSettings, AuthSettings, GatewaySettings, DemoSettings)


def gateway(**values: Any) -> GatewaySettings:  # noqa: ANN401 - any option
    return GatewaySettings(**{"jwt_secret": SECRET, **values})


class TestNames:
    @pytest.mark.parametrize(
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
        self, name: str, on_command_line: str, in_environment: str
    ) -> None:
        assert name in {each.name for each in options(GatewaySettings)}
        assert (flag(name), variable(name)) == (on_command_line, in_environment)

    def test_demo_has_host_port_and_seed(self) -> None:
        assert {"host", "port", "seed"} <= {each.name for each in options(DemoSettings)}

    @pytest.mark.parametrize("settings", CLASSES)
    def test_every_option_is_there_once_and_explained(self, settings: type[Any]) -> None:
        found = options(settings)
        names = [each.name for each in found]
        assert len(names) == len(set(names)) == len(settings.__dataclass_fields__)
        for each in found:
            assert each.metadata["help"].endswith("."), each.name

    def test_secrets_are_marked(self) -> None:
        secret = {each.name for each in options(GatewaySettings) if each.metadata["secret"]}
        assert secret == {"jwt_secret", "redis_url"}


class TestDefaults:
    def test_settings_have_documented_defaults(self) -> None:
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


class TestAuthentication:
    def test_jwt_without_a_key_is_refused(self) -> None:
        with pytest.raises(
            SettingsError, match="authentication must have a key, got none: set --jwt-s"
        ):
            GatewaySettings()

    @pytest.mark.parametrize("name", ["jwt_public_key", "jwks"])
    def test_one_key_is_enough(self, name: str) -> None:
        assert gateway(**{"jwt_secret": "", name: "file"}).auth is AuthMode.JWT

    def test_short_secret_is_refused(self) -> None:
        with pytest.raises(
            SettingsError, match=r"--jwt-secret must have at least 32 bytes .*, got 31"
        ):
            AuthSettings(jwt_secret=SECRET[1:])
        assert AuthSettings(jwt_secret="س" * 16).jwt_secret

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
    def test_auth_none_is_allowed_on_loopback(self, host: str) -> None:
        assert GatewaySettings(auth=AuthMode.NONE, host=host).auth is AuthMode.NONE

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])  # noqa: S104
    def test_auth_none_is_refused_elsewhere(self, host: str) -> None:
        assert not is_loopback(host)
        with pytest.raises(
            SettingsError, match=f"--host must be a loopback address .*, got {host!r}"
        ):
            GatewaySettings(auth=AuthMode.NONE, host=host)


class TestRanges:
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
    def test_numbers_must_be_above_zero(self, name: str, value: int) -> None:
        with pytest.raises(SettingsError, match=f"{flag(name)} must be above 0, got {value}"):
            gateway(**{name: value})

    @pytest.mark.parametrize(
        "name", ["shutdown_spread", "jwt_leeway", "send_buffer", "unsent_limit", "request_rate"]
    )
    def test_numbers_must_not_be_negative(self, name: str) -> None:
        gateway(**{name: 0})
        with pytest.raises(SettingsError, match=f"{flag(name)} must be 0 or more, got -1"):
            gateway(**{name: -1})

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_numbers_must_be_finite(self, value: float) -> None:
        with pytest.raises(SettingsError, match=f"--ping-interval must be a number, got {value}"):
            gateway(ping_interval=value)

    @pytest.mark.parametrize("port", [-1, 65_536])
    def test_port_must_be_in_its_range(self, port: int) -> None:
        for make in (gateway, DemoSettings):
            with pytest.raises(SettingsError, match=f"--port must be .*, got {port}"):
                make(port=port)
        assert gateway(port=0).port == 0

    @pytest.mark.parametrize("root_path", ["data", "/data/", "/"])
    def test_root_path_must_start_with_a_slash(self, root_path: str) -> None:
        with pytest.raises(SettingsError, match="--root-path must start with '/' and not end"):
            gateway(root_path=root_path)
        assert gateway(root_path="/data-engine/ime").root_path

    @pytest.mark.parametrize(
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
    def test_public_url_must_be_an_http_url(self, url: str) -> None:
        with pytest.raises(SettingsError, match="--public-url must be an http") as refused:
            gateway(public_url=url)
        assert "geheim" not in str(refused.value)
        assert gateway(public_url="https://example.com:8443/data-engine/ime").public_url

    @pytest.mark.parametrize(
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
    def test_cors_origins_are_read(self, given: str, origins: tuple[str, ...]) -> None:
        assert gateway(cors_origins=given).origins == origins

    @pytest.mark.parametrize(
        "origin", ["a.example", "https://a.example/", "https://a.example/path", "https://", "null"]
    )
    def test_malformed_cors_origin_is_refused(self, origin: str) -> None:
        with pytest.raises(SettingsError, match=f"--cors-origins must .*, got {origin!r}"):
            gateway(cors_origins=f"https://b.example,{origin}")

    @pytest.mark.parametrize("timezone", ["", "Tehran", "../etc/passwd", "/etc/localtime", "Asia"])
    def test_timezone_must_exist(self, timezone: str) -> None:
        with pytest.raises(SettingsError, match=f"--timezone: {timezone!r} is not a time zone"):
            gateway(timezone=timezone)


class TestTypes:
    @pytest.mark.parametrize(
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
    def test_value_of_another_type(self, values: dict[str, Any], text: str) -> None:
        with pytest.raises(SettingsError) as refused:
            gateway(**values)
        assert str(refused.value) == text

    @pytest.mark.parametrize("settings", CLASSES)
    def test_every_option_has_its_type(self, settings: type[Any]) -> None:
        for each in options(settings):
            with pytest.raises(SettingsError, match=f"{flag(each.name)} must be "):
                settings(**{each.name: object()})

    @pytest.mark.parametrize("prefix", ["", " "])
    def test_key_prefix_is_not_empty(self, prefix: str) -> None:
        with pytest.raises(SettingsError, match=f"--key-prefix must not be empty, got {prefix!r}"):
            StoreSettings(key_prefix=prefix)


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
