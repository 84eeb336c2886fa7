"""Tables of pure tests: all rows run in one test.

pytest collects each value of `pytest.mark.parametrize` in each process and reports it by itself,
which takes longer than a pure function: 40 s of CPU for thousands of values.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., None])


def each_row(names: str | Sequence[str], rows: Iterable[object]) -> Callable[[Test], Test]:
    """Run a test for each row, also after one that fails; its failure shows the row.

    It is for tests that do nothing which a fixture would have to undo between two rows.

    Args:
        names: of the arguments, as of `pytest.mark.parametrize`.
        rows: a tuple of values for each row, or the value if there is one name.
    """
    columns = names.replace(" ", "").split(",") if isinstance(names, str) else list(names)
    table = list(rows)
    assert table, "a table must have rows"
    marked = type(pytest.param())
    assert not any(isinstance(row, marked) for row in table), "a row cannot have marks"

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(*args: object, **fixtures: object) -> None:
            failures = []
            for row in table:
                values = row if isinstance(row, tuple | list) and len(columns) > 1 else (row,)
                try:
                    test(*args, **dict(zip(columns, values, strict=True)), **fixtures)
                except Exception as error:  # noqa: BLE001 - of any kind, as in pytest
                    error.add_note(f"row: {row!r}")
                    failures.append(error)
            if failures:
                raise ExceptionGroup(f"{len(failures)} of {len(table)} rows", failures)

        signature = inspect.signature(test)
        others = [each for name, each in signature.parameters.items() if name not in columns]
        run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return decorate
