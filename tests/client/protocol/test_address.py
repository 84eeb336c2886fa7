"""Addresses of the service: which are accepted, and the URLs that come of them."""

from __future__ import annotations

import re

import pytest

from ime_live.client.protocol.address import read_service
from ime_live.errors import SettingsError
from ime_live.settings.rule import shown_url
from tests.support.rows import each_row

# An error must contain the rule and the value that breaks it.
RULE = re.compile(r"\b(must|cannot|is not|expected)\b")


@each_row(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:8000", "ws://127.0.0.1:8000/live/data/websocket/contract/name"),
        ("http://127.0.0.1:8000/", "ws://127.0.0.1:8000/live/data/websocket/contract/name"),
        ("https://a.b/p/q", "wss://a.b/p/q/live/data/websocket/contract/name"),
        (
            "wss://a.b/p/live/data/websocket/contract/id",
            "wss://a.b/p/live/data/websocket/contract/name",
        ),
    ],
)
def test_address_of_a_gateway_becomes_urls_of_streams_and_rest(url: str, expected: str) -> None:
    service = read_service(url)
    assert service.stream([("name", "A&B")], [("since", "2026-05-23T15:10:00+03:30")]) == (
        f"{expected}?contract_names=A%26B&since=2026-05-23T15%3A10%3A00%2B03%3A30"
    )


@each_row(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org",
        "ws://",
        "ws://host:port",
        "ws://host:99999",
        "ws://host:0",
        "foo",
        "ws://host:SECRET",
        "ws://a..b",
        "ws://a b",
        "ws://host /path",
        "ws://host\u00a0name",
        f"ws://{'a' * 64}.org",
        "ws://me:SECRET@example.org",
        "ws://example.org?token=SECRET",
    ],
)
def test_malformed_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="service's address") as caught:
        read_service(url)
    assert "SECRET" not in str(caught.value)
    assert f"got {shown_url(url)}" in str(caught.value)
    assert RULE.search(str(caught.value))
