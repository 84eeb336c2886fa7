"""Addresses: the URLs of the calls to a SignalR hub, and where it sends them."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ime_live.errors import FeedError, SettingsError
from ime_live.feeds.ime.addresses import Address, cursor_query
from ime_live.feeds.ime.signalr import (
    TransportName,
)
from tests.support.rows import each_row

JSON = "application/json; charset=UTF-8"
WS, SSE, LP = TransportName
HUB = "https://hub.example/realTimeServer/"
TOKEN = "++//a b&="
CURSOR = "d-96D92DB6-B,7C|g,0|h,2"


def query(url: str) -> dict[str, str]:
    """A URL's query, each name once."""
    pairs = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert all(len(values) == 1 for values in pairs.values())
    return {name: values[0] for name, values in pairs.items()}


class TestAddress:
    def test_every_call_names_protocol_and_hub(self) -> None:
        address = Address(HUB)
        urls = [
            address.negotiate(1),
            address.connect(SSE, TOKEN, 0),
            address.start(SSE, TOKEN, 1),
            address.reconnect(SSE, TOKEN, 0, cursor_query(CURSOR, None)),
            address.poll(LP, TOKEN, 0),
            address.abort(LP, TOKEN),
        ]
        for url, verb in zip(
            urls, ("negotiate", "connect", "start", "reconnect", "poll", "abort"), strict=True
        ):
            assert url.startswith(f"{HUB}{verb}?")
            assert query(url)["clientProtocol"] == "2.1"
            assert query(url)["connectionData"] == '[{"name":"marketshub"}]'
            assert not set('[]{}":|, ') & set(urlsplit(url).query)
        assert "connectionToken" not in query(urls[0])
        assert all(query(url)["connectionToken"] == TOKEN for url in urls[1:])

    def test_each_call_has_its_own_parameters(self) -> None:
        address = Address(HUB)
        assert query(address.negotiate(1700000000000))["_"] == "1700000000000"
        connect = query(address.connect(WS, TOKEN, 10))
        assert (connect["transport"], connect["tid"]) == ("webSockets", "10")
        again = query(address.reconnect(WS, TOKEN, 3, cursor_query(CURSOR, "g+1")))
        assert (again["messageId"], again["groupsToken"]) == (CURSOR, "g+1")
        assert "messageId" not in query(address.reconnect(LP, TOKEN, 3))
        assert "messageId" not in query(address.poll(LP, TOKEN, 3))

    def test_websocket_url_is_used_for_websocket_frames_only(self) -> None:
        address = Address("https://hub.example:8443/a/b")
        base = "://hub.example:8443/a/b/"
        assert address.connect(WS, TOKEN, 1).startswith(f"wss{base}connect?")
        assert address.reconnect(WS, TOKEN, 1).startswith(f"wss{base}reconnect?")
        assert address.start(WS, TOKEN, 1).startswith(f"https{base}start?")
        assert address.abort(WS, TOKEN).startswith(f"https{base}abort?")
        assert (
            Address("http://127.0.0.1").connect(WS, TOKEN, 1).startswith("ws://127.0.0.1/connect")
        )
        assert address.root == "https://hub.example:8443/"

    @each_row(
        "url",
        [
            "",
            "hub.example",
            "ftp://hub.example/",
            "https://",
            "https://[::1/",
            "https://hub.example:port/",
            "https://me:secret@hub.example/",
            "https://hub.example/?a=b",
            "https://hub.example/#a",
        ],
    )
    def test_malformed_base_url_is_refused(self, url: str) -> None:
        with pytest.raises(SettingsError, match="--base-url") as caught:
            Address(url)
        assert "secret" not in str(caught.value)

    @given(cursor=st.text(), groups=st.none() | st.text(min_size=1))
    @example(cursor="\ud800", groups=None)
    def test_any_cursor_can_be_sent_back(self, cursor: str, groups: str | None) -> None:
        sent = parse_qs(cursor_query(cursor, groups), keep_blank_values=True, strict_parsing=True)
        if cursor.isprintable():
            assert sent["messageId"] == [cursor]
        assert ("groupsToken" in sent) is (groups is not None)


class TestRedirection:
    @each_row(
        ("url", "call"),
        [
            ("https://other.example/hub", "https://other.example/hub/negotiate?"),
            ("https://other.example:444/", "https://other.example:444/negotiate?"),
            ("/other/", "https://a.example/other/negotiate?"),
            ("other", "https://a.example/base/other/negotiate?"),
            ("//b.example/x", "https://b.example/x/negotiate?"),
        ],
    )
    def test_calls_go_where_negotiate_sends(self, url: str, call: str) -> None:
        address = Address("https://a.example/base/").redirected(url)
        assert address.negotiate(1).startswith(call)

    def test_query_goes_with_every_call(self) -> None:
        address = Address("https://a.example/base/").redirected("https://b.example/?x=1&y=%2F")
        socket = address.connect(TransportName.WEB_SOCKETS, "t", 1)
        assert socket.startswith("wss://b.example/connect?")
        for url in (address.negotiate(1), socket):
            assert url.endswith("&x=1&y=%2F")
        again = address.reconnect(TransportName.WEB_SOCKETS, "t", 1, "messageId=5")
        assert again.endswith("&x=1&y=%2F&messageId=5")

    @each_row(
        "url",
        ["http://b.example/", "ftp://b/", "https://me:secret@b/", "https://b:x/", "https://[b/"],
    )
    def test_redirection_to_unsafe_urls_is_refused(self, url: str) -> None:
        with pytest.raises(FeedError, match=r"^RedirectUrl ") as caught:
            Address("https://a.example/").redirected(url)
        assert "secret" not in str(caught.value)
