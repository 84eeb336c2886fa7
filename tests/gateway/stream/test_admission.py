"""Admission of streams: the limits that a request meets before it is read further."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ime_live.errors import LimitError, RefusedError
from ime_live.gateway.auth.cors import Origins
from ime_live.gateway.http.request_head import RequestHead
from ime_live.gateway.stream.admission import admit_stream
from tests.support.gateway_connections import Process

PEER: Any = SimpleNamespace(get_extra_info=lambda _: ("192.0.2.1", 5000))


def head(**fields: bytes) -> RequestHead:
    """A request with these header fields."""
    names = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return RequestHead("GET", "/live/contract/id", "", "1.1", names)


def process(refused: list[str]) -> Process:
    """A process with room for two streams, behind a proxy that is the peer."""
    made = Process(max_connections=2, trusted_proxies="192.0.2.1")
    metrics: Any = made.context.metrics
    metrics.refused = refused.append
    return made


async def test_permit_has_the_address_that_the_proxy_names() -> None:
    context = process([]).context
    permit = admit_stream(head(x_forwarded_for=b"203.0.113.7"), PEER, context)
    assert permit.address == "203.0.113.7"
    assert context.limits.streams == 1


async def test_page_of_another_origin_is_refused_without_a_permit() -> None:
    refused: list[str] = []
    context = process(refused).context
    context.stream_origins = Origins(["https://example.org"])
    with pytest.raises(RefusedError, match="origin not allowed"):
        admit_stream(head(origin=b"https://example.com"), PEER, context)
    assert refused == ["origin"]
    assert context.limits.streams == 0
    admit_stream(head(origin=b"https://example.org"), PEER, context)
    admit_stream(head(), PEER, context)  # no browser


async def test_stream_above_the_limit_is_refused_and_counted() -> None:
    refused: list[str] = []
    context = process(refused).context
    first = admit_stream(head(), PEER, context)
    admit_stream(head(), PEER, context)
    with pytest.raises(LimitError) as found:
        admit_stream(head(), PEER, context)
    assert found.value.status == 503
    assert refused == ["connections"]
    first.free()
    admit_stream(head(), PEER, context)
