"""The REST client against a stand-in that answers as the service does."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, date, datetime
from typing import Any

import pytest

import ime_live
from ime_live.client.rest.async_client import AsyncClient
from ime_live.client.rest.parameters import candle_contracts
from tests.client.rest_service import STATIC, Rest
from tests.client.texts import DATA


async def test_snapshots_are_read_by_name_and_by_id(rest: Rest) -> None:
    client = AsyncClient(rest.url, token="t")
    whole = await client.snapshot(["A", "NOPE"], [1])
    assert set(whole) == {"A", "NOPE", "1"}
    assert whole["NOPE"] is None
    assert whole["A"] is not None
    assert whole["A"].best_limit["1"].buy_price == 999100
    assert rest.asked == [
        ("/live/data/overview/contract/name", {"contract_names": ["A", "NOPE"]}, "Bearer t"),
        ("/live/data/overview/contract/id", {"contract_ids": ["1"]}, "Bearer t"),
    ]


async def test_one_section_is_read(rest: Rest) -> None:
    client = AsyncClient(rest.url)
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


@pytest.mark.parametrize("section", ["BestLimit", "Aggregate", "Payload"])
async def test_section_is_named_or_given_as_a_class(rest: Rest, section: Any) -> None:  # noqa: ANN401
    client = AsyncClient(rest.url)
    by_name = await client.snapshot(["A"], section=section)
    assert by_name == await client.snapshot(["A"], section=getattr(ime_live, section))
    assert by_name["A"] is not None


async def test_option_chain_is_read(rest: Rest) -> None:
    side = STATIC | DATA | {"market": "IMEOption", "optionType": "call"}
    row = {"strikePrice": 110, "ExpirationDate": "2026-08-01", "call": side, "put": None}
    rest.body = json.dumps({"Data": [row]}).encode()
    client = AsyncClient(rest.url)
    [pair] = await client.option_chain("سکه طلا", date(2026, 8, 1))
    assert rest.asked[0][:2] == (
        "/static/data/contract/option-chain",
        {"underlying": ["سکه طلا"], "expiration": ["2026-08-01"]},
    )
    assert (pair.strike_price, pair.expiration_date, pair.put) == (110, date(2026, 8, 1), None)
    assert pair.call is not None
    assert pair.call.contract.market is ime_live.Market.OPTION
    assert pair.call.data is not None
    flat = pair.to_dict()
    assert flat["strike_price"] == 110
    assert flat["call_contract_name"] == "A"
    assert flat["call_sell_quantity_2"] == 8
    assert flat["call_closing_price"] == 999393.5
    assert not any(key.startswith("put_") for key in flat)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("",), "underlying must not be empty"),
        ((5,), "underlying must be a text"),
        (("GC", "tomorrow"), "expiration must be a date, or a text as YYYY-MM-DD"),
        (("GC", datetime(2026, 8, 1, tzinfo=UTC)), "expiration must be a date"),
        (("GC", 5), "expiration must be a date"),
    ],
)
async def test_bad_arguments_of_a_chain_are_refused(
    rest: Rest,
    arguments: tuple[Any, ...],
    text: str,
) -> None:
    with pytest.raises(ime_live.SettingsError, match=text):
        await AsyncClient(rest.url).option_chain(*arguments)
    assert rest.asked == []


async def test_call_that_an_older_service_lacks_says_so(rest: Rest) -> None:
    rest.statuses = [404] * 3
    client = AsyncClient(rest.url)
    for call in (client.option_chain("GC"), client.markets(), client.candles(["A"])):
        with pytest.raises(ime_live.ServiceError, match="older version may not have this") as error:
            await call
        assert error.value.status == 404


async def test_markets_are_read(rest: Rest) -> None:
    row = {
        "market": "IMEFund",
        "timeZone": "Asia/Tehran",
        "sessions": {"sat": [{"begins": "11:45", "ends": "17:00"}]},
        "holidays": ["2026-03-21"],
    }
    unknown = {"market": "IMEOption", "timeZone": "UTC", "sessions": None, "holidays": None}
    rest.body = json.dumps({"Data": [row, unknown]}).encode()
    fund, option = await AsyncClient(rest.url).markets()
    assert fund.market is ime_live.Market.FUND
    assert fund.sessions is not None
    assert fund.sessions["sat"][0].ends == "17:00"
    assert fund.holidays == (date(2026, 3, 21),)
    assert option.sessions is None
    assert option.holidays is None


async def test_unknown_market_of_a_newer_service_breaks_no_call(rest: Rest) -> None:
    new = {"market": "IMEOfNextYear", "timeZone": "UTC", "sessions": None, "holidays": None}
    client = AsyncClient(rest.url)
    rest.body = json.dumps({"Data": [new, new | {"market": "IMEFund"}]}).encode()
    assert [each.market for each in await client.markets()] == ["IMEFund"]
    contract = {"contractId": "1", "contractName": "A", "market": "IMEOfNextYear"}
    rest.body = json.dumps({"Data": [contract, None]}).encode()
    found, unknown = await client.contracts(["A", "B"])
    assert (found and found.contract_name, found and found.market, unknown) == ("A", None, None)
    rest.body = json.dumps({"Data": {"A": contract}}).encode()
    overview = (await client.overview(["A"]))["A"]
    assert overview is not None
    assert overview.contract.market is None


async def test_contracts_have_all_fields_of_the_service(rest: Rest) -> None:
    await AsyncClient(rest.url).contracts(["A"])
    assert rest.asked[0][1] == {"contract_names": ["A"], "details": ["true"]}


async def test_search_without_a_text_finds_the_market(rest: Rest) -> None:
    assert len(await AsyncClient(rest.url).search("IMEOption")) == 1
    assert rest.asked[0][1] == {"market": ["IMEOption"], "details": ["true"]}


async def test_overviews_and_contracts_are_read(rest: Rest) -> None:
    client = AsyncClient(rest.url)
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
        date(2026, 8, 1),
    )


async def test_search_finds_contracts(rest: Rest) -> None:
    [found] = await AsyncClient(rest.url).search("IMEOption", "KASH05C")
    assert (found.contract_name, found.market) == ("A", ime_live.Market.OPTION)
    assert rest.asked[0][1] == {
        "market": ["IMEOption"],
        "Search_char": ["KASH05C"],
        "details": ["true"],
    }
    with pytest.raises(
        ime_live.SettingsError, match=r"market must be one of IMEFutures, .*, got 'Stocks'"
    ):
        await AsyncClient(rest.url).search("Stocks", "x")


async def test_many_names_are_requested_in_portions(rest: Rest) -> None:
    names = [f"سكه0312پ{n:04}" for n in range(400)]
    found = await AsyncClient(rest.url).contracts(names)
    assert len(found) == 400
    assert len(rest.asked) > 1
    assert [n for _, query, _ in rest.asked for n in query["contract_names"]] == names


async def test_refused_token_is_renewed_once_or_an_error(rest: Rest) -> None:
    rest.statuses = [401]
    with pytest.raises(ime_live.AuthenticationError, match="so it is"):
        await AsyncClient(rest.url, token="bad").contracts(["A"])
    tokens = iter(["old", "new"])
    rest.statuses = [401]
    assert await AsyncClient(rest.url, token=lambda: next(tokens)).contracts(["A"])
    assert [token for _, _, token in rest.asked] == ["Bearer bad", "Bearer old", "Bearer new"]


async def test_concurrent_calls_renew_an_expired_token_once(rest: Rest) -> None:
    asked: list[str] = []

    def token() -> str:
        asked.append("asked")
        return f"t{len(asked)}"

    client = AsyncClient(rest.url, token=token)
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
    # Retries end, but a later call is not lost.
    rest.good, rest.together = f"t{len(asked) + 1}", None
    assert await client.contracts(["A"])


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_busy_service_is_retried(rest: Rest, status: int) -> None:
    rest.statuses = [status]
    assert await AsyncClient(rest.url, tries=2).contracts(["A"])
    rest.statuses = [status]
    with pytest.raises(ime_live.ServiceError, match="so it is") as caught:
        await AsyncClient(rest.url, tries=1).contracts(["A"])
    assert caught.value.status == status


async def test_short_retry_after_is_respected(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    client = AsyncClient(rest.url, tries=2)
    monkeypatch.setattr("ime_live.client.rest.caller.asyncio.sleep", sleep)
    rest.statuses, rest.retry_after = [429], "3"
    assert await client.contracts(["A"])
    assert waits == [3]
    for odd in ("soon", "-1", "²", "Wed, 21 Oct 2026 07:28:00 GMT"):
        rest.statuses, rest.retry_after = [503], odd
        assert await client.contracts(["A"])
        assert 0 <= waits.pop() < 1
    # The caller does not wait for a minute.
    rest.statuses, rest.retry_after = [429], "60"
    with pytest.raises(ime_live.ServiceError):
        await client.contracts(["A"])
    assert waits == [3]


@pytest.mark.parametrize("status", [302, 400, 404, 422, 500])
async def test_other_status_is_an_error_at_once(rest: Rest, status: int) -> None:
    rest.statuses = [status]
    with pytest.raises(ime_live.ServiceError, match="so it is") as caught:
        await AsyncClient(rest.url).contracts(["A"])
    assert caught.value.status == status
    assert len(rest.asked) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"Data": 5}', b'{"Data": [{}]}'])
async def test_malformed_response_is_an_error(rest: Rest, body: bytes) -> None:
    rest.body = body
    with pytest.raises(ime_live.ServiceError, match="cannot be read"):
        await AsyncClient(rest.url).contracts(["A"])


async def test_unreachable_or_slow_service_is_an_error(rest: Rest) -> None:
    rest.drip = True
    with pytest.raises(ime_live.ServiceError, match=r"must answer within 0\.2 s"):
        await AsyncClient(rest.url, read_timeout=0.2, tries=1).contracts(["A"])
    with pytest.raises(ime_live.ServiceError, match="cannot be reached"):
        await AsyncClient("http://127.0.0.1:1", tries=1).contracts(["A"])


@pytest.mark.parametrize(
    "arguments", [{"tries": 0}, {"read_timeout": 0}, {"connect_timeout": -1}, {"token": ""}]
)
def test_malformed_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ime_live.SettingsError):
        AsyncClient("http://h", **arguments)


async def test_404_of_a_call_names_the_url_and_asks_for_the_prefix(rest: Rest) -> None:
    rest.statuses = [404]
    async with AsyncClient(f"{rest.url}/p") as client:
        with pytest.raises(ime_live.ServiceError) as caught:
            await client.contracts(["A"])
    assert str(caught.value) == (
        f"{rest.url}/p/static/data/contract/name must be a REST call, but is not: so it is; "
        "is the path of a proxy missing from the address, or wrong? "
        "A service of an older version may not have this call."
    )


async def test_redirect_of_a_call_is_an_error_with_its_target(rest: Rest) -> None:
    rest.statuses = [302]
    async with AsyncClient(rest.url) as client:
        with pytest.raises(ime_live.ServiceError, match="redirects to http") as caught:
            await client.contracts(["A"])
    assert str(caught.value).endswith("; write that address")


# -- tokens that may pass -----------------------------------------------------------------------


@pytest.mark.parametrize("detail", ["token expired", "token not yet valid: nbf is ahead"])
async def test_temporarily_refused_token_is_retried(rest: Rest, detail: str) -> None:
    rest.statuses, rest.detail = [401, 401, 401], detail
    async with AsyncClient(rest.url, token="t", tries=3) as client:
        assert await client.contracts(["A"])
        assert len(rest.asked) == 4
        rest.statuses = [401] * 9
        with pytest.raises(ime_live.AuthenticationError, match=detail):
            await client.contracts(["A"])
        assert len(rest.asked) == 8


async def test_token_is_renewed_even_with_one_try(rest: Rest) -> None:
    tokens = iter(["old", "new"])
    rest.statuses = [401]
    async with AsyncClient(rest.url, token=lambda: next(tokens), tries=1) as client:
        assert await client.contracts(["A"])


@pytest.mark.parametrize(
    ("start", "end", "contracts"),
    [
        (None, None, 100),
        (None, "2026-11-02", 100),
        ("2026-11-01", "2026-11-02", 50),
        (date(2026, 11, 1), datetime(2026, 11, 1, 12), 100),  # noqa: DTZ001 - Tehran's clock
        ("2026-11-01T12:00:00+00:00", "2026-11-01T23:00:00Z", 33),
        ("2026-01-01", "2026-12-31", 1),  # too many days for any call
        ("soon", "2026-11-02", 100),
        ("2026-11-02", "2026-11-01", 100),
    ],
)
def test_call_for_candles_names_as_many_contracts_as_its_days_allow(
    start: date | str | None, end: date | str | None, contracts: int
) -> None:
    assert candle_contracts(start, end) == contracts
