"""Tables: each row runs, and each that fails is shown."""

from __future__ import annotations

import inspect

import pytest

from tests.support.rows import each_row


def test_failing_rows_are_reported_together_with_their_values() -> None:
    ran = []

    @each_row(("a", "b"), [(1, 1), (2, 3), (4, 4), ("x", "y")])
    def compare(a: object, b: object) -> None:
        ran.append(a)
        assert a == b

    with pytest.raises(ExceptionGroup, match="2 of 4 rows") as caught:
        compare()  # type: ignore[call-arg]
    assert ran == [1, 2, 4, "x"]
    assert [error.__notes__ for error in caught.value.exceptions] == [
        ["row: (2, 3)"],
        ["row: ('x', 'y')"],
    ]


def test_arguments_that_are_no_columns_stay_fixtures() -> None:
    seen = []

    @each_row("pair", [(1, 2), [3]])
    def note(pair: object, fixture: str) -> None:
        seen.append((pair, fixture))

    assert list(inspect.signature(note).parameters) == ["fixture"]
    note(fixture="f")  # type: ignore[call-arg]
    assert seen == [((1, 2), "f"), ([3], "f")]


def test_table_without_rows_is_refused() -> None:
    with pytest.raises(AssertionError, match="a table must have rows"):
        each_row("a", [])


def test_row_with_marks_is_refused() -> None:
    with pytest.raises(AssertionError, match="a row cannot have marks"):
        each_row("a", [1, pytest.param(2, marks=pytest.mark.thorough)])


class TestMethods:
    """A table of a method."""

    @each_row("number", range(3))
    def test_rows_of_a_method_run_with_its_instance(self, number: int) -> None:
        assert isinstance(self, TestMethods)
        assert number in range(3)
