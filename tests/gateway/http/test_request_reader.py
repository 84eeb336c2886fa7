"""HTTP/1.1 requests: what is one, what it says, where it ends, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ime_live.gateway.http.request_head import RequestError, RequestHead
from ime_live.gateway.http.request_reader import RequestReader
from tests.support.received import CHUNKED, HOST, RECEIVED, get, post, split

LIMIT = 2_000


def requests(pieces: Sequence[bytes], limit: int = LIMIT) -> tuple[list[RequestHead], int]:
    """The requests in what is received in these pieces, and the status of the refusal after them.

    The status is 0 if more may follow.
    """
    reader = RequestReader(limit)
    heads: list[RequestHead] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (head := reader.next_request()) is not None:
                heads.append(head)
    except RequestError as error:
        return heads, error.status
    return heads, 0


def one(data: bytes) -> RequestHead:
    """The only request in ``data``."""
    [head], status = requests([data])
    assert status == 0
    return head


def status_of(data: bytes) -> int:
    """With what the only request in ``data`` is refused; 200 if it is not."""
    heads, status = requests([data])
    return status or (200 if heads else 0)


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

    @pytest.mark.parametrize("name", ["Authorization", "Origin", "Last-Event-ID"])
    def test_repeated_single_fields_count_once(self, name: str) -> None:
        head = one(get(HOST, f"{name}: a", f"{name.lower()}: b"))
        assert head.field(name.lower().encode()) == "a"

    def test_many_repeated_fields_are_read(self) -> None:
        lines = ["a:" + "x" * 8] * 10_000
        [head], _ = requests([get(HOST, *lines)], limit=200_000)
        assert len(head.fields[b"a"]) == 10 * 10_000 - 2

    def test_target_that_is_not_ascii_is_percent_encoded(self) -> None:
        target = "/\u0633?\u06a9".encode()
        head = one(b"GET " + target + b" HTTP/1.1\r\nHost: t\r\n\r\n")
        assert (head.path, head.query) == ("/%D8%B3", "%DA%A9")

    @pytest.mark.parametrize(
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

    @pytest.mark.parametrize(
        "target", ["x", "*", "t:80", "?a", "http:///a", "http://u@h/", "ftp://t/"]
    )
    def test_malformed_target_is_400(self, target: str) -> None:
        assert status_of(get(HOST, target=target)) == 400

    def test_asterisk_target_is_for_options_only(self) -> None:
        head = one(b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n")
        assert (head.method, head.path) == ("OPTIONS", "*")
        assert status_of(b"CONNECT t:80 HTTP/1.1\r\nHost: t\r\n\r\n") == 400

    @pytest.mark.parametrize(
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

    @pytest.mark.parametrize(
        "line",
        [
            "no colon", ": no name", "Name : x", " Name: x", "Na me: x", "Na\xefme: x", "(x): x",
            "X: a\r\n folded", "X: a\r\n\tfolded", "X: \x00", "X: a\rb", "X: a\nb", "X: \x7f",
        ],
    )  # fmt: skip
    def test_malformed_field_is_400(self, line: str) -> None:
        assert status_of(get(HOST, line)) == 400
        assert status_of(get(line, HOST)) == 400

    @pytest.mark.parametrize("line", ["X: \xe9\xff", "X:\t", "X: a:b", "!#$%&'*+-.^_`|~9: x"])
    def test_odd_field_is_read(self, line: str) -> None:
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

    @pytest.mark.parametrize("pieces", [1, 7, LIMIT])
    def test_empty_lines_without_end_are_400(self, pieces: int) -> None:
        lines = b"\r\n" * (LIMIT // 2)
        size = -(-len(lines) // pieces)
        parts = [lines[at : at + size] for at in range(0, len(lines), size)]
        assert requests(parts) == ([], 400)

    def test_empty_lines_are_counted_anew_after_each_request(self) -> None:
        some = b"\r\n" * (LIMIT // 2 - 1)
        heads, status = requests([some + get(HOST)] * 3)
        assert (len(heads), status) == (3, 0)

    @pytest.mark.parametrize(
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

    @pytest.mark.parametrize(
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

    @pytest.mark.parametrize(
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


class TestLimit:
    def test_large_head_is_431(self) -> None:
        smallest = len(get(HOST, "X: "))
        at_most = get(HOST, "X: " + "x" * (LIMIT - smallest))
        assert len(at_most) == LIMIT
        assert status_of(at_most) == 200
        assert status_of(get(HOST, "X: " + "x" * (LIMIT - smallest + 1))) == 431
        assert status_of(get(HOST, target="/" + "x" * LIMIT)) == 431

    def test_limit_is_of_each_request(self) -> None:
        heads, status = requests([get(HOST, "X: " + "x" * (LIMIT - 100)) * 5])
        assert (len(heads), status) == (5, 0)

    @pytest.mark.parametrize("data", [b"GET /" + b"x" * LIMIT, get(HOST)[:-2] + b"X: y" * LIMIT])
    def test_endless_head_is_431(self, data: bytes) -> None:
        assert requests([bytes((byte,)) for byte in data[:LIMIT]]) == ([], 0)
        assert requests([bytes((byte,)) for byte in data]) == ([], 431)
        assert requests([data]) == ([], 431)


class TestBody:
    @pytest.mark.parametrize(
        "data",
        [
            post("Content-Length: 0"),
            post("Content-Length: 5", body=b"GET /"),
            post("Content-Length: 0005", body=b"\r\n\r\n\r"),
            post(CHUNKED, body=b"0\r\n\r\n"),
            post(CHUNKED, body=b"5\r\nGET /\r\n00a;x=\"y\" \r\n0123456789\r\n0\r\n\r\n"),
            post(CHUNKED, body=b"A \t\r\n0123456789\r\n000\r\nTrailer: x\r\nOther:\r\n\r\n"),
            post("transfer-encoding:\t Chunked ", body=b"0\r\n\r\n"),
            post(CHUNKED, "Transfer-Encoding:", body=b"0\r\n\r\n"),
        ],
    )  # fmt: skip
    def test_body_is_skipped(self, data: bytes) -> None:
        for end in range(len(data)):
            heads, status = requests([data[:end]])
            assert (heads, status) == ([], 0), data[:end]
        heads, status = requests([data + get(HOST, target="/next")])
        assert ([head.path for head in heads], status) == (["/", "/next"], 0)

    @pytest.mark.parametrize(
        ("lines", "status"),
        [
            (["Content-Length: "], 400),
            (["Content-Length: x"], 400),
            (["Content-Length: -1"], 400),
            (["Content-Length: +1"], 400),
            (["Content-Length: 1.0"], 400),
            (["Content-Length: 0x1"], 400),
            (["Content-Length: 1 2"], 400),
            (["Content-Length: \xb2"], 400),
            (["Content-Length: 5, 5"], 400),
            (["Content-Length: 5", "Content-Length: 5"], 400),
            (["Content-Length: 5", "Content-Length: 6"], 400),
            (["Content-Length: " + "9" * 5000], 431),
            (["Content-Length: " + "9" * 1000], 400),
            ([CHUNKED, "Content-Length: 5"], 400),
            (["Content-Length: 0", CHUNKED], 400),
            ([CHUNKED, CHUNKED], 501),
            (["Transfer-Encoding: gzip, chunked"], 501),
            (["Transfer-Encoding: chunked, gzip"], 400),
            (["Transfer-Encoding: chunked, identity"], 400),
            (["Transfer-Encoding: identity"], 400),
            (["Transfer-Encoding: xchunked"], 400),
            (["Transfer-Encoding: chunked;q=1"], 400),
            (["Transfer-Encoding: "], 400),
            (["Transfer-Encoding : chunked"], 400),
            (["Transfer-Encoding:\x0bchunked"], 400),
        ],
    )
    def test_ambiguous_body_is_refused(self, lines: list[str], status: int) -> None:
        assert status_of(post(*lines, body=b"0\r\n\r\n")) == status

    def test_chunks_in_http_10_are_400(self) -> None:
        assert status_of(post(CHUNKED, body=b"0\r\n\r\n", version="1.0")) == 400

    @pytest.mark.parametrize(
        "body",
        [
            b"\r\n", b"x\r\n", b"-1\r\n", b"0x1\r\n", b" 1\r\n", b"1_0\r\n", b"1\n", b"1\rx\r\n",
            b"1;\x00\r\n", b"00000000000000001\r\n", b"1\r\nab", b"1\r\nab\r\n", b"1\r\na\n0\r\n",
            b"1\r\na\r\n\r\n", b"1\r\na0\r\n", b"0\r\nno colon\r\n", b"0\r\nX: a\n\r\n", b"0\r\n\n",
            b"0\r\n folded: x\r\n",
        ],
    )  # fmt: skip
    def test_malformed_chunk_is_400(self, body: bytes) -> None:
        data = post(CHUNKED, body=body)
        # Until its line is whole, a chunk's size may still be one.
        assert status_of(data + b"\r\n\r\n") == 400
        assert requests([bytes((byte,)) for byte in data + b"\r\n\r\n"]) == ([], 400)

    def test_large_body_is_413(self) -> None:
        assert status_of(post(f"Content-Length: {LIMIT}", body=b"x" * LIMIT)) == 200
        assert status_of(post(f"Content-Length: {LIMIT + 1}")) == 413
        assert status_of(post("Content-Length: " + "9" * 19)) == 413
        assert status_of(post(CHUNKED, body=b"FFFFFFFFFFFFFFFF\r\n")) == 413
        for chunk in (b"1\r\nx\r\n", b"1;" + b"x" * 100 + b"\r\nx\r\n"):
            assert status_of(post(CHUNKED, body=chunk * LIMIT)) == 413
        assert status_of(post(CHUNKED, body=b"0\r\n" + b"X: y\r\n" * LIMIT)) == 413
        assert status_of(post(CHUNKED, body=b"1;" + b"x" * LIMIT)) == 413

    @pytest.mark.parametrize(
        ("lines", "version", "waits"),
        [
            (["Expect: 100-continue", "Content-Length: 1"], "1.1", True),
            (["Expect: 100-Continue", CHUNKED], "1.1", True),
            (["Expect: 100-continue", "Content-Length: 1"], "1.0", False),
            (["Expect: something", "Content-Length: 1"], "1.1", False),
            (["Content-Length: 1"], "1.1", False),
        ],
    )
    def test_expectation_of_100_continue(self, lines: list[str], version: str, waits: bool) -> None:
        reader = RequestReader(LIMIT)
        reader.feed(post(*lines, version=version))
        assert reader.next_request() is None
        assert reader.awaits_continue is waits
        reader.feed(b"x" if "Content-Length" in lines[-1] else b"0\r\n\r\n")
        assert reader.next_request() is not None
        assert not reader.awaits_continue

    def test_expectation_without_a_body_does_not_count(self) -> None:
        reader = RequestReader(LIMIT)
        reader.feed(post("Expect: 100-continue"))
        assert reader.next_request() is not None
        assert not reader.awaits_continue


def test_rest_behind_a_request_is_left_as_it_came() -> None:
    reader = RequestReader(LIMIT)
    reader.feed(get(HOST) + b"\x8a\x80")
    assert reader.next_request() is not None
    assert reader.begun
    assert reader.take_rest() == b"\x8a\x80"
    assert not reader.begun


# Any bytes


@given(RECEIVED, st.data())
def test_split_requests_are_read_alike(received: bytes, data: st.DataObject) -> None:
    pieces = split(received, data)
    assert requests(pieces, limit=150) == requests([received], limit=150)


class Llhttp:
    """The requests that llhttp finds, which Node.js uses, and uvicorn by way of httptools."""

    def __init__(self, received: bytes) -> None:
        self.requests: list[tuple[Any, ...]] = []
        self._parser = httptools.HttpRequestParser(self)
        with suppress(httptools.HttpParserError):
            self._parser.feed_data(received)

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head: tuple[Any, ...] = ()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        # Bytes behind a body's chunks are reported in the same way.
        self._head = (self._parser.get_method(), self._target, len(self._fields))

    def on_message_complete(self) -> None:
        method, target, count = self._head
        joined: dict[bytes, list[bytes]] = {}
        for name, value in self._fields[:count]:
            joined.setdefault(name, []).append(value)
        fields = {name: b", ".join(values) for name, values in joined.items()}
        self.requests.append((method, target, fields))


@given(RECEIVED)
@example(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 3)
@example(post(CHUNKED, body=b"3\r\nabc\r\n0\r\nX: y\r\n\r\n") + get(HOST))
def test_every_request_is_one_for_llhttp_too(received: bytes) -> None:
    heads, _ = requests([received])
    theirs = Llhttp(received).requests
    for head in heads:
        if "%FF" in head.path + head.query:
            break  # on purpose: not every client percent-encodes Persian letters
        assert theirs, f"not found by llhttp: {head}"
        method, target, fields = theirs.pop(0)
        if absolute := re.match(rb"http://([^/?]*)", target):
            fields[b"host"] = absolute[1]
            target = target[absolute.end() :] or b"/"
        query = f"?{head.query}" if b"?" in target else ""
        assert (head.method + " " + head.path + query).encode() == method + b" " + target
        assert head.fields == fields
        if not head.keep_alive:
            break  # nothing that follows is read
