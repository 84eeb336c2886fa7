"""Rules: the values that each accepts, and URLs in errors without their secrets."""

from __future__ import annotations

from typing import Any

import pytest

from ime_live.errors import SettingsError
from ime_live.settings.rule import COUNT, NUMBER, POSITIVE, SWITCH, TEXT, Rule, shown_url
from tests.support.rows import each_row


@pytest.mark.parametrize("value", [1j, "5", b"5", [], None, object()])
@pytest.mark.parametrize("rule", [COUNT, NUMBER, POSITIVE, SWITCH])
def test_rule_refuses_values_of_other_types(rule: Rule, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        rule.check("an_argument", value)
    assert str(caught.value) == f"an_argument must be {rule.text}, got {value!r}"
    if value is None:
        rule.or_none().check("an_argument", value)
    else:
        with pytest.raises(SettingsError, match=f"{rule.text} or None, got "):
            rule.or_none().check("an_argument", value)


@each_row(
    ("rule", "good", "bad"),
    [
        (COUNT, [1, 10**9], [0, -1, 1.0, True]),
        (NUMBER, [0, -1.5, 3], [float("nan"), float("-inf"), False]),
        (POSITIVE, [1, 0.001], [0, -1, float("nan"), float("inf"), True]),
        (SWITCH, [True, False], [0, 1, "no", ""]),
        (TEXT, ["", "x"], [b"x", 5]),
    ],
)
def test_rule_accepts_exactly_its_values(rule: Rule, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert rule.holds(value)
    for value in bad:
        assert not rule.holds(value)


@each_row(
    ("url", "shown"),
    [
        ("", "''"),
        ("foo", "'foo'"),
        ("example.org:8000/p", "'example.org:8000/p'"),
        ("ftp://example.org", "'ftp://example.org'"),
        ("ws://host:99999", "'ws://host:99999'"),
        ("ws://[::1]:0/p", "'ws://[::1]:0/p'"),
        ("ws://host:SECRET", "'ws://***'"),
        ("ws://me:SECRET@host", "'ws://***@host'"),
        ("ws://me:SEC/RET?#@host", "'ws://***@host'"),
        ("me:SECRET@host", "'***@host'"),
        ("me:SECRET", "'***'"),
        ("ws://host/p?token=SECRET", "'ws://host/p?***'"),
        ("ws://host#SECRET", "'ws://host#***'"),
        ("host?token=SECRET", "'host?***'"),
        ("SECRET SECRET://host", "'***://host'"),
        ("SECRET." * 20, "'***'"),
        ("ws://a\nb", r"'ws://a\nb'"),
    ],
)
def test_shown_url_has_no_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown
