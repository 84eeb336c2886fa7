"""Bytes that a server may receive: requests, and almost requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

from ime_live.gateway.http.request_head import RequestError, RequestHead
from ime_live.gateway.http.request_reader import RequestReader


def get(*lines: str, target: str = "/", version: str = "1.1") -> bytes:
    """A GET with these header lines."""
    return "\r\n".join([f"GET {target} HTTP/{version}", *lines, "", ""]).encode("latin-1")


HOST: Final = "Host: t"


def post(*lines: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """A POST with these header lines."""
    head = "\r\n".join([f"POST / HTTP/{version}", HOST, *lines, "", ""])
    return head.encode("latin-1") + body


CHUNKED: Final = "Transfer-Encoding: chunked"


_LINES = [
    "GET / HTTP/1.1", "POST /a?b HTTP/1.1", "HEAD http://x/ HTTP/1.0", "OPTIONS * HTTP/1.1",
]  # fmt: skip
_FIELDS = [
    "X: y", "x:  y\t", "Accept: a", "Accept: b", "Connection: close", "Connection: keep-alive",
    "Expect: 100-continue", "Content-Length: 3", "Content-Length: 03", "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity", "Content-Length: 0", "Host: t",
]  # fmt: skip
_BODIES = [
    b"",
    b"",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3;x\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"0\r\n\r\n",
]
_ODD = [b"", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"\x00", b"\xff", b"\x0b", b"0", b"a"]


@st.composite
def almost_requests(draw: st.DrawFn) -> bytes:
    """Some requests, one behind the other, and most of the time something wrong with them."""
    received = b""
    for _ in range(draw(st.integers(1, 3))):
        fields = draw(st.lists(st.sampled_from(_FIELDS), max_size=3))
        lines = [draw(st.sampled_from(_LINES)), "Host: t", *fields, "", ""]
        received += "\r\n".join(lines).encode() + draw(st.sampled_from(_BODIES))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(received)))
        replaced = draw(st.integers(0, 3))
        received = received[:at] + draw(st.sampled_from(_ODD)) + received[at + replaced :]
    return received


RECEIVED: Final = almost_requests() | st.binary()


def split(received: bytes, data: st.DataObject) -> list[bytes]:
    """The same bytes, in the pieces in which they may arrive."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(received)))))
    return [received[a:b] for a, b in zip([0, *cuts], [*cuts, len(received)], strict=True)]


def requests_in(pieces: Sequence[bytes], limit: int = 2_000) -> tuple[list[RequestHead], int]:
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
