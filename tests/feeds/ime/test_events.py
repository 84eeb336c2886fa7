"""Parser of server-sent events: lines, limits, and any split of the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.errors import FeedError
from ime_live.feeds.ime.events import EventParser


class TestEvents:
    def test_event_lines_are_parsed_and_others_skipped(self) -> None:
        stream = (
            b"\xef\xbb\xbfdata: initialized\n\n"
            b": a comment\nid: 5\ndata:{}\r\n\r\n\n"
            b'data: {"a":\ndata: 1}\n\n'
            b"event: x\n\ndata: \xe2\x80\xa8\x0b\x0c\x1c\x85\n\ndata: no end"
        )
        assert EventParser().feed(stream) == [
            b"initialized",
            b"{}",
            b'{"a":\n1}',
            b"\xe2\x80\xa8\x0b\x0c\x1c\x85",
        ]

    @given(
        events=st.lists(
            st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1)
        ),
        cuts=st.lists(st.integers(0, 200)),
    )
    def test_event_stream_may_be_split_anywhere(self, events: list[str], cuts: list[int]) -> None:
        stream = b"".join(b"data: " + each.encode() + b"\r\n\r\n" for each in events)
        parser, found = EventParser(), []
        places = [0, *sorted(cuts), len(stream)]
        for begin, end in zip(places, [*places[1:], len(stream)], strict=True):
            found += parser.feed(stream[begin:end])
        assert found == [each.encode() for each in events]

    @pytest.mark.parametrize("line", [b"data: 12345\n", b"x"])
    def test_event_size_is_limited(self, line: bytes) -> None:
        parser = EventParser(limit=100)
        for _ in range(50):
            assert len(parser.feed(b"data: " + b"1" * 90 + b"\n\n")) == 1
        for _ in range(100 // len(line)):
            assert parser.feed(line) == []
        with pytest.raises(FeedError, match="larger than 100 bytes"):
            parser.feed(line * 2)
