"""Targets: the requests of a connection, by themselves and answered by the whole gateway."""

from __future__ import annotations

import re
from random import Random
from typing import Final
from zlib import crc32

from msgspec.structs import replace

from fuzz.memory_gateway import LIMIT, MemoryGateway, in_loop
from fuzz.target import FaultError, Target
from ime_live.gateway.http.request_head import RequestError, RequestHead, read_head
from tests.support.llhttp import Llhttp
from tests.support.received import requests_in

_REFUSALS: Final = frozenset({400, 413, 431, 501, 505})

# 500 is missing, as no request may cause it.
_STATUSES: Final = _REFUSALS | {200, 204, 304, 401, 403, 404, 405, 408, 422, 426, 429, 503}

_FIRST_COUNTS: Final = frozenset({b"authorization", b"last-event-id", b"origin"})
_STREAM: Final = re.compile(
    rb"HTTP/1\.1 101 |HTTP/1\.1 200 OK\r\n(?:[^\r]+\r\n)*content-type: text/event-"
    rb"stream",
    re.IGNORECASE,
)
_RESPONSE: Final = re.compile(
    rb"HTTP/1\.1 (\d{3}) [A-Za-z' -]+\r\n((?:[!-9;-~]+: [^\r\n]*\r\n)*)\r\n"
)
_LENGTH: Final = re.compile(rb"^content-length: (\d+)\r$", re.IGNORECASE | re.MULTILINE)

_WORDS: Final = (
    b"GET / HTTP/1.1\r\n",
    b"Host: t\r\n",
    b"\r\n\r\n",
    b"HTTP/1.0",
    b"HEAD ",
    b"POST ",
    b"OPTIONS ",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"3;x=y\r\nabc\r\n",
    b"0\r\n\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Origin: https://a.example\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=8\r\n",
    b"If-None-Match: *\r\n",
    b"Accept-Encoding: gzip\r\n",
    b"Last-Event-ID: 2026-05-23T15:10:00\r\n",
    b"X-Forwarded-For: 192.0.2.7, 192.0.2.1\r\n",
    b"Authorization: Bearer x\r\n",
    b"/live/data/websocket/contract/name",
    b"/live/data/sse/contract/id",
    b"?contract_names=KASH",
    b"/live/data/overview/contract/name",
    b"/live/data/candles/contract/id",
    b"/live/status",
    b"http://h",
    b"*",
    b"%2e%2e/",
    b"%00",
    b"%FF",
    b"//",
    b"/docs",
    b"/page",
    b"/metrics",
    b"/health",
)


def _in_pieces(data: bytes) -> list[bytes]:
    """Return the same bytes in some pieces, of which an input always has the same."""
    random = Random(crc32(data))
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.randint(1, 8)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def read_requests(data: bytes) -> None:
    """Read requests: alike in any pieces, and as llhttp reads them."""
    heads, status = requests_in([data], LIMIT)
    assert status in _REFUSALS | {0}
    assert requests_in(_in_pieces(data), LIMIT) == (heads, status), "other requests in pieces"
    for head in heads:
        assert _plain(read_head(_written(head))) == _plain(head), "not the same when written again"
    llhttp = Llhttp(data)
    for number, head in enumerate(heads):
        if number == len(llhttp.requests):
            assert llhttp.refused, "a request that llhttp takes for part of another one"
            break
        method, target, fields = llhttp.requests[number]
        if not target.isascii():
            return  # we encode it, for clients that do not
        assert head.method.encode() == method
        assert {k: v for k, v in head.fields.items() if k not in {*_FIRST_COUNTS, b"host"}} == {
            k: v for k, v in fields.items() if k not in {*_FIRST_COUNTS, b"host"}
        }
        if not head.keep_alive:
            return  # nothing that follows is read
    if status:
        raise RequestError(status)


def _plain(head: RequestHead) -> RequestHead:
    """Return a head without the blank that an empty line of a list leaves at its end."""
    return replace(head, fields={name: value.strip() for name, value in head.fields.items()})


def _written(head: RequestHead) -> bytes:
    target = f"{head.path}?{head.query}" if head.query else head.path
    lines = [f"{head.method} {target} HTTP/{head.version}".encode()]
    lines += [b"%b: %b" % field for field in head.fields.items()]
    return b"\r\n".join([*lines, b"", b""])


async def _answer(data: bytes) -> None:
    gateway = MemoryGateway()
    connection = gateway.connect()
    await gateway.receive(connection, data)
    written = connection.written
    heads, _ = requests_in([data], LIMIT)
    methods = [head.method for head in heads]
    answers = 0
    while written:
        if written.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            written = written.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            continue
        if _STREAM.match(written):
            break  # the rest is a stream
        response = _RESPONSE.match(written)
        if response is None:
            raise FaultError(f"not a response: {written[:100]!r}")
        status = int(response[1])
        assert status in _STATUSES, f"status {status}"
        method = methods[answers] if answers < len(methods) else ""
        answers += 1
        lengths = _LENGTH.findall(response[2])
        assert len(lengths) <= 1, "more than one Content-Length"
        size = 0 if method == "HEAD" or status in {204, 304} else int((lengths or [0])[0])
        assert lengths or size == 0
        written = written[response.end() :]
        assert len(written) >= size, "a body is cut off"
        written = written[size:]
    assert answers <= len(methods) + 1, "more responses than requests"
    assert connection.ended is not None, "a client that has left keeps its connection"
    assert not gateway.connections, "a connection is not forgotten"
    assert not gateway.wanted, "contracts are not released"


TARGETS: Final = (
    Target(
        "http-requests",
        "the reader of requests (`gateway/http`)",
        read_requests,
        (RequestError,),
        _WORDS,
    ),
    Target(
        "http-connections",
        "a connection of the whole gateway in memory: REST, pages, handshakes and events",
        in_loop(_answer),
        (),
        _WORDS,
    ),
)
