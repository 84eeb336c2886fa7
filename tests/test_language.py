"""Rules of language that a program can check: error messages, and texts and names of tests."""

from __future__ import annotations

import ast
import io
import re
import tokenize
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
from tests.support.rows import each_row

SOURCE = Path(ime_live.__file__).parent
TESTS = Path(__file__).parent

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
            above, minimum, maximum = (
                each.metadata[name] for name in ("above", "minimum", "maximum")
            )
            if above is not None:
                yield made, each.name, above
            if minimum is not None:
                yield made, each.name, minimum - 1
            if maximum is not None:
                yield made, each.name, maximum + 1


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


def test_error_of_setting_says_rule_and_value() -> None:
    for made, values, text in settings_that_cannot_be():
        given = {"jwt_secret": SECRET} if issubclass(made, AuthSettings) else {}
        try:
            made(**{**given, **values})
        except SettingsError as error:
            said = str(error)
        else:
            said = "no error"
        assert re.search(text, said), f"{made.__name__} with {values}: {said}"
        assert RULE.search(said), f"{made.__name__} with {values}: {said}"


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


@each_row("name", ["market", "max_rate", "snapshot", "sections"])
def test_refusal_of_parameter_names_the_parameter_and_its_value(name: str) -> None:
    query = Query(Endpoint.SEARCH if name == "market" else Endpoint.STREAM_BY_NAME, f"{name}=wrong")
    with pytest.raises(RefusedError) as caught:
        query[name]
    assert name.removesuffix("s") in caught.value.reason
    assert "wrong" in caught.value.reason


# -- texts and names of tests -------------------------------------------------------------------

# A sentence that begins so has no subject that is named; after a colon, it may.
NO_SUBJECT = re.compile(
    r"^(?:what|who|whoever|whatever)\b|[.;] (?:What|Who|Whoever|Whatever)\b[^?]*$"
    r"|\b[Tt]ime stamps?\b|\b(?:once|one line) a (?:minute|kind|contract)\b",
    re.IGNORECASE,
)

# `pytest -k WORD` must find tests; words of the glossary and of the protocols.
SEARCHED = """
    backoff cluster close_code close_reason cors conflat duplicate etag event expire failover
    fan_out fencing flood gzip half_close handshake heartbeat holiday import jalali jwks keep_alive
    lag last_event_id leader lease lift lingering max_rate metric negotiation outage
    permessage_deflate ping pipelin polling pong price_limits proxy rate_limit reconcil reconnect
    recording redirect registry replay resume retry_after revoke rotat search section sentinel
    shutdown since skipped slow_client snapshot spelling sse stale standby static_data status
    subscribe subscriber suggest throttl timestamp tls token unsubscribe utf_8 version websocket
    worker
"""


def texts_of(source: str) -> Iterator[str]:
    """Return docstrings and comments, each on one line; comments of several lines are joined."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield " ".join((ast.get_docstring(node) or "").split())
    block, line = "", 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.strip("#- ")
            if token.start[0] == line + 1 and token.line.lstrip().startswith("#"):
                block += f" {text}"
            else:
                yield block
                block = text
            line = token.start[0]
    yield block


def names_of_tests() -> list[str]:
    files = sorted(TESTS.rglob("test_*.py"))
    return [
        name
        for file in files
        for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))
    ]


@pytest.mark.thorough
def test_texts_of_tests_name_the_subject_of_sentences() -> None:
    assert [
        (file.name, text)
        for file in TESTS.rglob("*.py")
        for text in texts_of(file.read_text(encoding="utf-8"))
        if NO_SUBJECT.search(text) or FORMULAS.search(text)
    ] == []


@each_row(
    "source",
    [
        '"""What a client gets."""',
        "def f():\n    '''It ends. Whoever waits is told.'''\n",
        "x = 1  # who has left\n",
        "# Frames come in, and\n# messages go out.\n",
        "# Once a minute.\n",
    ],
)
def test_text_without_a_named_subject_is_found(source: str) -> None:
    assert any(NO_SUBJECT.search(text) or FORMULAS.search(text) for text in texts_of(source))


def test_names_of_tests_say_unit_condition_and_result() -> None:
    unnamed = re.compile(r"_(?:what|who|whom|whoever|whatever)(?:_|$)|^test_(?:it|they|those)_")
    names = names_of_tests()
    assert [name for name in names if unnamed.search(name) or name.count("_") < 3] == []


def test_search_word_finds_a_test() -> None:
    names = "\n".join(names_of_tests())
    assert [word for word in SEARCHED.split() if word not in names] == []
