"""Responses of the SignalR hub: `Retry-After` as seconds or as a date."""

from __future__ import annotations

import httpx

from ime_live.feeds.ime.responses import retry_after
from ime_live.feeds.ime.signalr import (
    MAX_SECONDS,
)
from tests.support.rows import each_row


class TestRetryAfter:
    @each_row(
        ("text", "seconds"),
        [
            ("5", 5.0),
            (" 0 ", 0.0),
            ("1.5", 1.5),
            ("86400", MAX_SECONDS),
            ("9" * 400, MAX_SECONDS),
            ("Thu, 26 Nov 2026 15:22:28 GMT", 10.0),
            ("Thursday, 26-Nov-26 15:22:28 GMT", 10.0),
            ("Thu Nov 26 15:22:28 2026", 10.0),
            ("Thu, 26 Nov 2026 15:22:08 GMT", 0.0),
            ("Thu, 26 Nov 2099 15:22:08 GMT", MAX_SECONDS),
            ("soon", None),
            ("-5", None),
            ("5 s", None),
            ("\u06f5", None),
            ("", None),
        ],
    )
    def test_retry_after_is_seconds_or_a_date(self, text: str, seconds: float | None) -> None:
        now = 1_795_706_538.0  # 15:22:18
        said = [(b"Retry-After", text.encode())]
        assert retry_after(httpx.Headers(said), now) == seconds
        # By the server's own clock, if it tells it.
        said.append((b"Date", b"Thu, 26 Nov 2026 15:22:18 GMT"))
        assert retry_after(httpx.Headers(said), now + 7200) == seconds

    def test_answer_without_retry_after_has_none(self) -> None:
        assert retry_after(httpx.Headers({}), 0.0) is None
