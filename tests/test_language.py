"""Rules of language that a program can check: error messages, and formulas to avoid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ime_live
from ime_live.errors import RefusedError, SettingsError
from ime_live.gateway.auth.keys import authenticator_from
from ime_live.gateway.auth.tokens import create_token
from ime_live.gateway.query.parameters import Endpoint
from ime_live.gateway.query.query_string import Query
from ime_live.settings import (
    AuthMode,
    AuthSettings,
    DemoSettings,
    GatewaySettings,
    RecorderSettings,
    UpSettings,
    flag,
    options,
)

SOURCE = Path(ime_live.__file__).parent

FOLDERS = ("client", "cli", "feeds", "gateway", "local", "settings", "store")

FORMULAS = re.compile(
    r"see the module's text|must not know|comes? in[;,].* goe?s? out", re.IGNORECASE
)

# An error must contain the rule and the value that breaks it.
RULE = re.compile(r"\b(must|cannot|is not|expected)\b")

SECRET = "a secret of 32 bytes for testing"


@pytest.mark.parametrize("folder", ["", *FOLDERS])
def test_texts_use_no_formulas(folder: str) -> None:
    files = list((SOURCE / folder).rglob("*.py") if folder else SOURCE.glob("*.py"))
    assert files
    for file in files:
        text = " ".join(file.read_text(encoding="utf-8").split())
        found = FORMULAS.search(re.sub(r"[.] ", ".\n", text))
        assert found is None, f"{file.relative_to(SOURCE)}: {found and found[0]}"


def numbers_out_of_range() -> Iterator[tuple[type[Any], str, float]]:
    for made in (GatewaySettings, UpSettings, RecorderSettings, DemoSettings):
        for each in options(made):
            above, least, most = (each.metadata[name] for name in ("above", "least", "most"))
            if above is not None:
                yield made, each.name, above
            if least is not None:
                yield made, each.name, least - 1
            if most is not None:
                yield made, each.name, most + 1


def settings_that_cannot_be() -> Iterator[tuple[type[Any], dict[str, Any], str]]:
    for made, name, value in numbers_out_of_range():
        yield made, {name: value}, f"{flag(name)} must be .* got {value}"
    yield GatewaySettings, {"ping_interval": float("nan")}, "--ping-interval .* got nan"
    yield GatewaySettings, {"root_path": "api"}, "--root-path must start with '/' .* got 'api'"
    yield GatewaySettings, {"timezone": "Mars"}, "--timezone: 'Mars' is not a time zone"
    yield GatewaySettings, {"cors_origins": "a.example"}, "--cors-origins .* got 'a.example'"
    yield GatewaySettings, {"host": "::", "auth": AuthMode.NONE}, "--host must be .* got '::'"
    yield GatewaySettings, {"jwt_secret": ""}, "must have a key, got none"
    yield AuthSettings, {"jwt_secret": "short"}, "--jwt-secret must have .* got 5"


@pytest.mark.parametrize(("made", "values", "text"), list(settings_that_cannot_be()))
def test_error_of_setting_says_rule_and_value(
    made: type[Any], values: dict[str, Any], text: str
) -> None:
    given = {"jwt_secret": SECRET} if issubclass(made, AuthSettings) else {}
    with pytest.raises(SettingsError, match=text) as caught:
        made(**{**given, **values})
    assert RULE.search(str(caught.value))


def test_error_of_setting_shows_no_password() -> None:
    with pytest.raises(SettingsError, match="--public-url must be") as caught:
        GatewaySettings(jwt_secret=SECRET, public_url="https://user:geheim@example.org")
    assert "geheim" not in str(caught.value)


def refused_by_gateway(tmp_path: Path) -> Iterator[str]:
    """Every setting of the gateway that only its own parts refuse, as the text of the error."""
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----\n", encoding="utf-8")
    refused: tuple[dict[str, Any], ...] = (
        {"jwks": "ftp://issuer.example/keys"},
        {"jwks": "http://issuer.example/keys"},
        {"jwks": "https://user:geheim@issuer.example/keys"},
        {"jwks": "https://issuer.example:port/keys"},
        {"jwt_public_key": str(key)},
        {"jwt_public_key": str(Path(__file__))},
        {"jwks": str(key)},
    )
    for given in refused:
        with pytest.raises(SettingsError) as caught:
            authenticator_from(GatewaySettings(jwt_secret=SECRET, **given))
        yield str(caught.value)
    for secret, days in (("short", 1.0), (SECRET, 0.0)):
        with pytest.raises(SettingsError) as caught:
            create_token(secret, "alice", days, now=0)
        yield str(caught.value)


def test_error_of_authentication_says_rule_and_shows_no_password(tmp_path: Path) -> None:
    for text in refused_by_gateway(tmp_path):
        assert RULE.search(text), text
        assert "geheim" not in text


@pytest.mark.parametrize("name", ["market", "max_rate", "snapshot", "sections"])
def test_refusal_of_parameter_names_the_parameter_and_its_value(name: str) -> None:
    query = Query(Endpoint.SEARCH if name == "market" else Endpoint.STREAM_BY_NAME, f"{name}=wrong")
    with pytest.raises(RefusedError) as caught:
        query[name]
    assert name.removesuffix("s") in caught.value.reason
    assert "wrong" in caught.value.reason
