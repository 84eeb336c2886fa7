"""Ids of parametrized tests: short, and the same in each worker."""

from __future__ import annotations

from enum import StrEnum

from ime_live.errors import RefusedError
from ime_live.messages import ContractFilter
from tests.support.ids import readable_id
from tests.support.rows import each_row


class Word(StrEnum):
    """An enumeration."""

    FIRST = "1"


@each_row(
    ("value", "text"),
    [
        ({"port": 0, "docs": None}, "port=0,docs=None"),
        (("--url", "http://x"), "--url http://x"),
        ([], "()"),
        ({}, "{}"),
        ({"b", "a"}, "a b"),
        ([b"\xff", Word.FIRST, 1.5, True], r"\xff FIRST 1.5 True"),
        ([1_795_795_243.05, "k" * 26], "… …"),  # a time, or a key
        (RefusedError("no such contract"), "no such contract"),
        (ContractFilter("name", markets=("A",)), "ContractFilter(by=name,markets=A)"),
        (dict.fromkeys(range(30)), "0=None,1=None,2=None,3=None,4=None,5=None,6=None,…"),
        (("A\ud800",), r"A\ud800"),
        (object(), None),
        (lambda: None, None),
        ("pytest shows texts itself", None),
    ],
)
def test_id_of_parameter_shows_its_value(value: object, text: str | None) -> None:
    assert readable_id(value) == text
