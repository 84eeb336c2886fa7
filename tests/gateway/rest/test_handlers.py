"""Calls: what the token covers, the limits, a store that is away, and Tehran's day.

Their answers over HTTP are tested in `tests.stream.test_rest`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, cast

import msgspec
import pytest
from structlog.testing import capture_logs

from ime_live.contracts import Contract, Market
from ime_live.errors import CloseCode, RefusedError, StoreError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.limits.rate_limit import RequestLimit
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.query.stream_query import NOT_COVERED
from ime_live.gateway.rest.bodies import Data, Section
from ime_live.gateway.rest.handlers import Handlers
from ime_live.gateway.rest.request import RestRequest
from ime_live.gateway.rest.request_admission import Admission
from ime_live.gateway.upstream.sections import Sections, read_sections
from ime_live.registry import Registry
from ime_live.status import FeedState, FeedStatus, MarketStatus, TradingSession
from ime_live.store.bar import Bar
from ime_live.timezones import TEHRAN, zone_of
from tests.support.clock import GivenClock

MakePayload = Callable[..., dict[str, Any]]
EXPIRES = "2026-12-01"
REGISTRY = Registry(
    [
        Contract(
            contract_id="1",
            contract_name="KASH05",
            market=Market.FUTURES,
            expiration_date=date.fromisoformat(EXPIRES),
            aliases=("OLD",),
        ),
        Contract(contract_id="2", contract_name="KASH06", market=Market.FUTURES),
        Contract(contract_id="3", contract_name="سكه0312پ01"),
    ]
)
PERSIAN = "%D8%B3%D9%83%D9%870312%D9%BE%DB%B0%DB%B1"
NAMES = f"contract_names=KASH05&contract_names=XYZ&contract_name={PERSIAN}"


class World:
    """The calls, and all that they ask."""

    def __init__(self, sections: Sections, *, strict: bool = False) -> None:
        self.registry = REGISTRY
        self.identity = Identity("alice", None, None)
        self.moment = datetime(2026, 11, 25, 12, tzinfo=UTC)
        self.seconds = 0.0
        self.reached = True
        self.readable = True
        self.status: FeedStatus | None = None
        self.error: StoreError | None = None
        self.requested: list[set[str]] = []
        self.bars = Bars()
        self._sections = sections
        others: Any = cast("Any", self)
        diagnostics = Diagnostics(strict=strict)
        self.handlers = Handlers(
            admission=Admission(
                others, RequestLimit(1), diagnostics, GivenClock(monotonic=lambda: self.seconds)
            ),
            contract_cache=others,
            state_reader=others,
            feed=others,
            bar_store=self.bars,
            diagnostics=diagnostics,
            max_contracts=41,
            is_store_connected=lambda: self.reached,
            zone=zone_of(TEHRAN),
            clock=GivenClock(lambda: int(self.moment.timestamp() * 1_000_000)),
        )

    async def authenticate(self, token: str | None) -> Identity:
        assert token == "token"
        return self.identity

    async def read(self, ids: Iterable[str]) -> Mapping[str, Sections]:
        self.requested.append(set(ids))
        if self.error is not None:
            raise self.error
        return {"1": self._sections, "9": self._sections}

    async def live(
        self, query: str, section: Section = Section.AGGREGATE, by: By = By.NAME
    ) -> dict[str, Any]:
        found: dict[str, Any] = decoded(await self.handlers.live(section, by, request(query)))
        return found

    async def static(self, query: str, by: By = By.NAME) -> list[dict[str, Any] | None]:
        found: list[dict[str, Any] | None] = decoded(await self.handlers.static(by, request(query)))
        return found

    async def search(self, query: str) -> list[str]:
        found = decoded(await self.handlers.search(request(query)))
        return [each["contractName"] for each in found]

    async def chain(self, query: str) -> Any:  # noqa: ANN401 - any JSON
        return decoded(await self.handlers.option_chain(request(query)))

    async def markets(self) -> Any:  # noqa: ANN401
        return decoded(await self.handlers.markets(request("")))


def request(query: str, peer: str = "192.0.2.1") -> RestRequest:
    return RestRequest(query, peer, "Bearer token")


def decoded(data: Data) -> Any:  # noqa: ANN401 - any JSON
    return msgspec.json.decode(data.json)


@pytest.fixture
def world(payload: MakePayload) -> World:
    return World(read_sections(msgspec.json.encode(payload())))


async def refused(answer: Awaitable[object]) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await answer
    return caught.value


async def test_data_is_keyed_by_the_requested_names(world: World, payload: MakePayload) -> None:
    found = await world.live(NAMES)
    assert found == {"KASH05": payload()["Aggregate"], "XYZ": None, "سكه0312پ۰۱": None}
    assert world.requested == [{"1", "3"}]
    assert await world.live("contract_name=OLD&contract_name=OLD") == {
        "OLD": payload()["Aggregate"]
    }
    assert list(await world.live("contract_id=1&contract_ids=7", by=By.ID)) == ["1", "7"]


async def test_request_of_unknown_contracts_reads_nothing_from_the_store(world: World) -> None:
    assert await world.live("contract_names=9") == {"9": None}
    assert world.requested == []


async def test_static_data_is_in_the_requested_order(world: World) -> None:
    found = await world.static(NAMES + "&contract_names=KASH05")
    assert [each and each["contractId"] for each in found] == ["1", None, "3", "1"]
    assert world.requested == []


@pytest.mark.parametrize(
    ("moment", "days"),
    [
        ("2026-11-25T20:29:59", 6),
        ("2026-11-25T20:30:00", 5),  # midnight in Tehran
        ("2026-11-30T20:30:00", 0),
        ("2026-12-07T00:00:00", 0),
    ],
)
async def test_days_to_expiry_count_in_tehran(world: World, moment: str, days: int) -> None:
    world.moment = datetime.fromisoformat(moment + "+00:00")
    [future] = await world.static("contract_names=KASH05")
    assert future is not None
    assert future["DaysToExpiration"] == days
    overview = await world.live("contract_ids=1", Section.OVERVIEW, By.ID)
    assert overview["1"]["DaysToExpiration"] == days
    assert overview["1"]["ExpirationDate"] == EXPIRES


async def test_contract_that_the_token_does_not_cover_is_refused(world: World) -> None:
    world.identity = Identity("alice", None, ("KASH05", "id:3"))
    assert list(await world.live("contract_names=KASH05&contract_names=XYZ"))
    for answer in (
        world.live(f"{NAMES}&contract_names=KASH06"),
        world.static("contract_name=KASH06"),
    ):
        error = await refused(answer)
        assert (error.kind, error.reason) == (
            NOT_COVERED,
            "contract not covered by the token: KASH06",
        )
    assert await world.search("market=IMEFutures&Search_char=KASH") == ["KASH05"]


async def test_search_finds_contracts_by_text(world: World) -> None:
    assert await world.search("market=IMEFutures&Search_char=KASH") == ["KASH05", "KASH06"]
    assert await world.search("market=IMEFutures&Search_char=OLD") == ["KASH05"]
    assert await world.search("market=IMEOption&Search_char=") == []


async def test_request_of_too_many_contracts_is_refused(world: World) -> None:
    error = await refused(world.live("contract_ids=1&" * 42, by=By.ID))
    assert error.reason == "too many contracts: 42, at most 41"


async def test_outage_of_the_store_is_a_temporary_refusal(world: World) -> None:
    world.error = StoreError("away")
    error = await refused(world.live("contract_names=KASH05"))
    assert (error.code, error.reason) == (
        CloseCode.TRY_AGAIN_LATER,
        "market data cannot be read now",
    )
    world.reached = False
    for answer in (
        world.static("contract_names=KASH05"),
        world.search("market=IMEFutures&Search_char="),
    ):
        assert (await refused(answer)).code is CloseCode.TRY_AGAIN_LATER


async def test_suggestion_for_an_unknown_contract_is_beside_the_data(world: World) -> None:
    world.identity = Identity("alice", None, ("KASH05",))
    for by, query, said in (
        (By.NAME, "contract_names=kash05", "unknown contract: kash05 (did you mean KASH05?"),
        (By.NAME, "contract_names=kash06", "unknown contract: kash06 (did you mean KASH05?)"),
        (By.NAME, "contract_names=1", "unknown contract: 1 (it is the id of KASH05"),
        (By.NAME, "contract_names=2", "unknown contract: 2"),
        (By.NAME, "contract_names=KASH05,XYZ", "unknown contract: KASH05,XYZ (give each"),
        (By.ID, "contract_ids=KASH05", "unknown contract: KASH05 (it is a name, of contract 1"),
        (By.ID, "contract_ids=KASH06", "unknown contract: KASH06"),
    ):
        for call in (
            world.handlers.live(Section.OVERVIEW, by, request(query)),
            world.handlers.static(by, request(query)),
        ):
            world.seconds += 10
            data = await call
            assert data.remark is not None
            assert data.remark.en.startswith(said)
            assert "KASH06" not in data.remark.en.replace(query.partition("=")[2], "")
            assert data.remark.fa.startswith("قرارداد ناشناخته: ")
    world.seconds += 10
    data = await world.handlers.live(Section.OVERVIEW, By.NAME, request("contract_names=KASH05"))
    assert data.remark is None


async def test_unknown_parameters_are_named_beside_the_data(payload: MakePayload) -> None:
    sections = read_sections(msgspec.json.encode(payload()))
    plain, strict = World(sections), World(sections, strict=True)
    calls: list[tuple[str, Callable[[World, RestRequest], Awaitable[Data]]]] = [
        (
            "contract_names=KASH05&amp;x=1",
            lambda w, q: w.handlers.live(Section.OVERVIEW, By.NAME, q),
        ),
        ("contract_names=KASH05&contract_id=1", lambda w, q: w.handlers.static(By.NAME, q)),
        ("market=IMEFutures&Search_char=&limit=1", lambda w, q: w.handlers.search(q)),
    ]
    for query, call in calls:
        name = query.split("&")[-1].partition("=")[0]
        with capture_logs() as logs:
            await call(plain, request(query))
        [line] = [each for each in logs if each["event"] == "unknown query parameter"]
        assert line["parameter"] == name
        error = await refused(call(strict, request(query)))
        assert error.reason == f"unknown parameter: {name}"


# Option chains


def option(contract_id: str, name: str, side: str, **fields: Any) -> Contract:  # noqa: ANN401
    return Contract(
        contract_id=contract_id,
        contract_name=name,
        market=Market.OPTION,
        option_type=side,
        **({"underlying_id": "GC", "underlying_name": "سکه طلا"} | fields),
    )


CHAIN = Registry(
    [
        option("1", "C110", "call", strike_price=110, expiration_date=date(2027, 1, 5)),
        option("2", "P110", "put", strike_price=110, expiration_date=date(2027, 1, 5)),
        option("3", "C90", "call", strike_price=90, expiration_date=date(2027, 1, 5)),
        option("4", "P110L", "put", strike_price=110, expiration_date=date(2027, 6, 5)),
        option("5", "Gone", "call", strike_price=90, delisted=True),
        Contract(contract_id="6", contract_name="GCDY", market=Market.FUTURES, underlying_id="GC"),
    ]
)


async def test_option_chain_has_calls_and_puts_side_by_side(world: World) -> None:
    world.registry = CHAIN
    chain = await world.chain("underlying=GC")
    assert [
        (
            each["ExpirationDate"],
            each["strikePrice"],
            each["call"] and each["call"]["contractName"],
            each["put"] and each["put"]["contractName"],
        )
        for each in chain
    ] == [
        ("2027-01-05", 90, "C90", None),
        ("2027-01-05", 110, "C110", "P110"),
        ("2027-06-05", 110, None, "P110L"),
    ]
    # Only one contract has a state; all have static fields.
    assert chain[1]["call"]["Aggregate"]["last_price"] is not None
    assert chain[1]["put"]["Aggregate"] is None
    assert chain[1]["call"]["market"] == "IMEOption"
    assert chain[1]["call"]["DaysToExpiration"] == 41
    assert world.requested == [{"1", "2", "3", "4"}]


@pytest.mark.parametrize(
    ("query", "strikes"),
    [
        ("underlying=%D8%B3%D9%83%D9%87%20%D8%B7%D9%84%D8%A7&expiration=2027-06-05", [110]),
        ("underlying=GC&expiration=%DB%B2%DB%B0%DB%B2%DB%B7-01-05", [90, 110]),
        ("underlying=GC&expiration=2027-01-06", []),
        ("underlying=C110", []),
    ],
)
async def test_option_chain_is_of_an_underlying_and_a_day(
    world: World, query: str, strikes: list[int]
) -> None:
    world.registry = CHAIN
    assert [each["strikePrice"] for each in await world.chain(query)] == strikes


async def test_option_chain_shows_only_options_that_the_token_covers(world: World) -> None:
    world.registry = CHAIN
    world.identity = Identity("alice", None, ("C110",))
    [pair] = await world.chain("underlying=GC")
    assert (pair["call"]["contractName"], pair["put"]) == ("C110", None)
    assert world.requested == [{"1"}]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "no underlying"),
        ("underlying=", "no underlying"),
        ("underlying=%20%E2%80%8C", "no underlying"),
        ("underlying=GC&expiration=1405-06-24", "expiration must be a day as YYYY-MM-DD"),
        ("underlying=GC&expiration=2027-13-01", "expiration must be a day"),
        ("underlying=GC&expiration=", "expiration must be a day"),
    ],
)
async def test_option_chain_refuses_bad_parameters(world: World, query: str, text: str) -> None:
    world.registry = CHAIN
    with pytest.raises(RefusedError, match=text):
        await world.chain(query)
    assert world.requested == []


async def test_option_chain_of_too_many_options_is_refused(world: World) -> None:
    world.registry = Registry(option(str(n), f"C{n}", "call", strike_price=n) for n in range(42))
    with pytest.raises(RefusedError, match="too many options: 42, at most 41; name a day"):
        await world.chain("underlying=GC")


async def test_option_chain_without_the_store_is_refused(world: World) -> None:
    world.registry = CHAIN
    world.error = StoreError("away")
    with pytest.raises(RefusedError, match="cannot be read now") as refused:
        await world.chain("underlying=GC")
    assert refused.value.code == CloseCode.TRY_AGAIN_LATER
    world.error, world.reached = None, False
    with pytest.raises(RefusedError, match="cannot be read now"):
        await world.chain("underlying=GC")


# Candles


class Bars:
    """The stored bars; those of days that are not given are empty."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, date], list[Bar]] = {}
        self.requested: list[tuple[str, date]] = []
        self.error: StoreError | None = None

    async def read(self, days: Sequence[tuple[str, date]]) -> list[list[Bar]]:
        self.requested += days
        if self.error is not None:
            raise self.error
        return [self.stored.get(each, []) for each in days]


