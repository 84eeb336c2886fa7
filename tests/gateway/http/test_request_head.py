"""The head of a request: request line, fields, and refusals."""

from __future__ import annotations

import pytest

from ime_live.gateway.http.request_head import MAX_FIELDS, RequestHead
from tests.gateway.http.test_request_reader import LIMIT, status_of
from tests.support.received import HOST, get, requests_in
from tests.support.rows import each_row


def one(data: bytes) -> RequestHead:
    """The only request in ``data``."""
    [head], status = requests_in([data])
    assert status == 0
    return head


class TestHead:
    def test_head_has_method_target_version_and_fields(self) -> None:
        head = one(get(HOST, "X-One:  a b\t ", "Empty:", target="/a%20b?c=%D8&d"))
        assert (head.method, head.path, head.query, head.version) == (
            "GET", "/a%20b", "c=%D8&d", "1.1",
        )  # fmt: skip
        assert head.fields == {b"host": b"t", b"x-one": b"a b", b"empty": b""}
        assert (head.field(b"x-one"), head.field(b"x-two")) == ("a b", None)
        assert head.keep_alive

    def test_repeated_fields_are_one_list(self) -> None:
        head = one(get(HOST, "Accept: a", "Other: x", "accept: b, ,c", "ACCEPT:"))
        assert head.items(b"accept") == ["a", "b", "c"]
        assert list(head.fields) == [b"host", b"accept", b"other"]

    @each_row("name", ["Authorization", "Origin", "Last-Event-ID"])
    def test_repeated_single_fields_count_once(self, name: str) -> None:
        head = one(get(HOST, f"{name}: a", f"{name.lower()}: b"))
        assert head.field(name.lower().encode()) == "a"

    def test_repeated_fields_are_read_up_to_the_limit(self) -> None:
        lines = ["a:" + "x" * 8] * (MAX_FIELDS - 1)
        [head], _ = requests_in([get(HOST, *lines)], limit=200_000)
        assert len(head.fields[b"a"]) == 10 * (MAX_FIELDS - 1) - 2
        assert requests_in([get(HOST, *lines, "b:")], limit=200_000) == ([], 431)

    def test_target_that_is_not_ascii_is_percent_encoded(self) -> None:
        target = "/\u0633?\u06a9".encode()
        head = one(b"GET " + target + b" HTTP/1.1\r\nHost: t\r\n\r\n")
        assert (head.path, head.query) == ("/%D8%B3", "%DA%A9")

    @each_row(
        ("target", "path", "query", "host"),
        [
            ("http://example.org/a?b", "/a", "b", b"example.org"),
            ("HTTPS://example.org:8443", "/", "", b"example.org:8443"),
            ("ws://[::1]:80?b", "/", "b", b"[::1]:80"),
            ("wss://x/live/data//a", "/live/data//a", "", b"x"),
            ("//x/a", "//x/a", "", b"t"),
            ("/http://x/a", "/http://x/a", "", b"t"),
        ],
    )
    def test_absolute_target_is_read_as_a_path(
        self, target: str, path: str, query: str, host: bytes
    ) -> None:
        head = one(get(HOST, target=target))
        assert (head.path, head.query, head.fields[b"host"]) == (path, query, host)

    @each_row("target", ["x", "*", "t:80", "?a", "http:///a", "http://u@h/", "ftp://t/"])
    def test_malformed_target_is_400(self, target: str) -> None:
        assert status_of(get(HOST, target=target)) == 400

    def test_asterisk_target_is_for_options_only(self) -> None:
        head = one(b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n")
        assert (head.method, head.path) == ("OPTIONS", "*")
        assert status_of(b"CONNECT t:80 HTTP/1.1\r\nHost: t\r\n\r\n") == 400

    @each_row(
        ("line", "status"),
        [
            ("GET / HTTP/1.0", 200),
            ("GET / HTTP/1.9", 200),
            ("GET / HTTP/2.0", 505),
            ("PRI * HTTP/2.0", 505),
            ("GET / HTTP/0.9", 505),
            ("GET / HTTP/1", 400),
            ("GET / HTTP/1.10", 400),
            ("GET / http/1.1", 400),
            ("GET /", 400),
            ("GET", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET / HTTP/1.1 ", 400),
            ("GET /a b HTTP/1.1", 400),
            ("GET /a\tb HTTP/1.1", 400),
            ("GET /\x7f HTTP/1.1", 400),
            (" GET / HTTP/1.1", 400),
            ("get / HTTP/1.1", 501),
            ("BREW / HTTP/1.1", 501),
            ("G(T / HTTP/1.1", 400),
            ("X" * 33 + " / HTTP/1.1", 400),
        ],
    )
    def test_malformed_request_line_is_400(self, line: str, status: int) -> None:
        assert status_of(f"{line}\r\nHost: t\r\n\r\n".encode("latin-1")) == status

    @each_row(
        "line",
        [
            "no colon", ": no name", "Name : x", " Name: x", "Na me: x", "Na\xefme: x", "(x): x",
            "X: a\r\n folded", "X: a\r\n\tfolded", "X: \x00", "X: a\rb", "X: a\nb", "X: \x7f",
        ],
    )  # fmt: skip
    def test_malformed_field_is_400(self, line: str) -> None:
        assert status_of(get(HOST, line)) == 400
        assert status_of(get(line, HOST)) == 400

    @each_row("line", ["X: \xe9\xff", "X:\t", "X: a:b", "!#$%&'*+-.^_`|~9: x"])
    def test_header_field_with_unusual_characters_is_accepted(self, line: str) -> None:
        assert status_of(get(HOST, line)) == 200

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_bare_line_feed_is_400(self, end: bytes) -> None:
        assert status_of(b"GET / HTTP/1.1\r\nHost: t\n" + end) == 400
        assert status_of(b"GET / HTTP/1.1\nHost: t\r\n" + end) == 400

    def test_empty_lines_before_a_request_are_ignored(self) -> None:
        assert status_of(b"\r\n\r\n\r\n" + get(HOST)) == 200
        assert status_of(b"\r\n") == 0
        for start in (b"\n", b"\r\r\n", b"\r\n "):
            assert status_of(start + get(HOST)) == 400

    @each_row("pieces", [1, 7, LIMIT])
    def test_empty_lines_without_end_are_400(self, pieces: int) -> None:
        lines = b"\r\n" * (LIMIT // 2)
        size = -(-len(lines) // pieces)
        parts = [lines[at : at + size] for at in range(0, len(lines), size)]
        assert requests_in(parts) == ([], 400)

    def test_empty_lines_are_counted_for_each_request(self) -> None:
        some = b"\r\n" * (LIMIT // 2 - 1)
        heads, status = requests_in([some + get(HOST)] * 3)
        assert (len(heads), status) == (3, 0)

    @each_row(
        ("lines", "status"),
        [
            ([], 400),
            (["Host:"], 200),
            (["Host: a.example:80"], 200),
            (["Host: [2001:db8::1]:8000"], 200),
            (["Host: snake_case-1.example"], 200),
            ([HOST, HOST], 400),
            ([HOST, "Host:"], 400),
            (["Host:", "Host:"], 400),
            (["Host: a b"], 400),
            (["Host: a, b"], 400),
            (["Host: a/b"], 400),
            (["Host: u@a"], 400),
            (["Host: a:b"], 400),
            (["Host: \xe9"], 400),
        ],
    )
    def test_missing_repeated_or_malformed_host_is_400(self, lines: list[str], status: int) -> None:
        assert status_of(get(*lines)) == status
        old = 200 if not lines else status
        assert status_of(get(*lines, version="1.0")) == old

    def test_malformed_method_is_400_before_the_head_is_whole(self) -> None:
        assert status_of(b"\x16\x03\x01\x02\x00") == 400
        assert status_of(b"GET\r\n") == 400
        assert status_of(b"GE") == 0

    @each_row(
        ("version", "connection", "kept"),
        [
            ("1.1", None, True),
            ("1.1", "Close", False),
            ("1.1", "keep-alive, x ,close", False),
            ("1.1", "closed", True),
            ("1.0", None, False),
            ("1.0", "keep-alive", False),
        ],
    )
    def test_keep_alive_depends_on_version_and_connection_field(
        self, version: str, connection: str | None, kept: bool
    ) -> None:
        lines = [] if connection is None else [f"Connection: {connection}"]
        assert one(get(HOST, *lines, version=version)).keep_alive is kept

    @each_row(
        ("version", "lines", "offered"),
        [
            ("1.1", ["Connection: Upgrade", "Upgrade: websocket"], True),
            ("1.1", ["Connection: keep-alive, upgrade\t", "Upgrade:  WebSocket "], True),
            ("1.1", ["Connection: a", "Connection: Upgrade", "Upgrade: h2c, websocket"], True),
            ("1.1", ["Connection: Upgrade", "Upgrade: h2c"], False),
            ("1.1", ["Connection: Upgrade", "Upgrade: websockets"], False),
            ("1.1", ["Connection: close", "Upgrade: websocket"], False),
            ("1.1", ["Upgrade: websocket"], False),
            ("1.1", ["Connection: Upgrade"], False),
            ("1.0", ["Connection: Upgrade", "Upgrade: websocket"], False),
        ],
    )
    def test_upgrade_offer_is_recognized(
        self, version: str, lines: list[str], offered: bool
    ) -> None:
        assert one(get(HOST, *lines, version=version)).is_handshake is offered
