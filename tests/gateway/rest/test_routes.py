"""Calls for data as the server sees them: their responses to a wrong method and to a failure."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ime_live.gateway.auth.cors import Cors
from ime_live.gateway.rest.bodies import Data
from ime_live.gateway.rest.paths import SEARCH_PATH
from ime_live.gateway.rest.request import RestRequest
from ime_live.gateway.rest.routes import http_app
from ime_live.settings import GatewaySettings


class Calls:
    """Handlers, of which the search fails once it is told to."""

    fails = False

    async def live(self, *_: object) -> Data:
        return Data(b"{}")

    async def candles(self, *_: object) -> Data:
        return Data(b"{}")

    async def static(self, *_: object) -> Data:
        return Data(b"[]")

    async def search(self, request: RestRequest) -> Data:
        if self.fails:
            raise ZeroDivisionError(request.query)
        return Data(b"[]")

    option_chain = markets = search


class Context:
    """The parts of the process that a call for data uses."""

    def __init__(self) -> None:
        self.cors = Cors(())
        self.handlers: Any = Calls()
        self.counted: list[tuple[str, int]] = []

    def now(self) -> float:
        return 1.0

    def count_request(self, call: str, status: int, seconds: float) -> None:
        self.counted.append((call, status))

    async def ask(self, method: str, path: str) -> list[dict[str, Any]]:
        """Return the messages that answer a request."""
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "http", "method": method, "path": path}
        scope |= {"query_string": b"secret", "headers": [], "client": None}
        context: Any = self
        try:
            await http_app(context, GatewaySettings(jwt_secret="s" * 32))(scope, None, send)  # type: ignore[arg-type]
        except ZeroDivisionError:
            sent.append({"raised": True})
        return sent


@pytest.mark.parametrize("path", [SEARCH_PATH, SEARCH_PATH + "/"])
async def test_call_for_data_is_answered_and_counted(path: str) -> None:
    context = Context()

    start, body = await context.ask("GET", path)

    assert start["status"] == 200
    assert msgspec.json.decode(body["body"])["Data"] == []
    assert context.counted == [(SEARCH_PATH, 200)]


async def test_call_for_data_with_another_method_is_refused() -> None:
    start, body = await Context().ask("POST", SEARCH_PATH)

    assert (start["status"], dict(start["headers"])[b"allow"]) == (405, b"GET, HEAD")
    assert msgspec.json.decode(body["body"]) == {"detail": "Method Not Allowed"}


async def test_call_for_data_that_fails_is_answered_and_raised() -> None:
    context = Context()
    context.handlers.fails = True

    start, body, raised = await context.ask("GET", SEARCH_PATH)

    assert start["status"] == 500
    assert msgspec.json.decode(body["body"]) == {"detail": "internal error"}
    assert raised == {"raised": True}
    assert context.counted == [(SEARCH_PATH, 500)]
