"""Responses: tags, conditional requests, compression, and refusals."""

from __future__ import annotations

import gzip

import msgspec

from ime_live.errors import AuthenticationError, CloseCode, LimitError, RefusedError
from ime_live.gateway.query.stream_query import NOT_COVERED
from ime_live.gateway.rest.bodies import Data
from ime_live.gateway.rest.request import RestRequest
from ime_live.gateway.rest.responses import (
    GZIP_ABOVE,
    RestResponse,
    entity_tag,
    matches,
    refusal_of,
    response_of,
    takes_gzip,
)
from tests.support.rows import each_row

SMALL, LARGE = Data(b'{"A":1}'), Data(b'{"A":"%b"}' % (b"x" * GZIP_ABOVE))


def headers(shown: RestResponse) -> dict[str, str]:
    assert len({name for name, _ in shown.headers}) == len(shown.headers)
    return {name.decode(): value.decode() for name, value in shown.headers}


def test_response_has_status_headers_and_body() -> None:
    shown = response_of(SMALL, RestRequest(accept_encoding="gzip"), 5.0)
    assert shown.status == 200
    assert msgspec.json.decode(shown.body)["Data"] == {"A": 1}
    assert headers(shown) == {
        "etag": entity_tag(SMALL),
        "cache-control": "private, no-cache",
        "vary": "Accept-Encoding",
        "content-type": "application/json",
        "content-length": str(len(shown.body)),
    }


def test_large_response_is_gzip_compressed_if_accepted() -> None:
    plain = response_of(LARGE, RestRequest(), 5.0)
    packed = response_of(LARGE, RestRequest(accept_encoding="deflate, gzip"), 5.0)
    assert gzip.decompress(packed.body) == plain.body
    assert headers(packed)["content-encoding"] == "gzip"
    assert headers(packed)["content-length"] == str(len(packed.body))
    assert "content-encoding" not in headers(plain)
    assert headers(packed)["etag"] == headers(plain)["etag"]
    assert headers(packed)["vary"] == headers(plain)["vary"] == "Accept-Encoding"


def test_etag_depends_on_the_data_and_not_on_the_time() -> None:
    assert entity_tag(SMALL) == entity_tag(Data(SMALL.json, is_complete=False))
    assert entity_tag(SMALL) != entity_tag(LARGE)
    assert entity_tag(SMALL).startswith('W/"')
    shown = response_of(SMALL, RestRequest(if_none_match=entity_tag(SMALL)), 6.0)
    assert (shown.status, shown.body) == (304, b"")
    assert set(headers(shown)) == {"etag", "cache-control", "vary"}
    assert response_of(SMALL, RestRequest(if_none_match=entity_tag(LARGE)), 6.0).status == 200


@each_row(
    ("if_none_match", "matched"),
    [
        ('W/"abc"', True),
        ('"abc"', True),
        ('"x", W/"abc"', True),
        ('"x",W/"abc"', True),
        ("*", True),
        ('W/"abd"', False),
        ("abc", False),
        ("", False),
    ],
)
def test_if_none_match_is_compared_with_the_etag(if_none_match: str, matched: bool) -> None:
    assert matches(if_none_match, 'W/"abc"') is matched


@each_row(
    ("accept_encoding", "taken"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip;q=0.5, br", True),
        ("deflate,gzip ; q=1", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0.1", True),
        ("*;q=0", False),
        ("br, identity", False),
        ("gzip;q=0, *", False),
        ("gzipped", False),
    ],
)
def test_accept_encoding_chooses_gzip(accept_encoding: str | None, taken: bool) -> None:
    assert takes_gzip(accept_encoding) is taken


@each_row(
    ("error", "status", "more"),
    [
        (AuthenticationError("token expired"), 401, {"www-authenticate": "Bearer"}),
        (RefusedError("not covered: A", kind=NOT_COVERED), 403, {}),
        (RefusedError("no contract"), 422, {}),
        (LimitError(retry_after=1.2), 429, {"retry-after": "2"}),
        (RefusedError("later", code=CloseCode.TRY_AGAIN_LATER), 503, {}),
    ],
)
def test_refusal_has_status_and_reason(
    error: RefusedError, status: int, more: dict[str, str]
) -> None:
    shown = refusal_of(error)
    assert shown.status == status
    assert msgspec.json.decode(shown.body) == {"detail": error.reason}
    error.detail = "did you mean B?"
    body = msgspec.json.decode(refusal_of(error).body)
    assert body == {"detail": f"{error.reason}; did you mean B?"}
    assert headers(shown) == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "content-length": str(len(shown.body)),
        **more,
    }
