"""Polling of the boards: what is asked for, what is given out, and answers that are no boards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any, Self

import pytest
from structlog.testing import capture_logs

from ime_live.errors import SettingsError
from ime_live.feeds.ime.polling import LARGEST, PATHS, BoardPoller
from ime_live.feeds.ime.signalr import MAX_SECONDS
from ime_live.settings import SignalRHubSettings
from tests.feeds.ime.proxy import Proxy
from tests.support.board_frames import read_frame
from tests.support.boards import row
from tests.support.clock import FakeClock
from tests.support.rows import each_row
from tests.support.signalr.refusals import HTML
from tests.support.signalr.server import PATIENCE, LoopbackServer
from tests.support.signalr.wire import Exchange, Request

FUTURES, OPTIONS, CDC = "Future/LiveMarket", "Option/LiveMarket", "CDC/CDCLiveMarket"
RECEIPTS = "updateGavahiMarketsInfo"

Answer = Callable[[Exchange], None]


def body(text: str | bytes, kind: str = "application/json", status: int = 200) -> Answer:
    return lambda exchange: exchange.answer(status, text, kind)


def half(exchange: Exchange) -> None:
    exchange.head(200, ("Content-Type", "application/json"), ("Content-Length", "1000"))
    exchange.write(b'[{"ContractID":')
    exchange.cut()


class Boards(LoopbackServer):
    """Answers each board as it is told; with tags, if it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = dict.fromkeys(PATHS.values(), body("[]"))
        self.tags: dict[str, str] = {}
        self.silent: set[str] = set()
        self.requests: list[Request] = []

    def requested(self, name: str) -> list[Request]:
        return [each for each in self.requests if each.path == f"/api/{name}"]

    async def answer(self, exchange: Exchange) -> None:
        request = exchange.request
        self.requests.append(request)
        name = request.path.removeprefix("/api/")
        if name in self.silent:
            await exchange.gone()
            exchange.keep = False
            return
        tag = self.tags.get(name)
        if tag is not None:
            exchange.headers.append(("ETag", tag))
            if request.header("if-none-match") == tag:
                exchange.head(304)
                return
        self.answers[name](exchange)


class Polling(FakeClock):
    """A poller at work: what it has given out, and how long it has waited, of a time of its own."""

    def __init__(
        self,
        server: Boards,
        boards: Collection[str] = frozenset(PATHS),
        *,
        chance: float = 0.5,
        largest: int = LARGEST,
        **settings: Any,  # noqa: ANN401 - any option
    ) -> None:
        super().__init__()
        self.frames: list[bytes] = []
        usual: dict[str, Any] = {
            "polling_url": f"{server.origin}/api/",
            "connect_timeout": PATIENCE,
        }
        self.poller = BoardPoller(
            SignalRHubSettings(**usual | settings),
            boards,
            clock=self,
            random=lambda: chance,
            largest=largest,
        )
        self._server = server
        self._rounds = 0
        self._turn = asyncio.Semaphore(0)
        self._task: asyncio.Task[None] | None = None

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await self._turn.acquire()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read())
        await self._round_over()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        async for frame in self.poller.frames():
            self.frames.append(frame)

    async def _round_over(self) -> None:
        self._rounds += 1

        def over() -> bool:
            assert self._task is not None
            if self._task.done():
                self._task.result()
            return len(self.waits) >= self._rounds

        await self._server.until(over)

    async def again(self) -> list[bytes]:
        """Let it poll once more; the frames of that."""
        before = len(self.frames)
        self._turn.release()
        await self._round_over()
        return self.frames[before:]

    @property
    def error(self) -> str:
        return self.poller.connection_state.error or ""


def methods(frames: list[bytes]) -> list[str]:
    return [json.loads(frame)["M"][0]["M"] for frame in frames]


@contextmanager
def complaints() -> Iterator[list[Any]]:
    warnings: list[Any] = []
    with capture_logs() as logs:
        yield warnings
    warnings += [each for each in logs if each["log_level"] == "warning"]