async def candles(world: World, query: str) -> Any:  # noqa: ANN401 - any JSON
    world.seconds += 1_000  # no call is one too many
    return decoded(await world.handlers.candles(By.NAME, request(query)))


async def test_candles_of_renamed_delisted_untraded_and_unknown_contracts(world: World) -> None:
    world.registry = Registry(
        [
            Contract(contract_id="1", contract_name="NEW", aliases=("OLD",)),
            Contract(contract_id="2", contract_name="GONE", delisted=True),
            Contract(contract_id="3", contract_name="QUIET"),
        ]
    )
    for contract_id in ("1", "2"):
        bar = Bar(705, *(100.0,) * 4, 5, 500, 2, 7, 98, 100)
        world.bars.stored[contract_id, date(2026, 11, 25)] = [bar]
    names = "&".join(f"contract_names={each}" for each in ("OLD", "GONE", "QUIET", "NONE"))
    found = await candles(world, names)
    assert [each["time"] for each in found["OLD"]] == ["2026-11-25T11:45:00"]
    assert found["GONE"] == found["OLD"]
    assert (found["QUIET"], found["NONE"]) == ([], None)
    # Days without trading are empty, and so is a span without a moment.
    assert await candles(world, "contract_names=NEW&from=2026-11-20&to=2026-11-24") == {"NEW": []}
    same = "2026-11-25T11:45"
    assert await candles(world, f"contract_names=NEW&from={same}&to={same}") == {"NEW": []}


