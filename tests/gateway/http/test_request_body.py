"""The body of a request: its end, and refusals."""

from __future__ import annotations

from ime_live.gateway.http.request_reader import RequestReader
from tests.gateway.http.test_request_reader import LIMIT, status_of
from tests.support.received import CHUNKED, HOST, get, post, requests_in
from tests.support.rows import each_row


class TestBody:
    @each_row(
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
    def test_body_of_a_request_is_skipped(self, data: bytes) -> None:
        for end in range(len(data)):
            heads, status = requests_in([data[:end]])
            assert (heads, status) == ([], 0), data[:end]
        heads, status = requests_in([data + get(HOST, target="/next")])
        assert ([head.path for head in heads], status) == (["/", "/next"], 0)

    @each_row(
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

    @each_row(
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
        assert requests_in([bytes((byte,)) for byte in data + b"\r\n\r\n"]) == ([], 400)

    def test_large_body_is_413(self) -> None:
        assert status_of(post(f"Content-Length: {LIMIT}", body=b"x" * LIMIT)) == 200
        assert status_of(post(f"Content-Length: {LIMIT + 1}")) == 413
        assert status_of(post("Content-Length: " + "9" * 19)) == 413
        assert status_of(post(CHUNKED, body=b"FFFFFFFFFFFFFFFF\r\n")) == 413
        for chunk in (b"1\r\nx\r\n", b"1;" + b"x" * 100 + b"\r\nx\r\n"):
            assert status_of(post(CHUNKED, body=chunk * LIMIT)) == 413
        assert status_of(post(CHUNKED, body=b"0\r\n" + b"X: y\r\n" * LIMIT)) == 413
        assert status_of(post(CHUNKED, body=b"1;" + b"x" * LIMIT)) == 413

    @each_row(
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
