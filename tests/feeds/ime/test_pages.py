"""Descriptions of unexpected answers: short, printable, and without JSON."""

from __future__ import annotations

from hypothesis import given

from ime_live.feeds.ime.pages import describe, printable
from tests.feeds.ime.test_signalr import JSON, _answers, _kinds


@given(answer=_answers, kind=_kinds)
def test_description_of_any_answer_is_printable(answer: bytes, kind: str) -> None:
    assert describe(answer, kind).isprintable()


def test_long_text_is_cut() -> None:
    assert printable("a\nb\u202e") == "a?b?"
    assert len(printable("x" * 1000)) == 80


def test_json_is_not_quoted_in_a_description() -> None:
    assert describe(b'{"ConnectionToken":"secret"}', JSON, "a WebSocket") == (
        "application/json instead of a WebSocket"
    )
