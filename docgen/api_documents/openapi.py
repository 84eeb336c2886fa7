"""Make the OpenAPI document, which describes the REST calls. No I/O.

Its schemas come from the types of the responses, its paths and parameters from the names by which
requests are read. A framework's generator supports neither calls that return ready bytes nor two
spellings of one parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import msgspec
from msgspec import Struct, field
from prometheus_client import CONTENT_TYPE_LATEST

from docgen.api_documents.rest_examples import NAMES, example_of
from docgen.api_documents.schemas import attributes_of, schemas_of, with_description
from ime_live.candles import MAX_DAYS, Candle
from ime_live.contracts import Contract
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.parameters import Endpoint, Parameter, parameters_of
from ime_live.gateway.query.rest_query import CANDLE_ENDPOINTS, DATA_ENDPOINTS
from ime_live.gateway.query.value_types import Names
from ime_live.gateway.rest.bodies import (
    KEYS,
    Health,
    ResponseStatus,
    Section,
)
from ime_live.gateway.rest.markets import MarketHours
from ime_live.gateway.rest.paths import (
    MARKETS_PATH,
    OPTION_CHAIN_PATH,
    SEARCH_PATH,
    candles_path,
    live_path,
    static_path,
)
from ime_live.gateway.rest.responses import Problem
from ime_live.gateway.rest.static_data import TYPES, Details
from ime_live.gateway.rest.status_report import Readiness, Report
from ime_live.market import Payload
from ime_live.settings import GatewaySettings

Part = dict[str, Any]
"""A part of the document."""

_TOKEN: Final = "token"  # noqa: S105 - the name of a parameter

_REFERENCE: Final = "#/components/schemas/{name}"

_TAGS: Final = {
    "Live snapshots": "The last state of contracts, read for each request.",
    "Static data": "Data that does not change during a trading day.",
    "State of the service": "Health, metrics, and whether the data is current.",
}
_LIVE, _STATIC, _STATE = _TAGS

_ABOUT: Final = """\
Market data of the Iran Mercantile Exchange over plain HTTP. `/asyncapi.json` describes the streams.

