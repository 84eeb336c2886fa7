"""Pages that may read answers: none by default, some, or all."""

from __future__ import annotations

from ime_live.gateway.auth.cors import Cors
from tests.support.rows import each_row

PAGE, OTHER = b"https://page.example", b"https://other.example"


def test_cors_allows_no_origin_by_default() -> None:
    cors = Cors(())
    assert cors.headers(PAGE) == []
    assert cors.preflight(PAGE) is None


def test_cors_allows_the_configured_origins() -> None:
    cors = Cors((PAGE.decode(), "http://localhost:3000"))
    found = dict(cors.headers(PAGE))
    assert found[b"access-control-allow-origin"] == PAGE
    assert b"ETag" in found[b"access-control-expose-headers"]
    for origin in (OTHER, None, b"null", PAGE + b".evil.example"):
        assert cors.headers(origin) == [(b"vary", b"Origin")]
        assert cors.preflight(origin) is None
    assert found[b"vary"] == b"Origin"


def test_cors_allows_all_origins() -> None:
    cors = Cors(("*",))
    assert dict(cors.headers(None))[b"access-control-allow-origin"] == b"*"
    assert b"vary" not in dict(cors.headers(OTHER))


def test_cors_preflight_is_answered() -> None:
    for origins in ((PAGE.decode(),), ("*",)):
        found = dict(Cors(origins).preflight(PAGE) or [])
        assert found[b"access-control-allow-origin"] in (PAGE, b"*")
        assert b"GET" in found[b"access-control-allow-methods"]
        allowed = found[b"access-control-allow-headers"].lower()
        assert b"authorization" in allowed
        assert b"if-none-match" in allowed
        assert int(found[b"access-control-max-age"]) > 0
        assert b"access-control-allow-credentials" not in found


@each_row(
    "origin",
    [
        b"http://localhost:3000",
        b"http://localhost",
        b"https://localhost:5173",
        b"http://127.0.0.1:8080",
        b"http://127.1.2.3",
        b"http://[::1]:4200",
        b"http://app.localhost:3000",
    ],
)
def test_cors_allows_pages_of_this_machine(origin: bytes) -> None:
    cors = Cors(("loopback", PAGE.decode()))
    for each in (origin, PAGE):
        assert dict(cors.headers(each))[b"access-control-allow-origin"] == each
        assert dict(cors.preflight(each) or [])[b"access-control-allow-origin"] == each
    assert Cors((PAGE.decode(),)).preflight(origin) is None


@each_row(
    "origin",
    [
        None,
        b"null",
        b"loopback",
        b"file://",
        PAGE,
        b"http://localhost.evil.example",
        b"http://evil.example:80",
        b"http://127.0.0.1.evil.example",
        b"http://evillocalhost:3000",
        b"http://localhost:3000/",
        b"http://192.168.0.1",
        b"ftp://localhost",
        b"http://localhost:3000\n",
    ],
)
def test_cors_refuses_pages_of_other_machines(origin: bytes | None) -> None:
    cors = Cors(("loopback",))
    assert cors.headers(origin) == [(b"vary", b"Origin")]
    assert cors.preflight(origin) is None
