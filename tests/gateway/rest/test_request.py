"""Requests: the parts of an ASGI scope that a response depends on."""

from __future__ import annotations

from typing import Any

from ime_live.gateway.rest.request import RestRequest, request_of


def scope(*headers: tuple[bytes, bytes], **changes: object) -> dict[str, Any]:
    return {"query_string": b"a=%D8&b", "client": ("192.0.2.1", 5), "headers": headers} | changes


def test_request_without_headers_has_query_and_peer() -> None:
    assert request_of(scope()) == RestRequest("a=%D8&b", "192.0.2.1", None, None, None)


def test_unix_socket_has_no_peer() -> None:
    assert request_of(scope(client=None)).peer == ""


def test_first_authorization_counts_and_lists_are_joined() -> None:
    request = request_of(
        scope(
            (b"authorization", b"Bearer one"),
            (b"authorization", b"Bearer two"),
            (b"if-none-match", b'"a"'),
            (b"if-none-match", b'W/"b"'),
            (b"accept-encoding", b"br"),
            (b"accept-encoding", b"gzip"),
            (b"cookie", b"c=d"),
        )
    )
    assert request.authorization == "Bearer one"
    assert request.if_none_match == '"a", W/"b"'
    assert request.accept_encoding == "br, gzip"
