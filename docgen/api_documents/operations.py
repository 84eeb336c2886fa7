"""Operations of the OpenAPI document: each REST call with its parameters and responses. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST

from docgen.api_documents.rest_schemas import (
    DETAILS_OVERVIEW,
    OVERVIEWS,
    SECTION_TYPES,
    OptionPair,
    Part,
    nullable,
    reference,
)
from docgen.api_documents.schemas import with_description
from ime_live.candles import MAX_DAYS, Candle
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.parameters import Endpoint, Parameter, parameters_of
from ime_live.gateway.query.rest_query import CANDLE_ENDPOINTS, DATA_ENDPOINTS
from ime_live.gateway.query.value_types import Names
from ime_live.gateway.rest.bodies import KEYS, Health, ResponseStatus, Section
from ime_live.gateway.rest.markets import MarketHours
from ime_live.gateway.rest.paths import (
    MARKETS_PATH,
    OPTION_CHAIN_PATH,
    SEARCH_PATH,
    candles_path,
    live_path,
    static_path,
)
from ime_live.gateway.rest.readiness import Readiness
from ime_live.gateway.rest.responses import Problem
from ime_live.gateway.rest.static_data import TYPES, Details
from ime_live.gateway.rest.status_report import Report
from ime_live.settings import GatewaySettings

TOKEN: Final = "token"  # noqa: S105 - the name of a parameter

TAGS: Final = {
    "Live snapshots": "The last state of contracts, read for each request.",
    "Static data": "Data that does not change during a trading day.",
    "State of the service": "Health, metrics, and whether the data is current.",
}
_LIVE, _STATIC, _STATE = TAGS

_GUARDED: Final[list[Part]] = [{"bearer": []}, {"query": []}]

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


def operations() -> Part:
    """Return the path items of all calls, by path."""
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
    return paths | _state()


def _answer(data: Part) -> Part:
    """Return the schema of a whole response."""
    return {
        "type": "object",
        "properties": {
            "Data": with_description(data, "the requested data."),
            "Status": with_description(reference(ResponseStatus), "the outcome of the request."),
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
        _answer({"type": "object", "additionalProperties": nullable(kinds)}),
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
                        {"type": "array", "items": reference(Candle)},
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
        _answer({"type": "array", "items": nullable([*TYPES.values(), Details])}),
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
        _answer({"type": "array", "items": {"anyOf": [*map(reference, kinds)]}}),
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
        _answer({"type": "array", "items": reference(OptionPair)}),
        {},
    )


def _markets() -> Part:
    return _operation(
        "Trading hours and holidays of the markets",
        "`Data` is the list of all markets. Hours and holidays are settings of the feed, which "
        "writes them to the store; they are null for a market that it does not serve.",
        _STATIC,
        _parameters(Endpoint.MARKETS),
        _answer({"type": "array", "items": reference(MarketHours)}),
        {},
    )


def _parameters(endpoint: Endpoint) -> list[Part]:
    """Return the parameters of an endpoint, without the token, which is a security scheme."""
    parameters = parameters_of(endpoint)
    return [_parameter(parameter) for parameter in parameters.values() if parameter.name != TOKEN]


def _parameter(parameter: Parameter) -> Part:
    text = parameter.description
    if parameter.aliases:
        text += f" `{'`, `'.join(parameter.aliases)}` is accepted as well."
    schema = parameter.schema()
    if isinstance(parameter.type, Names) and parameter.type.limited:
        schema["maxItems"] = GatewaySettings.max_contracts
    item: Part = {
        "name": parameter.name,
        "in": "query",
        "required": bool(parameter.missing),
        "description": text,
        "schema": schema,
    }
    if schema["type"] == "array":
        item |= {"style": "form", "explode": True}
    return item


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
    for status, meaning in sorted((_REFUSALS | dict(refusals)).items()):
        responses[status] = _refusal(meaning)
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
    return {"description": text, "content": {"application/json": {"schema": reference(Problem)}}}


# -- the state of the service -----------------------------------------------------------------


def _state() -> Part:
    """Return the calls that need no token, and the one for the feed's state."""
    status = _plain(
        "The feed's state, and the age of each contract",
        "Without parameters, the response has all contracts that the token covers.",
        reference(Report),
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
        reference(Readiness),
    )
    ready["responses"]["503"] = {
        "description": "It is not ready; `reason` says why.",
        "content": {"application/json": {"schema": reference(Readiness)}},
    }
    metrics = _plain("Metrics", "In the text format of Prometheus.", {"type": "string"})
    metrics["responses"]["200"]["content"] = {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}
    return {
        "/live/status": {"get": status},
        "/health": {"get": _plain("Whether the process runs", "", reference(Health))},
        "/ready": {"get": ready},
        "/metrics": {"get": metrics},
        "/openapi.json": {"get": _plain("This document", "", {"type": "object"})},
    }


def _plain(title: str, text: str, schema: Part, parameters: Sequence[Part] = ()) -> Part:
    operation: Part = {"tags": [_STATE], "summary": title}
    if text:
        operation["description"] = text
    if parameters:
        operation["parameters"] = list(parameters)
    content = {"application/json": {"schema": schema}}
    return operation | {"responses": {"200": {"description": "Success.", "content": content}}}