@pytest.fixture
async def boards() -> AsyncIterator[Boards]:
    async with Boards() as made:
        yield made
        assert made.violations == []


async def test_polled_board_equals_a_board_of_the_hub(boards: Boards) -> None:
    text = "[\r\n  " + json.dumps(row("future"), ensure_ascii=False) + " ]"
    boards.answers[FUTURES] = body(text)
    async with Polling(boards, {"updateFutureMarketsInfo"}) as polling:
        pass
    [frame] = polling.frames
    head, tail = '{"M":[{"H":"marketsHub","M":"updateFutureMarketsInfo","A":[', "]}]}"
    assert frame == (head + text + tail).encode()
    [quote] = read_frame(frame).quotes
    assert quote.contract.contract_id == str(row("future")["ContractID"])


async def test_configured_boards_are_polled_in_turn(boards: Boards) -> None:
    boards.answers[OPTIONS] = body(json.dumps([row("strike")]))
    async with Polling(boards, {"updateMarketsInfo", "updateCDCMarketsInfo", RECEIPTS}) as polling:
        assert polling.poller.useful
        await polling.again()
    assert methods(polling.frames) == ["updateMarketsInfo", "updateCDCMarketsInfo"] * 2
    assert [each.path for each in boards.requests] == [f"/api/{OPTIONS}", f"/api/{CDC}"] * 2


async def test_boards_that_cannot_be_polled_are_named(boards: Boards) -> None:
    polling = Polling(boards, {RECEIPTS, "updateFutureMarketsInfo", "updateSalafMarketsInfo"})
    assert polling.poller.missing == (RECEIPTS, "updateSalafMarketsInfo")
    async with polling:
        assert polling.error == f"not polled: {RECEIPTS}, updateSalafMarketsInfo"
    async with Polling(boards) as whole:
        assert (whole.poller.missing, whole.error) == ((), "")


async def test_polling_without_pollable_boards_is_not_useful(boards: Boards) -> None:
    assert not Polling(boards, {RECEIPTS}).poller.useful


async def test_equal_board_is_given_again(boards: Boards) -> None:
    async with Polling(boards, {"updateCDCMarketsInfo"}) as polling:
        assert await polling.again() == polling.frames[:1]
        assert polling.poller.connection_state.source == "polling"
        assert polling.poller.connection_state.since == 1000.0  # and not of the second time
        assert polling.error == ""
    assert polling.poller.connection_state.source == ""


async def test_polling_sends_if_none_match_with_the_etag(boards: Boards) -> None:
    boards.tags[CDC] = '"1"'
    boards.answers[CDC] = body('[{"a":1}]')
    async with Polling(boards, {"updateCDCMarketsInfo"}) as polling:
        assert await polling.again() == polling.frames[:1]  # by a 304
        boards.tags[CDC] = '"2"'
        boards.answers[CDC] = body('[{"a":2}]')
        [changed] = await polling.again()
        assert b'[{"a":2}]' in changed
        assert await polling.again() == [changed]
        del boards.tags[CDC]
        await polling.again()
        await polling.again()
    tags = [each.header("if-none-match") for each in boards.requested(CDC)]
    assert tags == ["", '"1"', '"1"', '"2"', '"2"', ""]


