"""The feed as a whole, with a scripted exchange: days, the clock, lag, and what the log says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from structlog.testing import capture_logs

from ime_live.clock import Clock
from ime_live.contracts import Contract, Market
from ime_live.errors import FeedError
from ime_live.feeds.boards.field_map import BOARDS
from ime_live.feeds.boards.rows import DEFAULT_PRICE_LIMITS
from ime_live.feeds.ime.frame_source import ConnectionState
from ime_live.feeds.pipeline.exchange_clock import ExchangeClock
from ime_live.feeds.pipeline.feed import Feed, ReadOptions
from ime_live.feeds.pipeline.health import FeedHealth
from ime_live.feeds.pipeline.hours import TradingHours
from ime_live.feeds.pipeline.ingest import Ingest
from ime_live.market import Payload
from ime_live.publisher import PublishResult
from ime_live.settings import HoursSettings
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import LeaseState
from ime_live.timezones import TEHRAN, zone_of
from tests.support.boards import board, row

FUTURES, RECEIPTS = "updateFutureMarketsInfo", "updateGavahiMarketsInfo"
CLOCK = "updateFutureDateTime"
ZONE = zone_of(TEHRAN)
START = datetime.fromisoformat("2026-11-25T13:26:10")  # a Wednesday, in the session
ALWAYS = "sat-fri 00:00-24:00"

Step = bytes | Callable[[], object]


class Exchange(Clock):
    """Gives the frames of a script, and moves the machine's clock as that says."""

    def __init__(self) -> None:
        self.connection_state = ConnectionState("webSockets", since=1.0)
        self.now = START
        self.ahead = timedelta()
        """Of the machine's clock."""
        self.script: list[Step] = []
        self.renew: Callable[[], Awaitable[None]]
        """Renews the feed's lease, which would end when time passes."""
        self.done = asyncio.Event()

    def time(self) -> float:
        return (self.now + self.ahead).replace(tzinfo=ZONE).timestamp()

    def monotonic(self) -> float:
        return (self.now - START).total_seconds() + 1_000.0

    def wait(self, **time: float) -> Callable[[], None]:
        """Let time pass."""

        def step() -> None:
            self.now += timedelta(**time)

        return step

    async def frames(self) -> AsyncGenerator[bytes, None]:
        for step in self.script:
            if isinstance(step, bytes):
                yield step
            else:
                step()
                await self.renew()
        self.done.set()
        await asyncio.Event().wait()


class Store:
    """Takes what is a change, and lets this feed lead."""

    holder = "one"
    token = 0

    def __init__(self) -> None:
        self.states: list[tuple[str, Payload]] = []
        self.statuses: list[FeedStatus] = []

    async def take(self) -> LeaseState:
        return LeaseState(leads=True, token=1, anew=not self.statuses)

    def note(self, token: int) -> None:
        raise AssertionError

    async def release(self) -> None:
        pass

    async def write(self, status: FeedStatus) -> None:
        self.statuses.append(status)

    async def claim(self, ids: Iterable[str]) -> tuple[list[Contract], Mapping[str, datetime]]:
        del ids
        return [], {}

    async def register(self, contracts: Sequence[Contract]) -> None:
        pass

    async def publish_many(self, payloads: Iterable[tuple[str, Payload]]) -> list[PublishResult]:
        outcomes = []
        for contract_id, payload in payloads:
            changed = dict(self.states).get(contract_id) != payload
            if changed:
                self.states.append((contract_id, payload))
            outcomes.append(PublishResult(contract_id, 1, published=changed))
        return outcomes


class Ran(Struct):
    """The result of a script."""

    store: Store
    feed: Feed
    status: FeedStatus
    logs: list[Any]

    @property
    def dates(self) -> list[str]:
        """The moments of the states, in order, without repetitions."""
        moments = [each.aggregate for _, each in self.store.states]
        return list(dict.fromkeys(f"{at.date}T{at.time}" for at in moments))

    def events(self, event: str) -> list[Any]:
        return [each for each in self.logs if each["event"] == event]


