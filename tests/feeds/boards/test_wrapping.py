"""Wrappings: values in lists, objects and JSON texts, and the words for a value in an error."""

from __future__ import annotations

import json

from ime_live.feeds.boards.wrapping import MAX_DEPTH, got, rows_in, unwrap
from tests.support.rows import each_row

A, B = {"id": 1, "price": 5}, {"id": 2, "price": 6}
IDS = ("id",)


@each_row(
    "value", [5, [5], {"value": 5}, "[5]", ['{"value": 5}'], [[[5]]], '"[5]"', {"a": {"b": "[5]"}}]
)
def test_unwrap_returns_the_innermost_value(value: object) -> None:
    assert unwrap(value) == 5


@each_row("value", [[], {}, [1, 2], {"a": 1, "b": 2}, "text", "{no JSON", None, ""])
def test_unwrap_returns_an_unwrapped_value_unchanged(value: object) -> None:
    assert unwrap(value) == value


def test_value_in_too_many_wrappings_stays_wrapped() -> None:
    value: object = 5
    for _ in range(MAX_DEPTH + 2):
        value = [value]
    assert unwrap(value) == [[5]]


@each_row(
    "value",
    [
        [A, B],
        [[A], [B]],
        [[[A, B]]],
        [A, [B]],
        json.dumps([A, B]),
        json.dumps(json.dumps([A, B])),
        [json.dumps(A), json.dumps(B)],
        {"rows": [A, B]},
        {"rows": [A, B], "count": 2},
        {"rows": [A, B], "status": "ok", "errors": []},
        {"data": json.dumps([A, B])},
        {"d": {"rows": [A, B]}},
        {"1": A, "2": B},
    ],
)
def test_rows_are_found_in_any_wrapping(value: object) -> None:
    found = [json.loads(each) if isinstance(each, str) else each for each in rows_in(value, IDS)]
    assert found == [A, B]


@each_row("value", [[], [[]], "[]", {"rows": []}, {"rows": [], "count": 0}])
def test_empty_board_has_no_rows(value: object) -> None:
    assert list(rows_in(value, IDS)) == []


@each_row("value", [5, "rows", {"a": 1}, {"a": 1, "b": [2], "c": [3]}, None])
def test_value_that_wraps_no_rows_is_returned(value: object) -> None:
    assert list(rows_in(value, IDS)) == [value]


@each_row(
    ("value", "words"),
    [
        (None, "got null"),
        (True, "got true"),
        (5, "got 5"),
        (1.5, "got 1.5"),
        (10**40, "got a number of more than 40 digits"),
        ([1, 2], "got a list of 2"),
        ({}, "got an empty object"),
        ({"a": 1, "b": 2}, "got an object with 'a', 'b'"),
        (dict.fromkeys("abcd"), "got an object with 'a', 'b', 'c', …"),
        ("short", "got 'short'"),
        ("x" * 41, f"got '{'x' * 40}'…"),
    ],
)
def test_value_is_described_in_a_few_words(value: object, words: str) -> None:
    assert got(value) == words
