"""The table of parameters: readers accept exactly what both API documents describe."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from jsonschema_rs import Draft7Validator

from docgen.api_documents import asyncapi, openapi
from ime_live.errors import RefusedError
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query import query_string
from ime_live.gateway.query.parameters import PARAMETERS, Endpoint, Parameter, parameters_of
from ime_live.gateway.query.query_string import Query
from ime_live.gateway.query.value_types import Number
from tests.support.rows import each_row

# The paths of each endpoint in /openapi.json, and the channels in /asyncapi.json.
PATHS = {
    Endpoint.DATA_BY_NAME: ("/live/data/overview/contract/name", "/static/data/contract/name"),
    Endpoint.DATA_BY_ID: ("/live/data/aggregate/contract/id", "/static/data/contract/id"),
    Endpoint.CANDLES_BY_NAME: ("/live/data/candles/contract/name",),
    Endpoint.CANDLES_BY_ID: ("/live/data/candles/contract/id",),
    Endpoint.SEARCH: ("/static/data/contract/search",),
    Endpoint.OPTION_CHAIN: ("/static/data/contract/option-chain",),
    Endpoint.MARKETS: ("/static/data/market",),
    Endpoint.STATUS: ("/live/status",),
}
CHANNELS = {Endpoint.STREAM_BY_NAME: "ByName", Endpoint.STREAM_BY_ID: "ById"}


# The tests only read them.
openapi_document = functools.cache(openapi.document)
asyncapi_document = functools.cache(asyncapi.document)


def described(endpoint: Endpoint) -> list[dict[str, dict[str, Any]]]:
    """The parameters of an endpoint, by name, wherever a document lists them."""
    if endpoint in PATHS:
        paths = openapi_document()["paths"]
        return [
            {
                each["name"]: each["schema"] | {"description": each["description"]}
                for each in paths[path]["get"]["parameters"]
                if each["in"] == "query"
            }
            for path in PATHS[endpoint]
        ]
    made = asyncapi_document()
    socket = made["channels"]["websocket" + CHANNELS[endpoint]]["bindings"]["ws"]
    events = made["operations"]["sendEvents" + CHANNELS[endpoint]]["bindings"]["http"]
    return [socket["query"]["properties"], events["query"]["properties"]]


def spellings(endpoint: Endpoint) -> set[str]:
    """Every name that the reader of an endpoint accepts."""
    names = {name for each in PARAMETERS for name in each.spellings} | {"page", "Snapshot"}
    query = Query(endpoint, "&".join(f"{name}=" for name in names))
    return names - set(query.unknown)


@each_row("endpoint", Endpoint)
def test_every_accepted_parameter_is_described_and_every_described_one_is_accepted(
    endpoint: Endpoint,
) -> None:
    accepted = spellings(endpoint) - {"meta"}  # accepted for one more release, not described
    for found in described(endpoint):
        if endpoint in CHANNELS:
            assert set(found) == accepted
        else:  # other spellings are in the text, the token among the security schemes
            aliases = {a for each in parameters_of(endpoint).values() for a in each.aliases}
            assert set(found) == accepted - {"token"} - aliases
            for each in parameters_of(endpoint).values():
                assert all(
                    f"`{alias}`" in found[each.name]["description"] for alias in each.aliases
                )
    assert "page" not in accepted


@each_row("endpoint", Endpoint)
def test_default_and_limits_in_documents_are_those_of_the_table(endpoint: Endpoint) -> None:
    for found in described(endpoint):
        for name in found.keys() & parameters_of(endpoint).keys():
            entry = parameters_of(endpoint)[name]
            assert entry.schema().items() <= found[name].items()
            assert found[name]["description"].startswith(entry.description)


def test_new_entry_is_read_and_described_without_other_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new = Parameter(
        name="depth",
        type=Number(minimum=1, maximum=3, example=2),
        endpoints=(Endpoint.STREAM_BY_NAME, Endpoint.SEARCH),
        description="Levels of the order book.",
        default=3,
    )
    monkeypatch.setattr("ime_live.gateway.query.parameters.PARAMETERS", (*PARAMETERS, new))
    tables = {endpoint: query_string._Table(endpoint) for endpoint in Endpoint}
    monkeypatch.setattr(query_string, "_TABLES", tables)
    monkeypatch.setattr(f"{__name__}.openapi_document", openapi.document)
    monkeypatch.setattr(f"{__name__}.asyncapi_document", asyncapi.document)
    for endpoint in new.endpoints:
        query = Query(endpoint, "depth=2")
        assert (query["depth"], query.unknown) == (2, ())
        assert Query(endpoint, "")["depth"] == 3
        with pytest.raises(RefusedError, match="depth is not a number from 1 to 3: 4"):
            Query(endpoint, "depth=4")["depth"]
        for found in described(endpoint):
            schema = found["depth"]
            assert (schema["description"], schema["default"]) == ("Levels of the order book.", 3)
            assert Draft7Validator(schema).is_valid(3)
            assert not Draft7Validator(schema).is_valid(4)
    assert Query(Endpoint.STATUS, "depth=2").unknown == ("depth",)
    assert "depth" not in described(Endpoint.STATUS)[0]


def test_entries_of_an_endpoint_have_different_names() -> None:
    for endpoint in Endpoint:
        names = [n for each in PARAMETERS if endpoint in each.endpoints for n in each.spellings]
        assert len(names) == len(set(names))


@each_row("by", By)
def test_optional_parameters_that_are_not_given_have_their_defaults(by: By) -> None:
    endpoint = {By.NAME: Endpoint.STREAM_BY_NAME, By.ID: Endpoint.STREAM_BY_ID}[by]
    query = Query(endpoint, "")
    for name, each in parameters_of(endpoint).items():
        if not each.missing:
            assert query[name] == each.default
