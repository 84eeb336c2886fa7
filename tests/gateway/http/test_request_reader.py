"""HTTP/1.1 requests: what is one, what it says, where it ends, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ime_live.gateway.http.request_reader import RequestReader
from tests.support.llhttp import Llhttp
from tests.support.received import CHUNKED, HOST, RECEIVED, get, post, requests_in, split

LIMIT = 2_000


def status_of(data: bytes) -> int:
    """The status by which the only request in ``data`` is refused; 200 if it is accepted."""
    heads, status = requests_in([data])
    return status or (200 if heads else 0)


class TestLimit:
    def test_large_head_is_431(self) -> None:
        smallest = len(get(HOST, "X: "))
        at_most = get(HOST, "X: " + "x" * (LIMIT - smallest))
        assert len(at_most) == LIMIT
        assert status_of(at_most) == 200
        assert status_of(get(HOST, "X: " + "x" * (LIMIT - smallest + 1))) == 431
        assert status_of(get(HOST, target="/" + "x" * LIMIT)) == 431

    def test_limit_is_of_each_request(self) -> None:
        heads, status = requests_in([get(HOST, "X: " + "x" * (LIMIT - 100)) * 5])
        assert (len(heads), status) == (5, 0)

    @pytest.mark.parametrize("data", [b"GET /" + b"x" * LIMIT, get(HOST)[:-2] + b"X: y" * LIMIT])
    def test_endless_head_is_431(self, data: bytes) -> None:
        assert requests_in([bytes((byte,)) for byte in data[:LIMIT]]) == ([], 0)
        assert requests_in([bytes((byte,)) for byte in data]) == ([], 431)
        assert requests_in([data]) == ([], 431)


def test_take_rest_returns_bytes_after_a_request_unchanged() -> None:
    reader = RequestReader(LIMIT)
    reader.feed(get(HOST) + b"\x8a\x80")
    assert reader.next_request() is not None
    assert reader.has_begun
    assert reader.take_rest() == b"\x8a\x80"
    assert not reader.has_begun


# Any bytes


@given(RECEIVED, st.data())
def test_split_requests_are_read_alike(received: bytes, data: st.DataObject) -> None:
    pieces = split(received, data)
    assert requests_in(pieces, limit=150) == requests_in([received], limit=150)


@given(RECEIVED)
@example(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 3)
@example(post(CHUNKED, body=b"3\r\nabc\r\n0\r\nX: y\r\n\r\n") + get(HOST))
def test_every_request_is_one_for_llhttp_too(received: bytes) -> None:
    heads, _ = requests_in([received])
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
