"""REST requests, with the parts of an ASGI scope that determine the response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class RestRequest(Struct, frozen=True):
    """The parts of a request that determine its response.

    Attributes:
        query: the query string as sent, percent-encoded UTF-8.
        peer: address of the peer.
        authorization: the header ``Authorization``; None without it.
        if_none_match: the header ``If-None-Match``; None without it.
        accept_encoding: the header ``Accept-Encoding``; None without it.
    """

    query: str = ""
    peer: str = ""
    authorization: str | None = None
    if_none_match: str | None = None
    accept_encoding: str | None = None


def request_of(scope: Mapping[str, Any]) -> RestRequest:
    """Return the request of an ASGI scope."""
    authorization = if_none_match = accept_encoding = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            # The first field counts, as in a stream.
            authorization = authorization or value.decode("latin-1")
        elif name == b"if-none-match":
            text = value.decode("latin-1")
            if_none_match = text if if_none_match is None else f"{if_none_match}, {text}"
        elif name == b"accept-encoding":
            text = value.decode("latin-1")
            accept_encoding = text if accept_encoding is None else f"{accept_encoding}, {text}"
    peer = scope["client"]
    return RestRequest(
        scope["query_string"].decode("latin-1"),
        peer[0] if peer else "",
        authorization,
        if_none_match,
        accept_encoding,
    )
