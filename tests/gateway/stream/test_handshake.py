"""Handshakes: an offer that is known gets what the library would answer, for every key."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.gateway.http.request_head import RequestHead, read_head
from ime_live.gateway.stream.handshake import Handshake, Negotiator

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
DEFLATE = "permessage-deflate; client_max_window_bits"


def head(
    key: str | None = KEY,
    version: str | None = "13",
    extensions: str | None = None,
    protocol: str | None = None,
    method: str = "GET",
) -> RequestHead:
    fields = {
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": version,
        "Sec-WebSocket-Extensions": extensions,
        "Sec-WebSocket-Protocol": protocol,
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    start = [f"{method} /x HTTP/1.1", "Host: t", "Connection: Upgrade", "Upgrade: websocket"]
    return read_head("\r\n".join([*start, *lines, "", ""]).encode("latin-1"))


def fresh(request: RequestHead, *, compression: bool = True) -> Handshake:
    return Negotiator(compression=compression).negotiate(request)


def same(one: Handshake, other: Handshake) -> bool:
    """Whether two handshakes are equal but for the time in a refusal."""

    def lines(handshake: Handshake) -> list[bytes]:
        split = handshake.response.split(b"\r\n")
        return [line for line in split if not line.startswith(b"Date: ")]

    return (one.accepted, lines(one), repr(one.deflate)) == (
        (other.accepted, lines(other), repr(other.deflate))
    )


keys = st.one_of(
    st.binary(min_size=16, max_size=16).map(lambda raw: base64.b64encode(raw).decode()),
    st.binary(max_size=20).map(lambda raw: base64.b64encode(raw).decode()),
    st.sampled_from([KEY[:-1], KEY + "=", KEY + ", " + KEY, "a b", "é" * 8, "", None]),
)
offers = st.tuples(
    st.sampled_from(["13", "8", "13, 13", None]),
    st.sampled_from([None, DEFLATE, "permessage-deflate", "other", DEFLATE + ", other", ";"]),
    st.sampled_from([None, "ime-live", "ime-live, token.abc", "other", ","]),
)


@given(st.lists(st.tuples(keys, offers), max_size=12), st.booleans())
def test_handshake_answer_equals_that_of_a_new_negotiator(
    requested: list[tuple[str | None, tuple[str | None, str | None, str | None]]],
    compression: bool,
) -> None:
    warm = Negotiator(compression=compression)
    for key, offer in requested:
        for method in ("GET", "POST", "GET"):
            request = head(key, *offer, method=method)
            assert same(warm.negotiate(request), fresh(request, compression=compression))


def test_handshake_accepts_the_key_of_rfc_6455() -> None:
    negotiator = Negotiator(compression=True)
    for raw in (b"0123456789abcdef", b"fedcba9876543210"):
        key = base64.b64encode(raw)
        response = negotiator.negotiate(head(key.decode())).response
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324
        assert b"\r\nSec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n" in response


@pytest.mark.parametrize("known", [False, True])
def test_accepted_handshake_has_no_date_field(known: bool) -> None:
    negotiator = Negotiator(compression=True)
    if known:
        negotiator.negotiate(head())
    assert b"Date:" not in negotiator.negotiate(head()).response


def test_handshake_cache_does_not_keep_a_long_offer() -> None:
    negotiator = Negotiator(compression=True)
    for number in range(3):
        offer = head(extensions=f"x-{number}; y={'z' * 5000}, permessage-deflate")
        assert same(negotiator.negotiate(offer), fresh(offer))
        assert negotiator.negotiate(offer).deflate is not None
    assert "zzz" not in repr(vars(negotiator))
    negotiator.negotiate(head())
    assert repr(vars(negotiator)).count("_Agreement(") == 1


def test_handshake_cache_is_bounded_and_holds_no_token() -> None:
    negotiator = Negotiator(compression=True)
    for number in range(200):
        assert negotiator.negotiate(head(extensions=f"x-{number}")).accepted
        assert negotiator.negotiate(head(protocol=f"ime-live, token.secret{number}")).accepted
    kept = repr(vars(negotiator))
    assert kept.count("_Agreement(") == 64
    assert "secret" not in kept
