"""The OpenAPI document: what it says is what a gateway does, by requests that are made from it.

Schemathesis makes the requests, right and wrong ones, and holds each answer against the document:
its status, type, headers and body, and that what is wrong or without a token is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from ime_live.contracts import Contract, Market
from ime_live.gateway.api_docs.documents import openapi
from ime_live.gateway.auth.tokens import create_token
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.rest.bodies import Section
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from ime_live.settings import AuthMode, GatewaySettings
from tests.stream.conftest import SECRET, Serve, register
from tests.support.gateways import PATIENCE, Gateway
from tests.support.marks import thorough
from tests.support.rows import each_row

PATHS: Final = [
    *(f"/live/data/{section.value}/contract/{by.value}" for section in Section for by in By),
    *(f"/live/data/candles/contract/{by.value}" for by in By),
    *(f"/static/data/contract/{last}" for last in ("name", "id", "search", "option-chain")),
    "/static/data/market",
    "/live/status",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
]
OVERVIEW: Final = "/live/data/overview/contract/name"
_EXAMPLES: Final = max(settings().max_examples // 8, 4)
"""Of right requests and of wrong ones, for each path."""

CONTRACTS: Final = [
    Contract(
        contract_id=str(920_000 + n),
        contract_name=f"OPEN{n}",
        market=market,
        underlying_id="OPEN",
        option_type="put" if market is Market.OPTION else None,
    )
    for n, market in enumerate([*Market, None])
]
LAST: Final = CONTRACTS[-1].contract_id
_NAMES: Final = {
    "contract_names": [each.contract_name for each in CONTRACTS],
    "contract_ids": [each.contract_id for each in CONTRACTS],
}

# Of `market`'s; the token does not cover it.
_OTHER: Final = {"contract_names": "KASH0001", "contract_ids": "10001"}


@pytest.fixture(scope="module")
def described(_serve_all: Serve) -> Gateway:
    """A gateway that asks for tokens, and answers however often it is asked."""
    return _serve_all(
        auth="jwt",
        request_rate=0,
        max_contracts=20,
        variables={"IME_LIVE_JWT_SECRET": SECRET},
    )


@pytest.fixture(scope="module")
def document(described: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = described.get("/openapi.json").json()
    return found


def test_openapi_has_every_path(document: dict[str, Any]) -> None:
    assert list(document["paths"]) == PATHS


@pytest.fixture
async def state(
    described: Gateway,
    backend: EmbeddedValkey,
    publisher: Publisher,
    payload: Callable[..., dict[str, Any]],
) -> None:
    """Contracts of each market, all but one with a state."""
    await register(backend.url, *CONTRACTS)
    for contract in CONTRACTS[1:]:
        await publisher.publish(contract.contract_id, payload(Aggregate={"last_price": 1.5}))
    async with asyncio.timeout(PATIENCE):
        while described.get(f"/live/status?contract_ids={LAST}&token={_token()}").status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _token() -> str:
    return create_token(SECRET, "schemathesis", 1, contracts=["OPEN*"], now=time.time())


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize(
    "path", [OVERVIEW, *(thorough(path) for path in PATHS if path != OVERVIEW)]
)
def test_openapi_describes_the_responses_of_the_gateway(
    described: Gateway, document: dict[str, Any], path: str
) -> None:
    import schemathesis  # here, as all test processes import this file

    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{described.port}")
    operation = schema[path]["GET"]
    authorization = {"Authorization": f"Bearer {_token()}"}
    seen: set[int] = set()

    def hold(case: Any) -> None:  # noqa: ANN401 - schemathesis's own
        case.query.pop("token", None)  # one way to bring a token is enough at a time
        if mode is schemathesis.GenerationMode.POSITIVE:
            # A schema cannot say which texts are days that an exchange may have.
            for name in ("from", "to", "expiration"):
                case.query.pop(name, None)
            # The limit is for what is named and what a filter matches, together.
            for name in _NAMES.keys() & case.query.keys():
                if isinstance(case.query[name], list):
                    case.query[name] = case.query[name][:10]
        response = case.call_and_validate(headers=authorization)
        seen.add(response.status_code)

    # Without parameters there is nothing to be wrong.
    wrong = [schemathesis.GenerationMode.NEGATIVE] if operation.query else []
    for mode in [schemathesis.GenerationMode.POSITIVE, *wrong]:
        check = given(case=operation.as_strategy(generation_mode=mode))(hold)
        settings(
            max_examples=_EXAMPLES,
            phases=[Phase.generate],
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )(check)()
    mode = schemathesis.GenerationMode.POSITIVE
    known = {each.name for each in operation.query} & set(_NAMES)
    for name in known:
        hold(operation.Case(query={name: _NAMES[name]}))
        hold(operation.Case(query={name: [*_NAMES[name], _OTHER[name]]}))
    if path.endswith("search"):
        for market in Market:
            hold(operation.Case(query={"market": market.value, "Search_char": "OPEN"}))
            hold(operation.Case(query={"market": market.value, "details": "true"}))
    if path.endswith("option-chain"):
        hold(operation.Case(query={"underlying": "OPEN"}))
    requested = path.startswith(("/live/data", "/static/data/contract"))
    assert {200} <= seen <= set(map(int, document["paths"][path]["get"]["responses"]))
    assert not requested or 422 in seen
    assert not known or 403 in seen


def test_openapi_follows_the_settings() -> None:
    document = openapi(
        GatewaySettings(auth=AuthMode.NONE, root_path="/data-engine/ime", max_contracts=7)
    )
    assert document["servers"] == [{"url": "/data-engine/ime"}]
    assert "securitySchemes" not in document["components"]
    for path in PATHS:
        operation = document["paths"][path]["get"]
        assert "security" not in operation
        assert not {"401", "403"} & set(operation["responses"])
    [names, *_] = document["paths"]["/static/data/contract/name"]["get"]["parameters"]
    assert names["schema"]["maxItems"] == 7


@each_row("auth", AuthMode)
def test_openapi_document_is_valid(auth: AuthMode) -> None:
    import schemathesis

    made = openapi(GatewaySettings(auth=auth, jwt_secret=SECRET))
    schemathesis.openapi.from_dict(made).validate()