async def test_unexpected_304_is_an_error(boards: Boards) -> None:
    boards.answers[CDC] = lambda exchange: exchange.head(304)
    async with Polling(boards, {"updateCDCMarketsInfo"}) as polling:
        assert "HTTP 304" in polling.error
    assert polling.frames == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (body("Sorry", "text/plain", 503), "HTTP 503"),
        (body(HTML, "text/html", 403), "HTTP 403"),
        (body(HTML, "text/html"), "HTML instead of JSON: “Please enable JavaScript”"),
        (body(HTML), "HTML instead of JSON: “Please enable JavaScript”"),
        (body("Service Unavailable", "text/plain"), "text/plain instead of JSON"),
        (body("[]", "image/png"), "image/png instead of JSON"),
        (body('[{"ContractID":1},{"Contr'), "truncated JSON (25 bytes)"),
        (body("[1,]"), "broken JSON (4 bytes)"),
        (body('[]],"M":[[]'), "broken JSON"),
        (body("null"), "no array of rows"),
        (body('{"Message":"no"}'), "no array of rows"),
        (body(""), "instead of JSON"),
        (body(json.dumps(["x" * 1000])), "larger than 1000 bytes"),
        (half, "the connection broke off"),
        (Exchange.cut, "the connection broke off"),
    ],
)
async def test_malformed_board_is_logged_once_and_stops_no_other(
    boards: Boards, answer: Answer, reason: str
) -> None:
    boards.answers[OPTIONS] = answer
    with complaints() as warnings:
        async with Polling(boards, largest=1000) as polling:
            assert methods(polling.frames) == ["updateFutureMarketsInfo", "updateCDCMarketsInfo"]
            assert polling.error.startswith(f"{OPTIONS}: ")
            assert reason in polling.error
            assert polling.poller.connection_state.source == "polling"
            assert len(await polling.again()) == 2
            boards.answers[OPTIONS] = body("[]")
            assert len(await polling.again()) == 3
            assert polling.error == ""
            assert polling.waits == [2.0] * 3  # nobody waits longer for one of three
    [line] = warnings
    assert (line["board"], reason in line["reason"]) == (OPTIONS, True)


async def test_board_that_fails_now_and_then_does_not_fill_the_log(boards: Boards) -> None:
    with complaints() as warnings:
        async with Polling(boards) as polling:
            for _ in range(5):
                boards.answers[CDC] = body("no", status=500)
                await polling.again()
                boards.answers[CDC] = body("[]")
                await polling.again()
            assert len(polling.frames) == 3 + 5 * (2 + 3)
            boards.answers[CDC] = body("no", status=500)
            for _ in range(3):
                polling.now += 3600.0
                await polling.again()
    assert len(warnings) == 2


def busy(retry_after: str, status: int = 503) -> Answer:
    def answer(exchange: Exchange) -> None:
        exchange.headers.append(("Retry-After", retry_after))
        exchange.answer(status, "busy", "text/plain")

    return answer


async def test_board_is_not_polled_during_its_retry_after(boards: Boards) -> None:
    boards.answers[OPTIONS] = busy("5")
    async with Polling(boards) as polling:  # every 2 s
        boards.answers[OPTIONS] = body("[]")
        requested = [len(boards.requested(OPTIONS))]
        for _ in range(4):
            await polling.again()
            requested.append(len(boards.requested(OPTIONS)))
        assert requested == [1, 1, 1, 2, 3]
        assert len(boards.requested(FUTURES)) == 5
        assert polling.error == ""


async def test_status_429_pauses_all_polling(boards: Boards) -> None:
    boards.answers[FUTURES] = busy("5", status=429)
    async with Polling(boards) as polling:
        boards.answers[FUTURES] = body("[]")
        assert len(boards.requests) == 1
        assert "429" in polling.error
        while len(boards.requests) == 1:
            await polling.again()
        assert polling.now >= 1005.0
        assert len(boards.requests) == 4


async def test_retry_after_of_a_board_is_limited(boards: Boards) -> None:
    boards.answers[CDC] = busy("Thu, 26 Nov 2099 15:22:08 GMT")
    async with Polling(boards, {"updateCDCMarketsInfo"}) as polling:
        polling.now += MAX_SECONDS
        await polling.again()
        assert len(boards.requested(CDC)) == 2


async def test_unanswered_board_times_out(boards: Boards) -> None:
    boards.silent.add(FUTURES)
    async with Polling(boards, connect_timeout=0.5) as polling:
        assert methods(polling.frames) == ["updateMarketsInfo", "updateCDCMarketsInfo"]
        assert polling.error.startswith(f"{FUTURES}: no answer ")
        boards.silent.clear()
        assert len(await polling.again()) == 3


