"""Payloads that differ in what a test says and in nothing else."""

from __future__ import annotations

from typing import Any, Final

from ime_live.market import Payload
from ime_live.market_json import read_payload

_LEVEL: Final = {"buy_quantity": 0, "buy_price": 0, "sell_quantity": 0, "sell_price": 0}


def payload(last_price: float = 0, open_interest: int = 0, **aggregate: Any) -> Payload:  # noqa: ANN401 - any JSON
    """A whole payload with this price, open interest and other fields of ``Aggregate``."""
    return read_payload(
        {
            "BestLimit": {"1": _LEVEL, "2": _LEVEL, "3": _LEVEL},
            "Aggregate": {
                "date": "2026-05-23",
                "time": "15:10:00",
                "trade_count": 0,
                "total_volume": 0,
                "total_value": 0,
                "closing_price": 0,
                "last_price": last_price,
                "low_price": 0,
                "high_price": 0,
                "open_price": 0,
                "previous_close": 0,
                **aggregate,
            },
            "AllowedPriceRange": {"minAllowedPrice": 1, "maxAllowedPrice": 9999999999},
            "ContractInfo": {"open_interest": open_interest, "open_interest_changes": 0},
        }
    )
