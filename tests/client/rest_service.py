"""A stand-in for the service's REST side."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.support.stream_messages import DATA

STATIC = {
    "contractId": "1",
    "contractName": "A",
    "title": "قرارداد",
    "buyCommission": 0.0025,
    "canBuy": True,
    "ExpirationDate": "2026-08-01",
    "DaysToExpiration": 70,
    "owner": None,
}


@dataclass
class Rest:
    """A service: the requests that it got, and the statuses that it answers before it does well.

    With ``good``, every other token is refused; with ``together``, so many calls are answered at
    the same time. With ``closes`` a connection ends after its answer, with ``cut`` in the middle of
    it, and so many calls as ``drops`` get none at all.
    """

    url: str = ""
    connections: int = 0
    requested: list[tuple[str, dict[str, list[str]], str | None]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    retry_after: str = ""
    body: bytes | None = None
    drip: bool = False
    good: str | None = None
    together: threading.Barrier | None = None
    detail: str = "so it is"
    closes: bool = False
    drops: int = 0
    cut: bool = False


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the service does, of one contract named A with the id 1."""

    rest: ClassVar[Rest]
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.rest.connections += 1

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.rest.requested.append((parts.path, query, self.headers["Authorization"]))
        if self.rest.drops:
            self.rest.drops -= 1
            self.close_connection = True
            return
        good = self.rest.good
        if self.rest.together is not None:
            self.rest.together.wait(20)
        if good is not None and self.headers["Authorization"] != f"Bearer {good}":
            self.reply(401, {"detail": "expired"})
            return
        if self.rest.statuses:
            self.reply(self.rest.statuses.pop(0), {"detail": self.rest.detail})
            return
        names = query.get("contract_names", []) + query.get("contract_ids", [])
        match parts.path.strip("/").split("/"):
            case ["live", "data", "overview", "contract", _]:
                data: Any = {n: {**STATIC, **DATA} if n in "A1" else None for n in names}
            case ["live", "data", section, "contract", _]:
                key = {"best-limit": "BestLimit", "aggregate": "Aggregate"}[section]
                data = {n: DATA[key] if n in "A1" else None for n in names}
            case ["static", "data", "contract", "search"]:
                data = [STATIC]
            case _:
                data = [STATIC if n in "A1" else None for n in names]
        self.reply(200, {"Data": data, "Status": {"State": True}})

    def reply(self, status: int, answer: object) -> None:
        """Send JSON, or what the test wants instead."""
        body = self.rest.body if self.rest.body is not None else json.dumps(answer).encode()
        self.send_response(status)
        if self.rest.retry_after and status != 200:
            self.send_header("Retry-After", self.rest.retry_after)
        if status == 302:
            self.send_header("Location", self.rest.url)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.rest.drip:
            for byte in body:
                try:
                    self.wfile.write(bytes((byte,)))
                except OSError:
                    return
                time.sleep(0.05)
        else:
            self.wfile.write(body[: 5 if self.rest.cut else None])
        self.close_connection |= self.rest.closes or self.rest.cut

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def rest_service() -> Iterator[Rest]:
    """A stand-in on a free port."""
    made = Rest()
    handler = type("Handling", (Handler,), {"rest": made})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()
