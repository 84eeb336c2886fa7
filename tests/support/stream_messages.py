"""Texts as the gateway sends them, for tests that need no gateway."""

from __future__ import annotations

from typing import Any, Final

import msgspec

LEVEL: Final = {"buy_quantity": 5, "buy_price": 999100, "sell_quantity": 8, "sell_price": 999900}

DATA: Final[dict[str, Any]] = {
    "BestLimit": {"1": LEVEL, "2": LEVEL, "3": LEVEL},
    "Aggregate": {
        "date": "2026-05-23",
        "time": "15:10:00",
        "trade_count": 412,
        "total_volume": 1630,
        "total_value": 16290125000,
        "closing_price": 999393.5,
        "last_price": 999100,
        "low_price": 991000,
        "high_price": 1004800,
        "open_price": 1001000,
        "previous_close": 1000000,
    },
    "AllowedPriceRange": {"minAllowedPrice": 950000, "maxAllowedPrice": 1050000},
    "ContractInfo": {"open_interest": 4997, "open_interest_changes": -3},
}


def timestamp(number: int) -> str:
    """A timestamp; those of larger numbers are later."""
    return f"2026-05-23T15:10:00.{number:06}"


def update(
    name: str,
    number: int = 0,
    data: Any = DATA,  # noqa: ANN401 - any JSON
    **more: Any,  # noqa: ANN401
) -> bytes:
    """A message of a contract that was asked for by name."""
    message = {"channel": "IME Stream", "contractName": name, "timestamp": timestamp(number)}
    return msgspec.json.encode({**message, **more, "data": data})
