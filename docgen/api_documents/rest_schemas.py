"""Types and schemas of the REST responses, for the OpenAPI document. No I/O.

The gateway builds some bodies from stored bytes, without a type. Their types are defined here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from docgen.api_documents.schemas import attributes_of, schemas_of
from ime_live.candles import Candle
from ime_live.contracts import Contract
from ime_live.gateway.rest.bodies import KEYS, Health, ResponseStatus
from ime_live.gateway.rest.markets import MarketHours
from ime_live.gateway.rest.readiness import Readiness
from ime_live.gateway.rest.responses import Problem
from ime_live.gateway.rest.static_data import TYPES, Details
from ime_live.gateway.rest.status_report import Report
from ime_live.market import Payload

Part = dict[str, Any]
"""A part of the document."""

_REFERENCE: Final = "#/components/schemas/{name}"


def _overview_type(static: type[Struct]) -> type[Struct]:
    sections = [
        (section.name, section.type | None, field(name=section.encode_name))
        for section in msgspec.structs.fields(Payload)
    ]
    return msgspec.defstruct(
        f"{static.__name__}Overview",
        sections,
        bases=(static,),
        frozen=True,
        namespace={"__doc__": f"{static.__doc__} Its static fields and its last state."},
        module=__name__,
    )


OVERVIEWS: Final = {market: _overview_type(static) for market, static in TYPES.items()}
"""The type of a contract's overview, by its market."""

DETAILS_OVERVIEW: Final = _overview_type(Details)


class OptionPair(Struct):
    """The call and the put of one strike price and expiration.

    Attributes:
        strike_price: strike price of both, in rials; null if it is not known.
        expiration_date: last trading day of both; null if it is not known.
        call: the call; null if there is none, or the token does not cover it.
        put: the put, likewise.
    """

    strike_price: float | None = field(name="strikePrice")
    expiration_date: date | None = field(name="ExpirationDate")
    call: DETAILS_OVERVIEW | None  # type: ignore[valid-type] # made by _overview_type
    put: DETAILS_OVERVIEW | None  # type: ignore[valid-type]


SECTION_TYPES: Final = {
    section: next(f.type for f in msgspec.structs.fields(Payload) if f.encode_name == key)
    for section, key in KEYS.items()
}
"""The type of each section of a payload."""


def rest_schemas() -> Part:
    """Return the schemas of all responses, by the names of their types."""
    types: list[Any] = [
        *SECTION_TYPES.values(),
        *TYPES.values(),
        *OVERVIEWS.values(),
        Details,
        DETAILS_OVERVIEW,
        OptionPair,
        MarketHours,
        Candle,
        ResponseStatus,
        Problem,
        Health,
        Readiness,
        Report,
    ]
    schemas = schemas_of(types, _REFERENCE)
    descriptions, sections = attributes_of(Contract), attributes_of(Payload)
    for kind in (*TYPES.values(), *OVERVIEWS.values(), Details, DETAILS_OVERVIEW):
        properties = schemas[kind.__name__]["properties"]
        for attribute in msgspec.structs.fields(kind):
            if attribute.name in descriptions:
                properties[attribute.encode_name]["description"] = descriptions[attribute.name]
            elif attribute.name in sections:
                properties[attribute.encode_name]["description"] = sections[attribute.name]
    return schemas


def reference(kind: type) -> Part:
    """Return a reference to the schema of a type."""
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def nullable(kinds: Iterable[type]) -> Part:
    """Return the schema of a value of one of these types, or null."""
    return {"anyOf": [*map(reference, kinds), {"type": "null"}]}
