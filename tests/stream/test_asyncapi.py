"""/asyncapi.json: what a running gateway sends is what its document says, and where it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Serve
from tests.support.described import validator
from tests.support.gateways import PATIENCE, Answer, Gateway, RawClient, receive

Payload = Callable[..., dict[str, Any]]


def described(gateway: Gateway) -> dict[str, Any]:
    """The document of a gateway."""
    answer = gateway.get("/asyncapi.json")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize("by", ["name", "id"])
async def test_messages_are_as_described(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload, by: str
) -> None:
    first, second = market.take(2)
    own = {"name": "contract_name", "id": "contract_id"}[by]
    other = {"name": "contract_ids", "id": "contract_names"}[by]
    unlike = {"name": "contract_id", "id": "contract_name"}[by]
    document = described(gateway)
    kinds = {
        "IME Status": "status",
        "IME Control": "control",
        "contractName": "streamByName",
        "ContractId": "streamById",
    }
    request = {
        "action": "subscribe",
        other: [getattr(second, unlike), "no such contract"],
        "snapshot": True,
        "id": 7,
    }
    validator(document, "controlRequest").validate(request)
    path = gateway.stream(
        by, [getattr(first, own)], snapshot="true", status="true", skipped="true", max_rate="50"
    )
    seen: set[str] = set()
    for contract in (first, second):
        await publisher.publish(contract.contract_id, payload())
    async with gateway.connect(path) as client:
        await client.send(json.dumps(request))
        while seen != set(kinds.values()):
            message = await receive(client)
            key = "contractName" if "contractName" in message else "ContractId"
            kind = kinds.get(message["channel"]) or kinds[key]
            validator(document, kind).validate(message)
            seen.add(kind)


async def test_sections_are_as_described(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    path = gateway.stream(
        "id", [contract.contract_id], snapshot="true", sections="BestLimit,ContractInfo"
    )
    async with gateway.connect(path) as client:
        message = await receive(client)
    assert set(message["data"]) == {"BestLimit", "ContractInfo"}
    validator(described(gateway), "streamById").validate(message)


async def test_events_are_as_described(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload
) -> None:
    gateway = serve()
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    document = described(gateway)
    address = document["channels"]["eventsByName"]["address"]
    query = f"?contract_names={contract.contract_name}&snapshot=true&status=true"
    kinds = {"IME Stream": "streamByName", "IME Status": "status"}
    seen: set[str] = set()
    async with await RawClient.open(gateway.port) as client:
        await client.send(f"GET {address}{query} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")
        ended = False
        text = b""
        while not ended:
            text += await client.read_exactly(1)
            if not text.endswith(b"\n\n"):
                continue
            lines = dict(line.split(": ", 1) for line in text.decode().splitlines() if ": " in line)
            text = b""
            if "data" not in lines:
                continue
            message = json.loads(lines["data"])
            ended = lines.get("event") == "end"
            kind = "end" if ended else kinds[message["channel"]]
            validator(document, kind).validate(message)
            seen.add(kind)
            if seen == {"streamByName", "status"}:
                gateway.process.terminate()
    assert seen == {"streamByName", "status", "end"}
    gateway.wait(PATIENCE)


# -- where the streams are ----------------------------------------------------------------------


def test_servers_are_where_the_request_went(gateway: Gateway, hasty: Gateway) -> None:
    for each, pathname in ((gateway, None), (hasty, "/data-engine/ime")):
        server = described(each)["servers"]["websocket"]
        assert server["host"] == f"127.0.0.1:{each.port}"
        assert server["protocol"] == "ws"
        assert server.get("pathname") == pathname


async def test_described_address_can_be_connected_to(hasty: Gateway, market: Market) -> None:
    document = hasty.get("/data-engine/ime/asyncapi.json").json()
    server = document["servers"]["websocket"]
    channel = document["channels"]["websocketById"]
    path = f"{server['pathname']}{channel['address']}?contract_id={market.one().contract_id}"
    assert server["host"] == f"127.0.0.1:{hasty.port}"
    async with hasty.connect(path + "&status=true") as client:
        assert (await receive(client))["channel"] == "IME Status"


@pytest.mark.parametrize("host", ["x_y", "x" * 300])
def test_document_names_the_host_of_the_request(gateway: Gateway, host: str) -> None:
    answer = gateway.request("GET", "/asyncapi.json", {"Host": host})
    assert answer.status == 200
    assert answer.json()["servers"]["websocket"]["host"] == host


@pytest.mark.parametrize("host", ["[", 'a"b', "a/b"])
def test_malformed_host_header_is_400(gateway: Gateway, host: str) -> None:
    answer = gateway.request("GET", "/asyncapi.json", {"Host": host})
    assert answer.status == 400


def test_documents_are_404_with_docs_off(serve: Serve) -> None:
    gateway = serve(docs=False)
    shown: dict[str, Answer] = {
        path: gateway.get(path)
        for path in ("/docs", "/docs/", "/docs/main.js", "/asyncapi.json", "/openapi.json")
    }
    assert {path: answer.status for path, answer in shown.items()} == dict.fromkeys(shown, 404)
    assert gateway.get("/health").status == 200
