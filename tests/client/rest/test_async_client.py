"""The REST client against a stand-in that answers as the service does."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

import ime_live
from ime_live.client.rest.async_client import AsyncClient
from tests.client.rest_service import STATIC, Rest
from tests.support.stream_messages import DATA


async def test_snapshots_are_read_by_name_and_by_id(rest: Rest) -> None:
    client = AsyncClient(rest.url, token="t")
    whole = await client.snapshot(["A", "NOPE"], [1])
    assert set(whole) == {"A", "NOPE", "1"}
    assert whole["NOPE"] is None
    assert whole["A"] is not None
    assert whole["A"].best_limit["1"].buy_price == 999100
    assert rest.requested == [
        ("/live/data/overview/contract/name", {"contract_names": ["A", "NOPE"]}, "Bearer t"),
        ("/live/data/overview/contract/id", {"contract_ids": ["1"]}, "Bearer t"),
    ]


async def test_snapshot_of_a_section_has_only_that_section(rest: Rest) -> None:
    client = AsyncClient(rest.url)
    best = await client.snapshot(["A", "NOPE"], section=ime_live.BestLimit)
    assert best["A"] is not None
    assert best["A"]["2"].sell_quantity == 8
    assert best["NOPE"] is None
    day = await client.snapshot(contract_ids=["1"], section=ime_live.Aggregate)
    assert day["1"] is not None
    assert day["1"].closing_price == 999393.5
    assert [path for path, _, _ in rest.requested] == [
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
    assert rest.requested[0][:2] == (
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


async def test_contracts_have_all_fields_of_the_service(rest: Rest) -> None:
    await AsyncClient(rest.url).contracts(["A"])
    assert rest.requested[0][1] == {"contract_names": ["A"], "details": ["true"]}


async def test_search_without_a_text_finds_the_market(rest: Rest) -> None:
    assert len(await AsyncClient(rest.url).search("IMEOption")) == 1
    assert rest.requested[0][1] == {"market": ["IMEOption"], "details": ["true"]}


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
    assert rest.requested[0][1] == {
        "market": ["IMEOption"],
        "Search_char": ["KASH05C"],
        "details": ["true"],
    }
    with pytest.raises(
        ime_live.SettingsError, match=r"market must be one of IMEFutures, .*, got 'Stocks'"
    ):
        await AsyncClient(rest.url).search("Stocks", "x")


# -- tokens that may pass -----------------------------------------------------------------------
