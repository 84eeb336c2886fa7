"""Invocations: the calls in a frame, whatever wraps them, and calls that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest

from ime_live.errors import FeedError
from ime_live.feeds.boards.invocations import (
    ForeignInvocation,
    Invocation,
    read_invocations,
    read_json,
)
from tests.support.rows import each_row

METHOD = "updateFutureMarketsInfo"
ROW = {"ContractID": 1}
MESSAGE = {"H": "marketsHub", "M": METHOD, "A": [[ROW]]}


def decoded(found: Invocation) -> list[object]:
    """The arguments; rows of boards are still encoded."""
    return [
        msgspec.json.decode(each) if isinstance(each, msgspec.Raw) else each
        for each in found.arguments
    ]


@each_row("hub", ["marketsHub", "MARKETSHUB", None])
def test_rows_of_a_board_are_the_arguments(hub: str | None) -> None:
    frame = json.dumps({"C": "c", "M": [MESSAGE | {"H": hub}]})
    [found] = read_invocations(frame)
    assert isinstance(found, Invocation)
    assert (found.method, found.problem) == (METHOD, None)
    assert all(isinstance(each, msgspec.Raw) for each in found.arguments)
    assert decoded(found) == [ROW]


@each_row(
    ("arguments", "rows"),
    [
        ([[ROW, ROW]], [ROW, ROW]),
        ([None, [ROW]], [ROW]),
        ([[]], []),
        ([], []),
        (["a text"], ["a text"]),
        ([5, None], [5]),
    ],
)
def test_null_arguments_are_left_out(arguments: list[object], rows: list[object]) -> None:
    frame = {"M": [MESSAGE | {"A": arguments}]}
    [found] = read_invocations(json.dumps(frame))
    assert isinstance(found, Invocation)
    assert decoded(found) == rows


@each_row(
    ("message", "problem"),
    [
        ({"M": METHOD}, "A: must be a list of arguments, and is missing"),
        ({"M": METHOD, "A": None}, "A: must be a list of arguments, got null"),
        ({"M": METHOD, "A": {}}, "A: must be a list of arguments, got an empty object"),
        ({"M": METHOD, "A": "[]"}, "A: must be a list of arguments, got '[]'"),
        ({"M": METHOD, "A": 5}, "A: must be a list of arguments, got 5"),
        ({"M": 7, "A": []}, "M: must be the name of a method, got 7"),
        ({"A": []}, "M: must be the name of a method, got null"),
        (7, "the message must be an object, got 7"),
        (None, "the message must be an object, got null"),
        ([1, 2], "the message must be an object, got a list of 2"),
    ],
)
def test_call_that_cannot_be_read_loses_only_itself(message: object, problem: str) -> None:
    for messages in ([message, MESSAGE], [MESSAGE, message]):
        for frame in ({"M": messages}, json.dumps({"M": messages})):
            found = [each for each in read_invocations(frame) if isinstance(each, Invocation)]
            assert [each.problem for each in found if each.problem] == [problem]
            [good] = [each for each in found if not each.problem]
            # Arguments of a frame that was decoded before are whole boards.
            assert decoded(good) in ([ROW], [[ROW]])


@each_row(
    "wrap",
    [lambda m: [m], lambda m: m, lambda m: json.dumps([m]), lambda m: [json.dumps(m)]],
)
def test_call_in_another_wrapping_is_read(wrap: Callable[[object], object]) -> None:
    [found] = read_invocations(json.dumps({"M": wrap(MESSAGE)}))
    assert isinstance(found, Invocation)
    assert (found.method, found.problem) == (METHOD, None)


def test_call_of_another_hub_is_foreign() -> None:
    frame = json.dumps({"M": [MESSAGE | {"H": "otherHub"}]})
    assert list(read_invocations(frame)) == [ForeignInvocation("otherHub", METHOD)]


@each_row("frame", [b"{}", '{"C":"x","S":1,"M":[]}', {"R": 1}, '{"M":null}'])
def test_keep_alive_has_no_calls(frame: bytes | str | dict[str, object]) -> None:
    assert list(read_invocations(frame)) == []


@each_row(
    "frame", [b"", b"<html>", b"\xff\xfe\xfd", "[]", "null", "[" * 100_000, '{"M": 7}', '{"M": {}}']
)
def test_text_that_is_no_frame_is_an_error(frame: bytes | str) -> None:
    with pytest.raises(FeedError, match="frame"):
        list(read_invocations(frame))


@each_row("literal", ["NaN", "1e400", "-Infinity"])
def test_number_outside_json_is_read_for_its_row_to_refuse(literal: str) -> None:
    assert isinstance(read_json(f'{{"price": {literal}}}')["price"], float)
    frame = f'{{"M":[{{"M":"{METHOD}","A":[[{{"price":{literal}}}]]}}]}}'
    [found] = read_invocations(frame)
    assert isinstance(found, Invocation)
    assert found.problem is None
