"""States of the contracts under test: a number each, and the data that belongs to it.

Every section carries the number, and the sections change at different paces, so that a client of
one section meets equal ones. The numbers of a contract grow, except that it may go back from a
number to the one before where `returns` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ime_live.contracts import Contract, Market

Data = Mapping[str, Any]
"""A payload, or some of its sections, decoded."""

PUBLISHED: Final = [
    Contract(contract_id=str(1000 + n), contract_name=f"CHAOS{n:02}") for n in range(30)
]
"""Contracts that a program with the `Publisher` publishes."""

LISTED: Final = [
    Contract(contract_id=str(2000 + n), contract_name=f"GOLDE{n:02}", market=Market.FUTURES)
    for n in range(20)
]
"""Contracts on the exchange's board, which the feeds publish."""

CONTRACTS: Final = PUBLISHED + LISTED
IDS: Final = [contract.contract_id for contract in CONTRACTS]
NAMES: Final = {contract.contract_id: contract.contract_name for contract in CONTRACTS}

_DAY: Final = datetime.now().astimezone().date()
_EVERY: Final = 10  # a contract may return to one number of so many


def returns(number: int) -> bool:
    """Whether a contract may return to this state after the next one."""
    return number % _EVERY == 0


def payload_of(number: int, *, as_float: bool = False) -> dict[str, Any]:
    """The payload of a state, as a program publishes it.

    Args:
        number: of the state.
        as_float: write one of its whole numbers as ``1e16``; the state is the same.
    """
    level = {"buy_quantity": 5, "buy_price": 99_000, "sell_quantity": 8, "sell_price": 99_900}
    value = 10**16
    return {
        "BestLimit": {"1": level | {"buy_quantity": number}, "2": level, "3": level},
        "Aggregate": {
            "date": f"{_DAY}",
            "time": "15:10:00",
            "trade_count": number // 2,
            "total_volume": 40,
            "total_value": float(value) if as_float else value,
            "closing_price": 99_400,
            "last_price": 99_500,
            "low_price": 98_000,
            "high_price": 99_900,
            "open_price": 98_500,
            "previous_close": 99_000,
        },
        "AllowedPriceRange": {"minAllowedPrice": 1, "maxAllowedPrice": 9_999_999_999},
        "ContractInfo": {"open_interest": number // 6, "open_interest_changes": 0},
    }


def row_of(contract: Contract, number: int, at: datetime) -> dict[str, Any]:
    """The row of a state on the exchange's board.

    Args:
        contract: one of `LISTED`.
        number: of the state.
        at: when the board is pushed, in Tehran's time.
    """
    levels: dict[str, Any] = {}
    for n in (1, 2, 3):
        levels |= {f"BidVolume{n}": 5, f"BidPrice{n}": 99_000.0}
        levels |= {f"AskVolume{n}": 8, f"AskPrice{n}": 99_900.0}
    return levels | {
        "ContractID": int(contract.contract_id),
        "ContractCode": contract.contract_name,
        "ContractDescription": f"Contract {contract.contract_name}",
        "BidVolume1": number,
        "LastSettlementPrice": 99_000.0,
        "LastSettlementPriceDate": f"{_DAY}T00:00:00",
        "OrdersDateTime": f"{_DAY}T00:00:00",
        "FirstTradedPrice": 98_500.0,
        "LastTradedPrice": 99_500.0,
        "LastTradedPriceTime": None,
        "HighTradedPrice": 99_900.0,
        "LowTradedPrice": 98_000.0,
        "TradesCount": number // 2,
        "TradesVolume": 40,
        "TradesValue": 3_980.0,
        "OpenInterests": number // 6,
        "OpenInterestsChanges": 0,
        "LastUpdate": at.replace(tzinfo=None).isoformat(timespec="milliseconds"),
        "Expired": False,
    }


def number_in(data: Data) -> int:
    """The number of the state that complete data belongs to."""
    number: int = data["BestLimit"]["1"]["buy_quantity"]
    return number
