"""Static fields: which market has which, spelt as documented, and the days that are left."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from ime_live.contracts import Contract, Market, days_left
from ime_live.gateway.rest.static_data import static_json
from tests.support.rows import each_row

TODAY = date(2026, 11, 25)

EVERY = [
    "contractId",
    "contractName",
    "title",
    "owner",
    "minPriceChangeRate",
    "maxPriceChangeRate",
    "buyCommission",
    "sellCommission",
    "canBuy",
    "canSell",
    "minValidBuyVolume",
    "maxValidBuyVolume",
    "minValidSellVolume",
    "maxValidSellVolume",
    "minDealablePrice",
    "minDealableCount",
    "dataClass",
]
FUTURE = [
    "initialMargin",
    "maintenanceMargin",
    "ExpirationDate",
    "DaysToExpiration",
    "csize",
    "ExerciseFeePhysical",
    "ExerciseFeeCash",
    "ExerciseSellTax",
    "UnderlyingAssets_symbolIsin_or_contractId",
    "UnderlyingAssets_title",
    "UnderlyingAssets_symbolName_or_contractName",
]
FIELDS = {
    None: EVERY,
    Market.FUND: EVERY,
    Market.PARALLEL_SALAF: EVERY,
    Market.DEPOSIT_CERTIFICATE: [*EVERY, "StorageCost"],
    Market.FUTURES: [*EVERY, *FUTURE],
    Market.OPTION: [*EVERY, *FUTURE, "optionType", "strikePrice", "requiredMargin"],
}


def static(market: Market | None, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    contract = Contract(contract_id="1", contract_name="A", market=market, **fields)
    found: dict[str, Any] = msgspec.json.decode(static_json(contract, TODAY))
    return found


@pytest.mark.parametrize("market", [None, *Market])
def test_static_data_has_the_fields_of_each_market(market: Market | None) -> None:
    found = static(market)
    assert list(found) == FIELDS[market]
    assert {key: value for key, value in found.items() if value is not None} == {
        "contractId": "1",
        "contractName": "A",
    }


@pytest.mark.parametrize("market", [None, *Market])
def test_static_data_has_the_values_of_the_contract(market: Market | None) -> None:
    values: dict[str, Any] = {
        each.name: {"string": f"text {n}", "bool": True}.get(kind, n + 0.5)
        for n, each in enumerate(msgspec.structs.fields(Contract))
        if (kind := _kind(each.type)) is not None
    }
    values |= {"expiration_date": date(2026, 12, 30)}
    contract = Contract(contract_id="1", contract_name="A", market=market, **values)
    stored = msgspec.json.decode(contract.to_json()) | {"DaysToExpiration": 35}
    found = msgspec.json.decode(static_json(contract, TODAY))
    assert found == {key: stored[key] for key in FIELDS[market]}


def _kind(annotation: object) -> str | None:
    text = str(annotation)
    if "None" not in text or "Market" in text or "date" in text:
        return None
    return "string" if "str" in text else "bool" if "bool" in text else "number"


@each_row(
    ("expires", "days"),
    [
        ("2026-11-25", 0),
        ("2026-11-26", 1),
        ("2027-11-25", 365),
        ("2026-11-24", 0),
        ("2022-02-09", 0),
        (None, None),
        ("1405-09-04", None),  # Jalali, as somebody has imported it
    ],
)
def test_days_to_expiry_count_to_the_expiry_date(expires: str | None, days: int | None) -> None:
    expires_on = None if expires is None else date.fromisoformat(expires)
    assert days_left(expires_on, TODAY) == days
    found = static(Market.FUTURES, expiration_date=expires_on)
    assert found["DaysToExpiration"] == days
    assert found["ExpirationDate"] == expires


def test_days_to_expiry_decrease_by_one_per_day() -> None:
    days = [days_left(date(2026, 12, 1), TODAY + timedelta(n)) for n in range(9)]
    assert days == [6, 5, 4, 3, 2, 1, 0, 0, 0]
