"""The errors: the tree in the module's text is the real one, and reasons fit a close frame."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ime_live import errors
from ime_live.errors import (
    MAX_REASON_BYTES,
    AuthenticationError,
    CloseCode,
    ImeLiveError,
    RefusedError,
    printable_reason,
)
from tests.client.test_error_texts import RULE, VALUE, Made, Module
from tests.support.rows import each_row


def documented() -> dict[str, str | None]:
    """Class → its base, as the module's text draws them."""
    bases: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        drawn = re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line)
        if drawn:
            depth = len(drawn[1]) // 4
            bases[drawn[2]] = path[depth - 1] if depth else None
            path[depth:] = [drawn[2]]
    return bases


def test_documented_tree_of_errors_is_the_real_one() -> None:
    real = {
        name: None if found is ImeLiveError else found.__bases__[0].__name__
        for name, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, Exception)
    }
    assert documented() == real


def test_every_error_has_one_root() -> None:
    assert ImeLiveError.__bases__ == (Exception,)


def test_refusal_has_reason_and_status() -> None:
    error = RefusedError("unknown contract: XYZ", kind="unknown contract")
    assert (error.code, error.reason, error.kind, str(error)) == (
        1008,
        "unknown contract: XYZ",
        "unknown contract",
        "unknown contract: XYZ",
    )
    assert RefusedError("token expired").kind == "token expired"
    assert AuthenticationError("no", code=CloseCode.INTERNAL_ERROR).code == 1011


@each_row(
    ("text", "reason"),
    [
        ("plain", "plain"),
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 120 + "…"),
        ("س" * 61, "س" * 61),
        ("س" * 62, "س" * 60 + "…"),
        ("x" + "س" * 70, "x" + "س" * 59 + "…"),
        ("a\x00b\nc\x7f\u200fd\ud800", "a?b?c??d?"),
    ],
)
def test_reason_is_printable(text: str, reason: str) -> None:
    assert printable_reason(text) == reason


@given(st.text(st.characters()))
def test_any_reason_fits_a_close_frame(text: str) -> None:
    reason = printable_reason(text)
    assert len(reason.encode()) <= MAX_REASON_BYTES
    assert reason.isprintable()
    assert printable_reason(reason) == reason


# Packages whose errors an operator reads.
CHECKED = ("settings", "cli", "local", "gateway/auth")

# The flags that are named are what was given, or the value is a key, which is secret.
WITHOUT_VALUE = (
    "must not be given together",
    "must be given with",
    "a private key must",
)

# Another package is missing, so no value was given; or another error's text is passed on.
OTHER = ("the embedded Valkey needs more packages", "{}: {}")


def settings_errors() -> list[Made]:
    """Return the `SettingsError`s of these packages whose texts are made where they are raised."""
    source = Path(errors.__file__).parent
    modules = [
        Module(path, source)
        for folder in CHECKED
        for path in sorted((source / folder).rglob("*.py"))
    ]
    made = [each for module in modules for each in dict.fromkeys(module.made())]
    return [each for each in made if each.kind == "SettingsError" and each.texts]


def test_settings_errors_say_rule_and_value() -> None:
    found = settings_errors()
    assert len(found) > 40
    for each in found:
        for text in each.texts:
            if text.startswith(OTHER):
                continue
            assert RULE.search(text), f"{each.place}: {text}"
            exempt = any(words in text for words in WITHOUT_VALUE)
            assert exempt or VALUE.search(text), f"{each.place}: {text}"