async def test_malformed_row_does_not_lose_its_board(boards: Boards) -> None:
    rows = json.dumps([row("future", LastTradedPrice=float("nan")), row("future", ContractID=2)])
    boards.answers[FUTURES] = body(b"\xef\xbb\xbf" + rows.encode())
    async with Polling(boards, {"updateFutureMarketsInfo"}) as polling:
        pass
    read = read_frame(polling.frames[0])
    assert (len(read.errors), [each.contract.contract_id for each in read.quotes]) == (1, ["2"])


async def test_polling_backoff_grows_while_all_boards_fail(boards: Boards) -> None:
    for name in PATHS.values():
        boards.answers[name] = body("no", status=500)
    async with Polling(boards, max_reconnect_delay=4.0, polling_interval=2.0) as polling:
        assert polling.poller.connection_state.source == ""
        assert all(f"{name}: HTTP 500" in polling.error for name in PATHS.values())
        for _ in range(4):
            await polling.again()
        # The poll's own interval, and half of 1, 2, 4, 4, … seconds.
        assert polling.waits == [2.5, 3.0, 4.0, 4.0, 4.0]
        boards.answers[CDC] = body("[]")
        assert methods(await polling.again()) == ["updateCDCMarketsInfo"]
        assert polling.poller.connection_state.source == "polling"
        assert polling.waits[-1] == 2.0
        boards.answers[CDC] = body("no", status=500)
        await polling.again()
        assert polling.waits[-1] == 2.5
        assert polling.poller.connection_state.source == ""


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 1.8), (0.5, 2.0), (0.999999, 2.2)])
async def test_polling_interval_is_jittered(boards: Boards, chance: float, wait: float) -> None:
    async with Polling(boards, chance=chance) as polling:
        assert polling.waits == [pytest.approx(wait, abs=1e-5)]


async def test_polling_uses_one_connection_with_user_agent(boards: Boards) -> None:
    async with Polling(boards) as polling:
        await polling.again()
        assert boards.connections == 1
    await boards.until(lambda: boards.connections == 0)
    assert len(boards.peers) == 1
    said = {each.header("user-agent") for each in boards.requests}
    assert said == {f"ime-live/{version('ime-live')}"}


async def test_polling_restarts_when_read_again(boards: Boards) -> None:
    boards.answers[CDC] = body("no", status=500)
    polling = Polling(boards, {"updateCDCMarketsInfo"})
    async with polling:
        assert "500" in polling.error
    assert polling.error == ""
    boards.answers[CDC] = body("[]")
    stream = polling.poller.frames()
    assert await anext(stream)
    assert polling.error == ""
    await stream.aclose()
    await boards.until(lambda: boards.connections == 0)


async def test_polling_through_a_proxy(boards: Boards) -> None:
    async with Proxy("me:secret") as proxy:
        async with Polling(boards, proxy=proxy.url("me:secret")) as polling:
            assert len(polling.frames) == 3
        assert boards.peers <= proxy.used


async def test_refused_login_of_a_proxy_is_named(boards: Boards) -> None:
    async with Proxy("me:secret") as proxy:
        with complaints() as warnings:
            async with Polling(boards, proxy=proxy.url("me:wrong-word")) as polling:
                assert "407" in polling.error
                assert "wrong-word" not in polling.error
        assert len(warnings) == 3
        assert "wrong-word" not in str(warnings)
    assert boards.requests == []


@each_row(
    "url",
    [
        "",
        "dataapi.ime.co.ir/api",
        "ftp://dataapi.ime.co.ir/",
        "http://:80/",
        "http://[::1/",
        "http://a:99999999/",
        "http://me:secret@a/",
        "http://a/api?x=1",
        "http://a/#x",
    ],
)
def test_malformed_polling_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="--polling-url") as caught:
        BoardPoller(SignalRHubSettings(polling_url=url), PATHS)
    assert "secret" not in str(caught.value)


async def test_polling_url_needs_no_final_slash(boards: Boards) -> None:
    async with Polling(boards, polling_url=f"{boards.origin}/api") as polling:
        assert len(polling.frames) == 3
