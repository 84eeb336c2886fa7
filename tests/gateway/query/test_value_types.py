"""Types of query parameters: each reads what its schema describes, and refuses the rest."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from jsonschema_rs import Draft7Validator

from ime_live.contracts import Market
from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway.query.value_types import (
    Choice,
    Day,
    Moment,
    Names,
    Number,
    Secret,
    Switch,
    Text,
    Texts,
    ValueType,
    Words,
)
from tests.support.rows import each_row

RATE = Number(minimum=0.1, maximum=10, example=1)
DAY = Day("2026-11-28")
MOMENT = Moment("2026-11-28T11:45")
SECTIONS = Words(("BestLimit", "Aggregate"), "section", ("Aggregate",))
NAMES = Names({"type": "string"}, example="A")
AS_SENT = Names({"type": "string"}, as_sent=True)
UNDERLYINGS = Texts("an underlying", "GC")
TEHRAN_NOON = datetime.fromisoformat("2026-11-28T12:00+03:30")


def shown(value: object) -> str:
    """The id of a parameter: the name of a type, or the value."""
    name = type(value).__name__
    return name if type(value).__module__ == Number.__module__ else str(value)


@each_row(
    ("kind", "texts", "value"),
    [
        (Switch(), ["true"], True),
        (Switch(), ["ON", "0"], False),
        (RATE, ["5", " 2.5 "], 2.5),
        (RATE, ["1e1"], 10),
        (Text(), ["a", ""], ""),
        (Text(blank=False), [" \u200c "], None),
        (DAY, ["2026-11-28"], date(2026, 11, 28)),
        (DAY, ["۲۰۲۶-۱۱-۲۸"], date(2026, 11, 28)),
        (UNDERLYINGS, ["GC", " GC ", "KA"], ("GC", "KA")),
        (Secret(), [""], None),
        (Secret(), ["a", "b"], "b"),
        (Choice(Market), ["IMEOption"], Market.OPTION),
        (MOMENT, ["2026-11-28"], date(2026, 11, 28)),
        (MOMENT, ["2026-11-28T12:00:00 03:30"], TEHRAN_NOON),
        (MOMENT, ["2026-11-28 12:00+03:30"], TEHRAN_NOON),
        (SECTIONS, ["Aggregate, BestLimit", "Aggregate"], ("BestLimit", "Aggregate")),
        (NAMES, ["A", " B", "", "A"], ("A", "B")),
        (AS_SENT, ["A", " B", "", "A"], ("A", " B", "A")),
        (NAMES, ["", " "], None),
    ],
)
def test_value_type_reads_valid_parameters(kind: ValueType, texts: list[str], value: Any) -> None:  # noqa: ANN401
    assert kind.read([("x", text) for text in texts]) == value


def test_switch_with_two_spellings_is_on_if_one_of_them_is() -> None:
    assert Switch().read([("skipped", "false"), ("meta", "false"), ("meta", "1")])
    assert not Switch().read([("skipped", "false"), ("meta", "1"), ("meta", "no")])


@each_row(
    ("kind", "text", "reason"),
    [
        (Switch(), "perhaps", "x is neither true nor false: perhaps"),
        (Switch(), "", "x is neither true nor false: "),
        (RATE, "11", "x is not a number from 0.1 to 10: 11"),
        (RATE, "nan", "x is not a number from 0.1 to 10: nan"),
        (RATE, "", "x is not a number from 0.1 to 10: "),
        (DAY, "20261128", "x must be a day as YYYY-MM-DD (Gregorian), got '20261128'"),
        (DAY, "1405-09-07", "x must be a day as YYYY-MM-DD (Gregorian), got '1405-09-07'"),
        (DAY, "2026-02-30", "x must be a day as YYYY-MM-DD (Gregorian), got '2026-02-30'"),
        (UNDERLYINGS, " ", "x must be an underlying, got an empty text"),
        (MOMENT, "noon", "x must be a date or a time in ISO 8601 (Gregorian), got 'noon'"),
        (MOMENT, "1405-09-07", "x must be a date or a time in ISO 8601 (Gregorian), got '1405"),
        (SECTIONS, "Level", "no such section: Level; there are BestLimit, Aggregate"),
        (SECTIONS, "", "no such section: none is named; there are BestLimit, Aggregate"),
        (Choice(Market), "imeoption", "x must be one of IMEFutures, IMEOption, IMEDeposit"),
    ],
)
def test_value_of_no_such_type_is_refused(kind: ValueType, text: str, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        kind.read([("x", text)])
    assert refused.value.reason.startswith(reason)
    assert refused.value.code is CloseCode.POLICY_VIOLATION
    assert "x" in refused.value.kind
    assert text not in refused.value.kind or not text.strip()


@each_row(
    "kind",
    [Switch(), RATE, Text("KASH"), DAY, UNDERLYINGS, Secret(), Choice(Market), MOMENT, SECTIONS],
)
def test_schema_of_a_type_is_valid_with_its_examples(kind: ValueType) -> None:
    validator = Draft7Validator(kind.schema())
    for example in kind.schema().get("examples", []):
        assert validator.is_valid(example)


def test_schema_of_names_requires_one_where_their_number_is_limited() -> None:
    assert NAMES.schema()["minItems"] == 1
    assert "minItems" not in Names({"type": "string"}, limited=False).schema()
