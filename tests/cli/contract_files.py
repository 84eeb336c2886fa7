"""Two contracts, and files with them as JSON and CSV."""

from __future__ import annotations

import json
from typing import Any, Final

A: Final = {"contractId": "12345", "contractName": "ContractA"}
B: Final = {
    "contractId": "67890",
    "contractName": "ContractB",
    "market": "IMEFutures",
    "title": "[b]ب",
}

CSV: Final = """contractId,contractName,market,title,aliases,strikePrice,canBuy,ExpirationDate
12345,ContractA,,,,,,
67890,ContractB,IMEOption,"a ""title"", of
two lines",OldB|OlderB,1500.5,TRUE,2026-12-01
"""


def lines(*contracts: dict[str, Any]) -> str:
    """The text of a file with a contract per line."""
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in contracts)