class Recording:
    """Takes frames, unless its disk is full."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.full = False

    def write(self, frame: bytes) -> None:
        if self.full:
            raise FeedError("recording f cannot be written: no space left on device")
        self.frames.append(frame)


async def run(
    exchange: Exchange, *script: Step, hours: str = ALWAYS, recorder: Recording | None = None
) -> Ran:
    """Run a feed until the exchange has nothing more to say."""
    exchange.script = list(script)
    store = Store()
    clock = ExchangeClock(ZONE, exchange)
    settings = HoursSettings(hours_futures=hours, hours_options=hours, hours_certificates=hours)
    feed = Feed(
        exchange,
        Ingest(store, store.register),
        store,
        FeedHealth(BOARDS, stale_after=30, hours=TradingHours(settings, ZONE), max_lag=10),
        ReadOptions(BOARDS, DEFAULT_PRICE_LIMITS, ZONE),
        writer=store,
        clock=clock,
        recorder=recorder,
    )
    exchange.renew = feed.leadership.renew
    with capture_logs() as logs:
        running = asyncio.create_task(feed.run())
        await asyncio.wait(
            {running, asyncio.ensure_future(exchange.done.wait())},
            timeout=10,
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert exchange.done.is_set()
        await asyncio.sleep(0)
        status = feed.status()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return Ran(store, feed, status, list(logs))


def times(count: int, *steps: Step) -> list[Step]:
    """Steps that are made again and again."""
    return list(steps) * count


def frame(*boards: dict[str, Any]) -> bytes:
    return json.dumps({"M": boards}, ensure_ascii=False).encode()


def receipts(at: str = "13:25:51") -> bytes:
    return frame(board(RECEIPTS, row("receipt", Time="13:22:01", ModifyTime=at)))


_DAYS = {"2026-11-25": "چهارشنبه ۴ آذر ۱۴۰۵", "2026-11-26": "پنج شنبه ۵ آذر ۱۴۰۵"}


def clock(at: str) -> bytes:
    day, _, time = at.partition("T")
    return frame({"H": "marketsHub", "M": CLOCK, "A": [f"{_DAYS[day]}  -  {time}"]})


def future(at: str, price: float = 1.0, number: int = 1) -> bytes:
    made = row("future", ContractID=number, LastTradedPrice=price, LastUpdate=at)
    return frame(board(FUTURES, made))


# Days of receipts


async def test_unchanged_receipts_keep_their_day_over_midnight() -> None:
    exchange = Exchange()
    ran = await run(
        exchange,
        clock("2026-11-25T13:26:05"),
        receipts(),
        exchange.wait(hours=10, minutes=34),
        receipts(),  # it is tomorrow, and the exchange has not said so
        clock("2026-11-26T00:00:10"),
        receipts(),  # it has said so, and 13:25:51 is yet to come
        exchange.wait(hours=8, minutes=46),
        receipts("08:46:12"),
    )
    # The last trade, at 13:22:01, was yesterday's.
    assert ran.dates == ["2026-11-25T13:25:51", "2026-11-26T08:46:12"]
    assert len(ran.store.states) == 2


async def test_day_of_receipts_is_the_last_one_of_the_exchange() -> None:
    exchange = Exchange()
    ran = await run(
        exchange,
        clock("2026-11-25T13:26:05"),
        exchange.wait(days=3),
        receipts(),
        clock("2026-11-26T13:26:05"),
        receipts(),
    )
    assert ran.dates == ["2026-11-25T13:25:51", "2026-11-26T13:25:51"]


async def test_day_of_the_machine_is_used_until_the_exchange_sends_one() -> None:
    exchange = Exchange()
    ran = await run(
        exchange, receipts(), exchange.wait(hours=10, minutes=34, seconds=5), receipts()
    )
    assert ran.dates == ["2026-11-25T13:25:51"]


async def test_older_timestamp_does_not_set_the_day_back() -> None:
    exchange = Exchange()
    ran = await run(
        exchange,
        clock("2026-11-25T13:26:05"),
        future("2026-11-24T17:00:00"),  # nothing has happened to it since
        receipts(),
    )
    assert ran.dates[-1] == "2026-11-25T13:25:51"


async def test_timestamp_in_the_future_sets_no_day() -> None:
    exchange = Exchange()
    ran = await run(exchange, future("2026-12-25T13:26:10"), receipts())
    assert ran.dates[-1] == "2026-11-25T13:25:51"


async def test_receipts_are_dated_right_although_the_machine_is_a_day_behind() -> None:
    exchange = Exchange()
    exchange.ahead = timedelta(hours=-20)
    ran = await run(exchange, clock("2026-11-25T13:26:05"), receipts())
    assert ran.dates == ["2026-11-25T13:25:51"]


# The machine's clock


async def test_wrong_clock_of_the_machine_is_logged_once() -> None:
    exchange = Exchange()
    exchange.ahead = timedelta(hours=-3)
    ran = await run(
        exchange,
        *times(5, clock("2026-11-25T13:26:10"), exchange.wait(seconds=1)),
        clock("2026-11-25T13:26:15"),
    )
    error = "this machine's clock is 3 h behind the exchange's (clock board)"
    assert ran.status.error == error
    [line] = ran.events("the clocks differ")
    assert (line["log_level"], line["error"]) == ("error", error)
    assert not ran.events("the clocks agree again")


async def test_still_clock_board_on_a_holiday_reports_no_clock_error() -> None:
    exchange = Exchange()
    exchange.now = datetime.fromisoformat("2026-11-27T10:00:00")  # a Friday
    ran = await run(exchange, *times(5, clock("2026-11-26T20:00:00"), exchange.wait(seconds=9)))
    assert ran.status.error is None
    assert not ran.events("the clocks differ")


# Lag


def pushes(exchange: Exchange, ago: float, count: int = 5) -> list[Step]:
    """Boards a second apart, each of them late."""
    steps: list[Step] = []
    at = exchange.now
    for n in range(count):
        timestamp = at + timedelta(seconds=n - ago)
        steps += [exchange.wait(seconds=1), future(timestamp.isoformat(), price=n)]
    return steps


async def test_late_boards_are_stale_and_logged() -> None:
    exchange = Exchange()
    ran = await run(exchange, *pushes(exchange, ago=33))
    assert ran.status.state is FeedState.STALE
    assert ran.status.lag == 34.0
    assert ran.status.error == "boards are 34 s late"
    [line] = ran.events("boards are late")
    assert line["lag"] == 34.0


async def test_punctual_boards_are_live() -> None:
    exchange = Exchange()
    ran = await run(exchange, *pushes(exchange, ago=0.5))
    assert (ran.status.state, ran.status.lag, ran.status.error) == (FeedState.LIVE, 1.5, None)
    assert not ran.events("boards are late")


async def test_lag_is_measured_by_the_exchanges_time_if_the_machine_is_wrong() -> None:
    for hours in (-3, 3):
        exchange = Exchange()
        exchange.ahead = timedelta(hours=hours)
        times_sent: list[Step] = [
            clock("2026-11-25T13:26:10"),
            exchange.wait(seconds=1),
            clock("2026-11-25T13:26:11"),
        ]
        ran = await run(exchange, *times_sent, *pushes(exchange, ago=0.5))
        assert ran.status.lag == 2.5
        assert ran.status.state is FeedState.LIVE


async def test_timestamp_in_the_future_sets_no_lag() -> None:
    exchange = Exchange()
    ran = await run(exchange, future("2099-11-25T13:26:05"), *pushes(exchange, ago=33))
    assert ran.status.lag == 34.0


async def test_clock_board_sets_the_lag_too() -> None:
    exchange = Exchange()
    exchange.now += timedelta(seconds=20)
    ran = await run(
        exchange,
        clock("2026-11-25T13:26:10"),
        exchange.wait(seconds=1),
        clock("2026-11-25T13:26:11"),
        receipts(),
    )
    assert ran.status.lag == 20.0
    assert ran.status.state is FeedState.STALE


async def test_feed_on_a_holiday_is_not_stale() -> None:
    exchange = Exchange()
    exchange.now = datetime.fromisoformat("2026-11-27T13:26:10")
    script = times(3, future("2026-11-26T15:21:15.173"), exchange.wait(seconds=10))
    assert (await run(exchange, *script, hours="sat-wed 11:45-17:00")).status.state is (
        FeedState.CLOSED
    )
    # A holiday that is not configured raises no alarm either: boards come and do not change.
    exchange = Exchange()
    exchange.now = datetime.fromisoformat("2026-11-27T13:26:10")
    status = (await run(exchange, *script)).status
    assert (status.markets[Market.FUTURES].state, status.lag) == (FeedState.LIVE, None)


# Late rows


async def test_late_board_is_refused_counted_and_logged_once() -> None:
    exchange = Exchange()
    ran = await run(
        exchange,
        future("2026-11-25T13:26:05", price=1),
        *[future("2026-11-25T13:25:55", price=n) for n in range(2, 12)],
        future("2026-11-25T13:26:06", price=12),
    )
    assert [each.aggregate.last_price for _, each in ran.store.states] == [1, 12]
    assert ran.status.refused == 10
    [line] = ran.events("row is older than what was published")
    assert (line["board"], line["contract_id"]) == (FUTURES, "1")
    assert (line["pushed_at"], line["newest"]) == ("2026-11-25T13:25:55", "2026-11-25T13:26:05")


async def test_timestamp_far_in_the_future_does_not_block_its_contract() -> None:
    exchange = Exchange()
    ran = await run(
        exchange,
        future("2026-11-25T13:26:05", price=1),
        future("2099-11-25T13:26:05", price=2),
        future("2026-11-25T13:26:06", price=3),
    )
    assert [each.aggregate.last_price for _, each in ran.store.states] == [1, 2, 3]


# Floods


async def test_unreadable_rows_are_one_line_per_kind_and_minute() -> None:
    exchange = Exchange()
    rows = [row("future", ContractID=n, BidPrice1=f"?{n}") for n in range(1, 101)]
    rows += [row("future", ContractID=n, LastUpdate=f"?{n}") for n in range(101, 201)]
    bad = frame(board(FUTURES, *rows))
    ran = await run(exchange, *times(3, bad, exchange.wait(seconds=29)))
    lines = ran.events("row cannot be read")
    assert [line["reason"].partition(":")[0] for line in lines] == ["BidPrice1", "LastUpdate"]
    assert ran.status.refused == 600
    exchange.now += timedelta(seconds=60)
    again = await run(exchange, bad, exchange.wait(seconds=60), bad)
    assert [line.get("repeated") for line in again.events("row cannot be read")] == [
        None,
        None,
        99,
        99,
    ]


async def test_malformed_frames_are_one_line_per_minute() -> None:
    exchange = Exchange()
    ran = await run(exchange, *[b"nonsense %d" % n for n in range(50)])
    assert len(ran.events("frame dropped")) == 1
    assert ran.status.refused == 50


# Contracts on its boards


async def test_contracts_of_the_last_board_of_a_frame_are_counted() -> None:
    exchange = Exchange()
    one, two = (row("future", ContractID=n, ContractCode=f"X{n}") for n in (1, 2))
    boards = [board(FUTURES, one), board(FUTURES, one, two), board(FUTURES, two, one, two)]
    ran = await run(exchange, frame(*boards))
    assert ran.status.markets[Market.FUTURES].contracts == 2


# A fault affects its own row only


async def test_feed_continues_while_its_frames_cannot_be_recorded() -> None:
    exchange, recording = Exchange(), Recording()

    def disk(*, full: bool) -> Callable[[], None]:
        return lambda: setattr(recording, "full", full)

    frames = [future(f"2026-11-25T13:26:1{n}", price=float(n)) for n in range(5)]
    ran = await run(
        exchange,
        frames[0],
        disk(full=True),
        *frames[1:3],
        exchange.wait(seconds=61),
        frames[3],
        disk(full=False),
        frames[4],
        recorder=recording,
    )
    assert [each.aggregate.last_price for _, each in ran.store.states][-1] == 4
    assert recording.frames == [frames[0], frames[4]]
    lines = ran.events("frame not recorded")  # once per minute
    assert [each.get("repeated") for each in lines] == [None, 1]
    assert "no space left" in lines[0]["error"]
    [line] = ran.events("recording continues")
    assert line["lost"] == 3


async def test_bad_static_field_is_logged_and_its_row_published() -> None:
    made = row("future", ContractID=1, InitialMargin="much", LastUpdate="2026-11-25T13:26:10")
    ran = await run(Exchange(), *times(2, frame(board(FUTURES, made))))
    assert [i for i, _ in ran.store.states] == ["1"]
    [line] = ran.events("field cannot be read; the row is used without it")
    assert (line["board"], line["contract_id"]) == (FUTURES, "1")
    assert line["reason"] == "InitialMargin: is not a number, got 'much'"
    assert ran.status.refused == 0


async def test_message_without_arguments_is_logged_and_its_frame_published() -> None:
    bad = {"H": "marketsHub", "M": RECEIPTS}
    good = board(FUTURES, row("future", ContractID=1, LastUpdate="2026-11-25T13:26:10"))
    ran = await run(Exchange(), frame(bad, good), frame(good, bad))
    assert [i for i, _ in ran.store.states] == ["1"]
    [line] = ran.events("message cannot be read")
    assert (line["board"], line["reason"]) == (
        RECEIPTS,
        "A: must be a list of arguments, and is missing",
    )
    assert ran.status.refused == 2
    assert not ran.events("frame dropped")


async def test_unknown_method_is_logged_once() -> None:
    exchange = Exchange()
    new = frame({"H": "marketsHub", "M": "updateSomething", "A": [1]})
    ran = await run(exchange, new, exchange.wait(hours=2), new)
    [line] = ran.events("unknown method of the SignalR hub; ignored")
    assert line["method"] == "updateSomething"
