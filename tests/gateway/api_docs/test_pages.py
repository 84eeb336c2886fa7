"""The page of the API documents: its files, its policy, and the addresses in the documents."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any
from urllib.parse import urljoin

import msgspec
import pytest

from ime_live.gateway.api_docs.pages import routes_of
from ime_live.settings import AuthMode, GatewaySettings
from tests.support.asgi import Response, request
from tests.support.rows import each_row

OPEN = GatewaySettings(auth=AuthMode.NONE)
PAGE = files("ime_live.gateway.api_docs").joinpath("page")
FILES = sorted(each.name for each in PAGE.iterdir())


def text_of(name: str) -> str:
    """A file of the page."""
    return PAGE.joinpath(name).read_text(encoding="utf-8")


async def get(
    path: str, method: str = "GET", *, settings: GatewaySettings = OPEN, **more: str
) -> Response:
    """Ask the routes of the page and of both documents."""
    return await request(routes_of(lambda: settings), path, method, **more)


async def server_of(kind: str, settings: GatewaySettings = OPEN, **more: str) -> dict[str, Any]:
    """A server of the streams in the AsyncAPI document."""
    answer = await get("/asyncapi.json", settings=settings, **more)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    return dict(msgspec.json.decode(answer.body)["servers"][kind])


async def test_content_security_policy_allows_only_the_same_origin() -> None:
    policy = (await get("/docs")).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("require-trusted-types-for") == "'script'"
    assert set(rules.values()) == {"'none'", "'self'"}
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"


@pytest.mark.parametrize("name", FILES)
async def test_file_of_the_page_is_served_as_it_is(name: str) -> None:
    path = "/docs" if name == "index.html" else f"/docs/{name}"
    answer = await get(path)
    assert (answer.status, answer.body.decode()) == (200, text_of(name))
    kind = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert answer.headers["content-type"].partition(";")[0] == kind[name.rpartition(".")[2]]
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = await get(path, If_None_Match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert (await get(path, If_None_Match='"old"')).body == answer.body
    assert (await get(path, "HEAD")).status == 200


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "pages.py", "../pages.py"])
async def test_other_files_are_404(name: str) -> None:
    assert (await get(f"/docs/{name}")).status == 404
    assert (await get("/docs", "POST")).status == 405


@each_row("name", FILES)
def test_file_names_no_other_host(name: str) -> None:
    # The SVG's namespace is a name that nobody fetches.
    text = text_of(name).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://[\w$]|[\"'(]//", text)


async def test_files_named_by_the_page_exist() -> None:
    named = re.findall(r"(?:href|src)=\"([^\"#]+)\"", text_of("index.html"))
    assert {"openapi.json", "asyncapi.json", "docs/main.js"} <= set(named)
    for name in FILES:
        named += [
            urljoin("docs/", each) for each in re.findall(r'from "(\./[^"]+)"', text_of(name))
        ]
    for each in named:
        assert (await get(urljoin("/docs", each), Host="h")).status == 200, each


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_of_the_page_have_enough_contrast(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", text_of("page.css"), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", block))
    grounds = [colours.pop(name) for name in ("ground", "raised", "sunken")]
    pairs = [(colours.pop("accent-text"), colours["accent"])]
    colours.pop("line")  # only separates
    assert set(colours) == {"text", "quiet", "accent", "good", "bad", "get", "ws", "sse"}
    pairs += [(colour, ground) for colour in colours.values() for ground in grounds]
    for pair in pairs:
        dark, light = sorted(map(_luminance, pair))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair  # WCAG 2.2, 1.4.3


async def test_servers_of_the_streams_have_the_host_of_the_request() -> None:
    assert await server_of("websocket", Host="h:9") == {
        "host": "h:9",
        "protocol": "ws",
        "description": "WebSocket",
    }
    prefixed = GatewaySettings(auth=AuthMode.NONE, root_path="/data-engine/ime")
    server = await server_of("events", prefixed, Host="h", scheme="https")
    assert (server["host"], server["pathname"]) == ("h", "/data-engine/ime")
    assert server["protocol"] == "https"


async def test_forwarded_headers_do_not_change_the_servers() -> None:
    server = await server_of(
        "events", Host="h:9", X_Forwarded_Proto="https", X_Forwarded_Host="evil.example"
    )
    assert (server["host"], server["protocol"]) == ("h:9", "http")


async def test_public_url_precedes_the_host_of_the_request() -> None:
    public = GatewaySettings(
        auth=AuthMode.NONE, public_url="https://example.com/data-engine/ime/", root_path="/ime"
    )
    assert await server_of("websocket", public, Host="h:9") == {
        "host": "example.com",
        "pathname": "/data-engine/ime",
        "protocol": "wss",
        "description": "WebSocket",
    }


async def test_openapi_document_has_the_limits_in_force() -> None:
    for limit in (7, 8):  # the settings may be reloaded
        settings = GatewaySettings(auth=AuthMode.NONE, max_contracts=limit)
        answer = await get("/openapi.json", settings=settings)
        assert answer.headers["content-type"] == "application/json"
        assert b'"maxItems":%d' % limit in answer.body