A successful response has `Data` and `Status`. An error, with a status of 400 or more, has `detail`,
which says what is wrong. HEAD is accepted for every path except `/metrics`. Names and ids are found
in any spelling: with Persian or Arabic letters and digits, with or without joiners."""

_SPELLINGS: Final = {
    By.NAME: "by contract name",
    By.ID: "by contract id",
}

_SECTION_TITLES: Final = {
    Section.BEST_LIMIT: "The three best levels of the order book",
    Section.AGGREGATE: "The trading day so far",
    Section.ALLOWED_PRICE_RANGE: "The prices that the exchange accepts today",
    Section.CONTRACT_INFO: "Open interest and its change",
    Section.OVERVIEW: "Static fields and the whole last state, in one flat object",
}

# The refusals of every call for data.
_REFUSALS: Final = {
    "401": "The token is missing or not valid.",
    "422": "A parameter is missing or wrong.",
    "429": "Too many requests. Wait for the seconds in `Retry-After`.",
    "503": "Redis cannot be reached, or contracts or keys are not loaded yet. Try again later.",
}
_NOT_COVERED: Final = "The token does not cover a contract; `detail` names the contract."


def _overview_type(static: type[Struct]) -> type[Struct]:
    sections = [
        (each.name, each.type | None, field(name=each.encode_name))
        for each in msgspec.structs.fields(Payload)
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


def document() -> Part:
    """Return the document, as for a server with tokens.

    `ime_live.gateway.api_docs.documents` fits it to a server: its version is 0, and the limits are
    the defaults.
    """
    paths: Part = {}
    for section in Section:
        for by in By:
            paths[live_path(section, by)] = {"get": _live(section, by)}
    for by in By:
        paths[candles_path(by)] = {"get": _candles(by)}
    for by in By:
        paths[static_path(by)] = {"get": _static(by)}
    paths[SEARCH_PATH] = {"get": _search()}
    paths[OPTION_CHAIN_PATH] = {"get": _option_chain()}
    paths[MARKETS_PATH] = {"get": _markets()}
    for path in paths.values():
        path["get"]["security"] = _GUARDED
    paths |= _state()
    schemas = _schemas()
    for path, item in paths.items():
        _complete(path, item["get"], schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ime-live",
            "version": "0",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


def _complete(path: str, operation: Part, schemas: Mapping[str, Part]) -> None:
    """Give a call its name for generated clients, and an example of its response."""
    operation["operationId"] = operation_id(path)
    key = NAMES[By.ID if path.endswith(f"/{By.ID}") else By.NAME]
    content = operation["responses"]["200"]["content"].get("application/json")
    if content is not None and path != "/openapi.json":
        content["example"] = example_of(content["schema"], schemas, key)


def operation_id(path: str) -> str:
    """Return the name of a call, which generated clients make a method's name of.

    >>> operation_id("/live/data/best-limit/contract/name")
    'getBestLimitByName'
    """
    if path in _OPERATION_IDS:
        return _OPERATION_IDS[path]
    *words, last = path.removeprefix("/live").removeprefix("/data").strip("/").split("/")
    by = f"By{last.capitalize()}" if last in set(By) else ""
    words = [word for word in words if word != "contract"] + ([] if by else [last])
    return "get" + "".join(word.title().replace("-", "") for word in words) + by


_OPERATION_IDS: Final = {
    SEARCH_PATH: "searchContracts",
    "/ready": "getReadiness",
    "/openapi.json": "getOpenApi",
}

_GUARDED: Final[list[Part]] = [{"bearer": []}, {"query": []}]

_SECURITY: Final[Part] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "`Authorization: Bearer <token>`; the word `Bearer` may be left out.",
    },
    "query": {
        "type": "apiKey",
        "in": "query",
        "name": _TOKEN,
        "description": (
            "For clients that cannot set a header. Proxies log query strings, so prefer the header."
        ),
    },
}


def _schemas() -> Part:
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
    said, sections = attributes_of(Contract), attributes_of(Payload)
    for kind in (*TYPES.values(), *OVERVIEWS.values(), Details, DETAILS_OVERVIEW):
        properties = schemas[kind.__name__]["properties"]
        for each in msgspec.structs.fields(kind):
            if each.name in said:
                properties[each.encode_name]["description"] = said[each.name]
            elif each.name in sections:
                properties[each.encode_name]["description"] = sections[each.name]
    return schemas


def _reference(kind: type) -> Part:
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def _nullable(kinds: Iterable[type]) -> Part:
    return {"anyOf": [*map(_reference, kinds), {"type": "null"}]}


def _answer(data: Part) -> Part:
    """Return the schema of a whole response."""
    return {
        "type": "object",
        "properties": {
            "Data": with_description(data, "the requested data."),
            "Status": with_description(_reference(ResponseStatus), "the outcome of the request."),
        },
        "required": ["Data", "Status"],
        "additionalProperties": False,
    }


# -- the calls for data -----------------------------------------------------------------------


def _live(section: Section, by: By) -> Part:
    kinds = [*OVERVIEWS.values(), DETAILS_OVERVIEW]
    if section is not Section.OVERVIEW:
        kinds = [SECTION_TYPES[section]]
    title = _SECTION_TITLES[section]
    value = (
        "the static fields and the last state"
        if section is Section.OVERVIEW
        else f"`{KEYS[section]}`"
    )
    text = (
        f"`Data` has {value} of each contract, under its {by.value} as in the request; null for a "
        "contract that does not exist"
    )
    text += (
        ". The sections of a contract without market data are null."
        if section is Section.OVERVIEW
        else " or has no market data yet."
    )
    return _operation(
        f"{title}, {_SPELLINGS[by]}",
        text,
        _LIVE,
        _parameters(DATA_ENDPOINTS[by]),
        _answer({"type": "object", "additionalProperties": _nullable(kinds)}),
        {"403": _NOT_COVERED},
    )


def _candles(by: By) -> Part:
    return _operation(
        f"Candles, {_SPELLINGS[by]}",
        f"`Data` has the candles of each contract, the oldest first, under its {by.value} as in "
        "the request; null for a contract that does not exist. The last candle may still be "
        f"open. A call may ask for {MAX_DAYS} days of contracts.",
        _LIVE,
        _parameters(CANDLE_ENDPOINTS[by]),
        _answer(
            {
                "type": "object",
                "additionalProperties": {
                    "anyOf": [
                        {"type": "array", "items": _reference(Candle)},
                        {"type": "null"},
                    ]
                },
            }
        ),
        {"403": _NOT_COVERED},
    )


def _static(by: By) -> Part:
    return _operation(
        f"Static data, {_SPELLINGS[by]}",
        "`Data` is a list in the order of the request; null for a contract that does not exist.",
        _STATIC,
        _parameters(DATA_ENDPOINTS[by]),
        _answer({"type": "array", "items": _nullable([*TYPES.values(), Details])}),
        {"403": _NOT_COVERED},
    )


def _search() -> Part:
    kinds = [*(kind for market, kind in TYPES.items() if market is not None), Details]
    return _operation(
        "Search the contracts of a market",
        "`Data` is the list of the market's contracts whose name or title contains the text and "
        "that the token covers, in the order of their names.",
        _STATIC,
        _parameters(Endpoint.SEARCH),
        _answer({"type": "array", "items": {"anyOf": [*map(_reference, kinds)]}}),
        {},
    )


def _option_chain() -> Part:
    return _operation(
        "The option chain of an underlying",
        "`Data` is the list of strikes, by expiration and strike price, each with its call and its "
        "put: all static fields and the last state. Options that are expired or delisted, or that "
        "the token does not cover, are left out.",
        _STATIC,
        _parameters(Endpoint.OPTION_CHAIN),
        _answer({"type": "array", "items": _reference(OptionPair)}),
        {},
    )


def _markets() -> Part:
    return _operation(
        "Trading hours and holidays of the markets",
        "`Data` is the list of all markets. Hours and holidays are settings of the feed, which "
        "writes them to the store; they are null for a market that it does not serve.",
        _STATIC,
        _parameters(Endpoint.MARKETS),
        _answer({"type": "array", "items": _reference(MarketHours)}),
        {},
    )


def _parameters(endpoint: Endpoint) -> list[Part]:
    """Return the parameters of an endpoint, without the token, which is a security scheme."""
    found = parameters_of(endpoint)
    return [_parameter(each) for each in found.values() if each.name != _TOKEN]


def _parameter(parameter: Parameter) -> Part:
    text = parameter.description
    if parameter.aliases:
        text += f" `{'`, `'.join(parameter.aliases)}` is accepted as well."
    schema = parameter.schema()
    if isinstance(parameter.type, Names) and parameter.type.limited:
        schema["maxItems"] = GatewaySettings.max_contracts
    found: Part = {
        "name": parameter.name,
        "in": "query",
        "required": bool(parameter.missing),
        "description": text,
        "schema": schema,
    }
    if schema["type"] == "array":
        found |= {"style": "form", "explode": True}
    return found


def _operation(
    title: str,
    text: str,
    tag: str,
    parameters: Sequence[Part],
    answer: Part,
    refusals: Mapping[str, str],
) -> Part:
    responses: Part = {
        "200": {
            "description": "Success.",
            "headers": {"ETag": _header("Entity tag of `Data`: equal data has an equal tag.")},
            "content": {"application/json": {"schema": answer}},
        },
        "304": {
            "description": "The data has not changed: its tag is in `If-None-Match`.",
            "headers": {"ETag": _header("Entity tag of `Data`.")},
        },
    }
    for status, said in sorted((_REFUSALS | dict(refusals)).items()):
        responses[status] = _refusal(said)
    responses["429"]["headers"] = {"Retry-After": _header("Seconds to wait.", {"type": "integer"})}
    tags = {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "description": "`ETag` of an earlier response.",
        "schema": {"type": "string"},
    }
    return {
        "tags": [tag],
        "summary": title,
        "description": text,
        "parameters": [*parameters, tags],
        "responses": responses,
    }


def _header(text: str, schema: Part | None = None) -> Part:
    return {"description": text, "schema": schema or {"type": "string"}}


def _refusal(text: str) -> Part:
    return {"description": text, "content": {"application/json": {"schema": _reference(Problem)}}}


# -- the state of the service -----------------------------------------------------------------


def _state() -> Part:
    """Return the calls that need no token, and the one for the feed's state."""
    status = _plain(
        "The feed's state, and the age of each contract",
        "Without parameters, the response has all contracts that the token covers.",
        _reference(Report),
        parameters=_parameters(Endpoint.STATUS),
    )
    status["responses"] |= {
        "404": _refusal("A contract does not exist; `detail` names the contract."),
        "503": _refusal("Contracts or keys are not loaded yet. Try again later."),
    }
    status["security"] = _GUARDED
    status["responses"] |= {
        "401": _refusal(_REFUSALS["401"]),
        "403": _refusal(_NOT_COVERED),
    }
    ready = _plain(
        "Whether the process is ready",
        "Redis must be connected, and the contracts loaded; the feed's state does not matter.",
        _reference(Readiness),
    )
    ready["responses"]["503"] = {
        "description": "It is not ready; `reason` says why.",
        "content": {"application/json": {"schema": _reference(Readiness)}},
    }
    metrics = _plain("Metrics", "In the text format of Prometheus.", {"type": "string"})
    metrics["responses"]["200"]["content"] = {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}
    return {
        "/live/status": {"get": status},
        "/health": {"get": _plain("Whether the process runs", "", _reference(Health))},
        "/ready": {"get": ready},
        "/metrics": {"get": metrics},
        "/openapi.json": {"get": _plain("This document", "", {"type": "object"})},
    }


def _plain(title: str, text: str, schema: Part, parameters: Sequence[Part] = ()) -> Part:
    found: Part = {"tags": [_STATE], "summary": title}
    if text:
        found["description"] = text
    if parameters:
        found["parameters"] = list(parameters)
    content = {"application/json": {"schema": schema}}
    return found | {"responses": {"200": {"description": "Success.", "content": content}}}
