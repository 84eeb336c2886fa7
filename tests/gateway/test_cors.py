"""Pages that may read answers: none by default, some, or all."""

from __future__ import annotations

from ime_live.gateway.cors import Cors

PAGE, OTHER = b"https://page.example", b"https://other.example"


def test_none_by_default() -> None:
    cors = Cors(())
    assert cors.headers(PAGE) == []
    assert cors.preflight(PAGE) is None


def test_some() -> None:
    cors = Cors((PAGE.decode(), "http://localhost:3000"))
    found = dict(cors.headers(PAGE))
    assert found[b"access-control-allow-origin"] == PAGE
    assert b"ETag" in found[b"access-control-expose-headers"]
    for origin in (OTHER, None, b"null", PAGE + b".evil.example"):
        assert cors.headers(origin) == [(b"vary", b"Origin")]
        assert cors.preflight(origin) is None
    assert found[b"vary"] == b"Origin"


def test_all() -> None:
    cors = Cors(("*",))
    assert dict(cors.headers(None))[b"access-control-allow-origin"] == b"*"
    assert b"vary" not in dict(cors.headers(OTHER))


def test_a_preflight() -> None:
    for origins in ((PAGE.decode(),), ("*",)):
        found = dict(Cors(origins).preflight(PAGE) or [])
        assert found[b"access-control-allow-origin"] in (PAGE, b"*")
        assert b"GET" in found[b"access-control-allow-methods"]
        allowed = found[b"access-control-allow-headers"].lower()
        assert b"authorization" in allowed
        assert b"if-none-match" in allowed
        assert int(found[b"access-control-max-age"]) > 0
        assert b"access-control-allow-credentials" not in found
