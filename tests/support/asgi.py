"""Requests to routes of the gateway, as an ASGI server makes them, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import Message


class Response(Struct, frozen=True):
    """A response: its status, its headers with names in lower case, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes


async def request(
    routes: Sequence[BaseRoute],
    path: str,
    method: str = "GET",
    *,
    scheme: str = "http",
    **headers: str,
) -> Response:
    """Make a request; a header is given as ``Accept_Encoding="gzip"``."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    given = [(k.replace("_", "-").lower().encode(), v.encode()) for k, v in headers.items()]
    scope: dict[str, Any] = {
        "type": "http", "method": method, "scheme": scheme, "path": path,
        "raw_path": path.encode(), "headers": given, "query_string": b"",
    }  # fmt: skip
    await Starlette(routes=routes)(scope, receive, send)
    start, body = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Response(start["status"], found, body["body"])
