"""The REST client against a stand-in that answers as the service does."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

import ime_live
from ime_live.client.rest import Client

from .texts import DATA

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
    """A service: what it was asked, and the statuses that it answers before it does well.

    With ``good``, every other token is refused; with ``together``, so many calls are answered at
    the same time.
    """

    url: str = ""
    asked: list[tuple[str, dict[str, list[str]], str | None]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    body: bytes | None = None
    drip: bool = False
    good: str | None = None
    together: threading.Barrier | None = None


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the service does, of one contract named A with the id 1."""

    rest: ClassVar[Rest]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.rest.asked.append((parts.path, query, self.headers["Authorization"]))
        good = self.rest.good
        if self.rest.together is not None:
            self.rest.together.wait(20)
        if good is not None and self.headers["Authorization"] != f"Bearer {good}":
            self.reply(401, {"detail": "expired"})
            return
        if self.rest.statuses:
            self.reply(self.rest.statuses.pop(0), {"detail": "so it is"})
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
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def rest() -> Iterator[Rest]:
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


async def test_snapshots(rest: Rest) -> None:
    client = Client(rest.url, token="t")
    whole = await client.snapshot(["A", "NOPE"], [1])
    assert set(whole) == {"A", "NOPE", "1"}
    assert whole["NOPE"] is None
    assert whole["A"] is not None
    assert whole["A"].best_limit["1"].buy_price == 999100
    assert rest.asked == [
        ("/live/data/overview/contract/name", {"contract_names": ["A", "NOPE"]}, "Bearer t"),
        ("/live/data/overview/contract/id", {"contract_ids": ["1"]}, "Bearer t"),
    ]


async def test_one_section(rest: Rest) -> None:
    client = Client(rest.url)
    best = await client.snapshot(["A", "NOPE"], section=ime_live.BestLimit)
    assert best["A"] is not None
    assert best["A"]["2"].sell_quantity == 8
    assert best["NOPE"] is None
    day = await client.snapshot(contract_ids=["1"], section=ime_live.Aggregate)
    assert day["1"] is not None
    assert day["1"].closing_price == 999393.5
    assert [path for path, _, _ in rest.asked] == [
        "/live/data/best-limit/contract/name",
        "/live/data/aggregate/contract/id",
    ]


async def test_overviews_and_contracts(rest: Rest) -> None:
    client = Client(rest.url)
    overview = (await client.overview(["A"]))["A"]
    assert overview is not None
    assert overview.contract.contract_id == "1"
    assert overview.data is not None
    assert overview.data.contract_info.open_interest == 4997
    first, second = await client.contracts(["A", "NOPE"])
    assert second is None
    assert first is not None
    assert (first.title, first.buy_commission, first.expiration_date) == (
        "قرارداد",
        0.0025,
        "2026-08-01",
    )


async def test_search(rest: Rest) -> None:
    [found] = await Client(rest.url).search("IMEOption", "KASH05C")
    assert (found.contract_name, found.market) == ("A", ime_live.Market.OPTION)
    assert rest.asked[0][1] == {"market": ["IMEOption"], "Search_char": ["KASH05C"]}
    with pytest.raises(ime_live.SettingsError, match=r"a market is IMEFutures, .*, not Stocks"):
        await Client(rest.url).search("Stocks", "x")


async def test_many_names_are_asked_for_in_portions(rest: Rest) -> None:
    names = [f"سكه0312پ{n:04}" for n in range(400)]
    found = await Client(rest.url).contracts(names)
    assert len(found) == 400
    assert len(rest.asked) > 1
    assert [n for _, query, _ in rest.asked for n in query["contract_names"]] == names


async def test_a_plain_program(rest: Rest) -> None:
    with ime_live.BlockingClient(rest.url, token="SECRET") as client:
        assert client.snapshot(["A"])["A"] is not None
        assert client.snapshot(["A"], section=ime_live.BestLimit)["A"] is not None
        assert client.overview(["NOPE"]) == {"NOPE": None}
        assert client.contracts(["NOPE"]) == [None]
        assert len(client.search(ime_live.Market.FUTURES, "A")) == 1
        assert "SECRET" not in repr(client)


async def test_a_refused_token(rest: Rest) -> None:
    rest.statuses = [401]
    with pytest.raises(ime_live.AuthenticationError, match="so it is"):
        await Client(rest.url, token="bad").contracts(["A"])
    tokens = iter(["old", "new"])
    rest.statuses = [401]
    assert await Client(rest.url, token=lambda: next(tokens)).contracts(["A"])
    assert [token for _, _, token in rest.asked] == ["Bearer bad", "Bearer old", "Bearer new"]


async def test_calls_at_the_same_time_when_the_token_expires(rest: Rest) -> None:
    asked: list[str] = []

    def token() -> str:
        asked.append("asked")
        return f"t{len(asked)}"

    client = Client(rest.url, token=token)
    rest.good, rest.together = "t1", threading.Barrier(3)
    await asyncio.gather(*(client.contracts(["A"]) for _ in range(3)))
    assert len(asked) == 1
    rest.good = "t2"  # and t1 is refused thrice, at once
    found = await asyncio.gather(*(client.contracts(["A"]) for _ in range(3)))
    assert [len(each) for each in found] == [1, 1, 1]
    assert len(asked) == 2
    rest.good = "another"
    ends = await asyncio.gather(
        *(client.contracts(["A"]) for _ in range(3)), return_exceptions=True
    )
    assert [type(end) for end in ends] == [ime_live.AuthenticationError] * 3
    # Nobody is asked for ever, but a later call is not lost.
    rest.good, rest.together = f"t{len(asked) + 1}", None
    assert await client.contracts(["A"])


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_service_is_asked_again(rest: Rest, status: int) -> None:
    rest.statuses = [status]
    assert await Client(rest.url, tries=2).contracts(["A"])
    rest.statuses = [status]
    with pytest.raises(ime_live.ServiceError, match="so it is") as caught:
        await Client(rest.url, tries=1).contracts(["A"])
    assert caught.value.status == status


@pytest.mark.parametrize("status", [302, 400, 404, 422, 500])
async def test_another_answer_is_an_error_at_once(rest: Rest, status: int) -> None:
    rest.statuses = [status]
    with pytest.raises(ime_live.ServiceError, match="so it is") as caught:
        await Client(rest.url).contracts(["A"])
    assert caught.value.status == status
    assert len(rest.asked) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"Data": 5}', b'{"Data": [{}]}'])
async def test_what_is_no_answer_is_told(rest: Rest, body: bytes) -> None:
    rest.body = body
    with pytest.raises(ime_live.ServiceError, match="cannot be read"):
        await Client(rest.url).contracts(["A"])


async def test_a_service_that_is_away_or_too_slow(rest: Rest) -> None:
    rest.drip = True
    with pytest.raises(ime_live.ServiceError, match=r"did not answer within 0\.2 s"):
        await Client(rest.url, read_timeout=0.2, tries=1).contracts(["A"])
    with pytest.raises(ime_live.ServiceError, match="cannot be reached"):
        await Client("http://127.0.0.1:1", tries=1).contracts(["A"])


@pytest.mark.parametrize(
    "arguments", [{"tries": 0}, {"read_timeout": 0}, {"connect_timeout": -1}, {"token": ""}]
)
def test_arguments_that_cannot_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(ime_live.SettingsError):
        Client("http://h", **arguments)
