"""Describe the query parameters of a stream as JSON Schema, for the API documents.

`ime_live.gateway.query.stream_query` reads the queries; a test checks that both agree.
"""

from __future__ import annotations

from typing import Any, Final

from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.schemas import Schema
from ime_live.gateway.query.stream_query import MAX_RATE, MIN_RATE
from ime_live.market import SECTIONS

ALIAS: Final = "x-alias-of"
"""Key of a parameter that is only another spelling: the parameter that it means."""

_CONTRACTS: Final = {
    By.NAME: ("contract_names", "contract_name", "name", "ContractA"),
    By.ID: ("contract_id", "contract_ids", "id", "12345"),
}


def query_of(by: By, max_contracts: int) -> Schema:
    """Return the schema of a stream's query, as that of an object.

    A parameter with several values occurs in the query once per value.

    Args:
        by: how the stream names its contracts.
        max_contracts: contracts that one connection may ask for.
    """
    documented, other, word, example = _CONTRACTS[by]
    contracts = {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "minItems": 1,
        "maxItems": max_contracts,
        "examples": [[example]],
    }
    return {
        "type": "object",
        "properties": {
            documented: contracts
            | {"description": f"Contracts by {word}, each in a parameter of its own."},
            other: contracts
            | {"description": f"Another spelling of `{documented}`.", ALIAS: documented},
            **_OPT_INS,
        },
        "anyOf": [{"required": [documented]}, {"required": [other]}],
    }


def _switch(text: str) -> Schema:
    return {"type": "boolean", "default": False, "description": text}


_OPT_INS: Final[dict[str, Any]] = {
    "snapshot": _switch("Send the present state of each contract at once."),
    "since": {
        "type": "string",
        "description": (
            "The `timestamp` of the last message that you have: send at once what is newer. "
            "It goes before `snapshot`."
        ),
        "examples": ["2026-05-23T15:10:00.000000"],
    },
    "status": _switch(
        "Send the state of the feed as well, and what you should hold by now: `IME Status`."
    ),
    "max_rate": {
        "type": "number",
        "minimum": MIN_RATE,
        "maximum": MAX_RATE,
        "description": (
            "Messages a second and contract, at the most. The newest state goes before older "
            "ones, and the last one always comes."
        ),
        "examples": [2],
    },
    "sections": {
        "type": "array",
        "items": {"type": "string", "enum": list(SECTIONS)},
        "minItems": 1,
        "description": (
            "Only these sections in `data`, and messages only when one of them has changed. "
            "With commas in one parameter, or each in its own."
        ),
        "examples": [["BestLimit", "Aggregate"]],
    },
    "skipped": _switch(
        "Say in `skipped` how many states of a contract were left out before a message."
    ),
    "token": {
        "type": "string",
        "format": "password",
        "description": (
            "The token, where no header can be set. Proxies log queries; prefer the others."
        ),
    },
}
