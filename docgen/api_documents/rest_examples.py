"""Generate an example of a response from its schema, for the OpenAPI document. No I/O.

A property has the same value wherever it occurs: that of `_VALUES`, or else the simplest one that
its schema allows. So every call has an example, and a new call needs no example of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from docgen.api_documents.examples import SPECIMENS
from ime_live.contracts import Market
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.value_types import Schema
from ime_live.gateway.rest.bodies import AUTHOR, DONE
from ime_live.timezones import TEHRAN

_STATE: Final[dict[str, Any]] = SPECIMENS["streamByName"][0]["data"]
_TIME: Final[str] = SPECIMENS["streamByName"][0]["timestamp"]

NAMES: Final = {By.NAME: "ContractA", By.ID: "12345"}
"""The contract of all examples."""

WHOLE_EXAMPLES: Final[Mapping[str, Any]] = {
    "/metrics": (
        "# HELP ime_live_connections Open streams: WebSockets and server-sent events.\n"
        "# TYPE ime_live_connections gauge\n"
        "ime_live_connections 2.0\n"
    ),
    "/openapi.json": {"openapi": "3.1.0", "info": {"title": "ime-live", "version": "0"}},
}
"""Path of a call → an example of its response, where the schema does not describe the content."""

_PREFIX: Final = "#/components/schemas/"

_VALUES: Final[Mapping[str, Any]] = _STATE | {
    "contractId": NAMES[By.ID],
    "contractName": NAMES[By.NAME],
    "id": NAMES[By.ID],
    "title": "Saffron, June",
    "market": "IMEFutures",
    "owner": "IME",
    "dataClass": "Future",
    "optionType": "call",
    "ExpirationDate": "2026-06-15",
    "DaysToExpiration": 23,
    "settlementDate": "2026-06-16",
    "UnderlyingAssets_symbolIsin_or_contractId": "678",
    "UnderlyingAssets_title": "Saffron",
    "UnderlyingAssets_symbolName_or_contractName": "SAF",
    "canBuy": True,
    "canSell": True,
    "minPriceChangeRate": -0.05,
    "maxPriceChangeRate": 0.05,
    "buyCommission": 0.0025,
    "sellCommission": 0.0025,
    "minValidBuyVolume": 1,
    "maxValidBuyVolume": 25,
    "minValidSellVolume": 1,
    "maxValidSellVolume": 25,
    "minDealablePrice": 100,
    "minDealableCount": 1,
    "csize": 100,
    "aliases": [],
    "tickSize": 100,
    "csizeUnit": "گرم",
    "priceLimitRule": "SAF=5%",
    "settlementPrice": 1_000_000,
    "todaySettlement": 999_800,
    "expired": False,
    "delisted": False,
    "StorageCost": 20,
    "initialMargin": 12_000_000,
    "maintenanceMargin": 8_400_000,
    "requiredMargin": 12_000_000,
    "strikePrice": 1_000_000,
    "ExerciseFeePhysical": 0.001,
    "ExerciseFeeCash": 0.001,
    "ExerciseSellTax": 0.005,
    # Candles.
    "time": _TIME[:19],
    "open": 1_001_000,
    "high": 1_004_800,
    "low": 991_000,
    "close": 999_100,
    "volume": 1630,
    "value": 16_290_125_000,
    "trades": 412,
    "open_interest": 4997,
    "bid": 999_100,
    "ask": 999_900,
    "gap": False,
    # Trading hours.
    "timeZone": TEHRAN,
    "begins": "10:00",
    "ends": "18:00",
    "holidays": ["2026-06-04"],
    # The outcome of a request.
    "State": True,
    "ServerTimeStamp": 1_779_536_400.25,
    "Version": "1.0.0",
    "Author": AUTHOR,
    "fa": DONE.fa,
    "en": DONE.en,
    "StatusCode": 200,
    # The state of the service.
    "timestamp": _TIME,
    "since": "2026-05-23T11:45:00.104000",
    "lastBoard": "2026-05-23T15:10:00.420000",
    "until": "2026-05-23T18:00:00.000000",
    "age": 4.2,
    "lag": 0.6,
    "error": None,
    "reason": None,
    "feed": "live",
    "source": "hub",
    "connections": 3,
}


_KEYS: Final = {"markets": Market.FUTURES.value, "sessions": "sat"}
"""Property → a key of its value, where keys are not contracts."""


def example_of(schema: Schema, schemas: Mapping[str, Schema], key: str) -> Any:  # noqa: ANN401 - JSON
    """Return a value that a schema allows.

    Args:
        schema: the schema, with references to `schemas`.
        schemas: the document's schemas, by name.
        key: key of an object with any keys, such as the name of a contract.
    """
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_PREFIX)
        return _STATE[name] if name in _STATE else example_of(schemas[name], schemas, key)
    for choices in ("allOf", "anyOf", "oneOf"):
        if choices in schema:
            return example_of(schema[choices][0], schemas, key)
    for value in ("const", "default"):
        if value in schema:
            return schema[value]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "date":
        return _TIME[:10]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return _object(schema, schemas, key)
    if kind == "array":
        return [example_of(schema.get("items", {}), schemas, key)]
    return {"boolean": True, "integer": 1, "number": 1, "string": "…"}.get(str(kind))


def _object(schema: Schema, schemas: Mapping[str, Schema], key: str) -> dict[str, Any]:
    example = {}
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        if name not in required and not _VALUES.get(name):
            continue
        inside = _KEYS.get(name, key)
        example[name] = _VALUES[name] if name in _VALUES else example_of(inner, schemas, inside)
        if name in ("call", "put"):
            example[name] |= {"market": Market.OPTION.value, "dataClass": "Option"}
            example[name] |= {"contractName": f"SAF{name[0].upper()}1000", "optionType": name}
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        example[key] = example_of(values, schemas, key)
    return example
