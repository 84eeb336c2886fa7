"""Target: query strings of all endpoints."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from msgspec.structs import replace

from fuzz.memory_gateway import REGISTRY
from fuzz.target import Target
from ime_live.client.protocol.address import Service
from ime_live.client.protocol.message import Selector
from ime_live.errors import MAX_REASON_BYTES, CloseCode, RefusedError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.contract_filter import FilterMatcher, matching
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.query.http_errors import status_of
from ime_live.gateway.query.parameters import PARAMETERS, Endpoint, parameters_of
from ime_live.gateway.query.query_string import Query
from ime_live.gateway.query.stream_query import (
    ContractNotFoundError,
    StreamRequest,
    read_request,
    select,
)
from ime_live.messages import ContractFilter
from ime_live.timezones import zone_of

_LIMIT: Final = 100  # contracts
_ZONE: Final = zone_of("UTC")
_SERVICE: Final = Service(False, "t", "")
_STREAMS: Final = {Endpoint.STREAM_BY_NAME: By.NAME, Endpoint.STREAM_BY_ID: By.ID}
_STATUSES: Final = frozenset({403, 404, 422})
_IDENTITY: Final = Identity("a", None, ("KASH*", "id:2"))


def read_query(data: bytes) -> None:
    """Read a query; the input is the name of an endpoint, ``?`` and the query."""
    name, _, text = data.partition(b"?")
    try:
        endpoint = Endpoint(name.decode("latin-1"))
    except ValueError:
        endpoint = Endpoint.STREAM_BY_NAME
    query = text.decode("latin-1")
    try:
        if endpoint in _STREAMS:
            _read_stream(_STREAMS[endpoint], endpoint, query)
        else:
            values = Query(endpoint, query)
            for parameter in parameters_of(endpoint):
                values[parameter]
    except RefusedError as refusal:
        assert refusal.code is CloseCode.POLICY_VIOLATION
        assert status_of(refusal) in _STATUSES
        assert len(refusal.reason.encode()) <= MAX_REASON_BYTES
        assert refusal.reason.isprintable()
        raise


def _read_stream(by: By, endpoint: Endpoint, text: str) -> None:
    query = Query(endpoint, text)
    request = read_request(by, query, _ZONE)
    kinds = {name for each in PARAMETERS if endpoint in each.endpoints for name in each.spellings}
    assert kinds.isdisjoint(query.unknown)
    # The text of an equal request is read the same; so are kept ones.
    assert read_request(by, Query.of(endpoint, text), _ZONE) == request
    _check_client(by, endpoint, request)
    try:
        chosen = select(request, REGISTRY, _IDENTITY.may_see, _LIMIT)
    except ContractNotFoundError as refusal:
        Diagnostics().explain_refusal(refusal, REGISTRY, _IDENTITY.may_see)
        raise
    assert all(_IDENTITY.may_see(REGISTRY.by_id(each)) for each in chosen.named)
    matchers = tuple(map(FilterMatcher, chosen.filters))
    found = matching(matchers, REGISTRY, _IDENTITY.may_see)
    assert all(_IDENTITY.may_see(contract) for contract, _ in found.values())


def _check_client(by: By, endpoint: Endpoint, request: StreamRequest) -> None:
    """Check that the client library's URL of the same contracts is read as the same contracts."""
    if request.contracts and any("*" in name for name in request.contracts):
        return  # the client puts patterns into filters, and sorts them
    keys: list[Selector] = [(by.value, name) for name in request.contracts]
    if request.markets or request.underlyings:
        keys.append(
            ContractFilter.of(by.value, markets=request.markets, underlyings=request.underlyings)
        )
    url = _SERVICE.stream(keys, [])
    again = read_request(by, Query(endpoint, url.partition("?")[2]), _ZONE)
    plain = replace(request, underlyings=tuple(sorted(set(request.underlyings))))
    assert again.contracts == plain.contracts, unquote(url)
    assert again.markets == plain.markets
    assert again.underlyings == plain.underlyings


TARGETS: Final = (
    Target(
        "queries",
        "query strings of all endpoints (`gateway/query`)",
        read_query,
        (RefusedError,),
        tuple(f"{endpoint.value}?".encode() for endpoint in Endpoint)
        + tuple(f"&{name}=".encode() for each in PARAMETERS for name in each.spellings)
        + (
            b"&",
            b"=",
            b"%",
            b"%2C",
            b"+",
            b"*",
            b"id:",
            b"name:",
            b"KASH",
            b"%D8%B3",
            b"%FF",
            b"%00",
        )
        + (b"true", b"1e-400", b"nan", b"inf", b"IMEOption", b"2026-05-23T15:10:00.000000%2B03:30")
        + (b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00", b"2026-W01-1", b"1m", b"BestLimit,"),
    ),
)