async def test_candles_that_cannot_be_read_are_not_missing_candles(world: World) -> None:
    world.bars.error = StoreError("away")
    error = await refused(candles(world, "contract_names=KASH05"))
    assert error.code == CloseCode.TRY_AGAIN_LATER
    # A contract that was listed meanwhile is not known here.
    world.bars.error, world.reached = None, False
    for name in ("KASH05", "LISTED"):
        error = await refused(candles(world, f"contract_names={name}"))
        assert error.code == CloseCode.TRY_AGAIN_LATER


async def test_candles_of_a_market_are_limited_like_those_of_names(world: World) -> None:
    assert set(await candles(world, "market=IMEFutures&from=2026-11-01&to=2026-11-25")) == {
        "KASH05",
        "KASH06",
    }
    requested = len(world.bars.requested)
    assert requested == 2 * 25
    error = await refused(candles(world, "market=IMEFutures&from=2026-08-01&to=2026-11-25"))
    assert "at most 100, got 2 times more than 100; ask for fewer" in error.reason
    assert len(world.bars.requested) == requested
    assert await candles(world, "market=IMEFund&from=2026-11-24") == {}


# Markets


async def test_markets_tell_hours_and_holidays_of_the_feed(world: World) -> None:
    unknown = await world.markets()
    assert [each["market"] for each in unknown] == list(Market)
    assert {(each["sessions"], each["holidays"]) for each in unknown} == {(None, None)}
    week = {"sat": (TradingSession("11:45", "17:00"),), "fri": ()}
    world.status = FeedStatus(
        FeedState.LIVE,
        0,
        markets={Market.OPTION: MarketStatus(FeedState.LIVE, hours=week)},
        holidays=(date(2027, 3, 21),),
    )
    futures, options, *_ = await world.markets()
    assert futures["sessions"] is futures["holidays"] is None
    assert options == {
        "market": "IMEOption",
        "timeZone": "Asia/Tehran",
        "sessions": {"sat": [{"begins": "11:45", "ends": "17:00"}], "fri": []},
        "holidays": ["2027-03-21"],
    }


async def test_hours_that_cannot_be_read_are_not_unknown_hours(world: World) -> None:
    world.readable = False
    with pytest.raises(RefusedError, match="trading hours cannot be read now") as refused:
        await world.markets()
    assert refused.value.code == CloseCode.TRY_AGAIN_LATER


# All static fields


async def test_details_are_all_static_fields(world: World) -> None:
    [plain] = await world.static("contract_names=KASH05")
    [detailed] = await world.static("contract_names=KASH05&details=true")
    assert plain is not None
    assert detailed is not None
    assert plain.items() <= detailed.items()
    assert detailed["market"] == "IMEFutures"
    assert detailed["aliases"] == ["OLD"]
    assert detailed.keys() - plain.keys() >= {"tickSize", "settlementPrice", "priceLimitRule"}
    overview = await world.live("contract_names=KASH05&details=true", Section.OVERVIEW)
    assert overview["KASH05"]["market"] == "IMEFutures"
