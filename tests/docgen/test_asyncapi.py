"""The AsyncAPI document: whole in itself, and one with types, parameters and close codes."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from jsonschema_rs import Draft7Validator

from docgen.api_documents.asyncapi import ALIAS, query_of
from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway.api_docs.documents import BaseUrl, asyncapi, servers
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query import stream_query as session
from ime_live.gateway.query.parameters import Endpoint
from ime_live.gateway.query.stream_query import endpoint_of, parse_query, read_request
from ime_live.settings import AuthMode, GatewaySettings
from tests.support.described import Node, follow, references, validator
from tests.support.rows import each_row

ZONE = ZoneInfo("Asia/Tehran")
OPEN = GatewaySettings(auth=AuthMode.NONE)
GUARDED = GatewaySettings(jwt_secret="x" * 32)


def whole(settings: GatewaySettings) -> Node:
    return asyncapi(settings) | {"servers": servers(settings, BaseUrl("127.0.0.1:8000"))}


DOCUMENTS = [pytest.param(whole(each), id=each.auth.value) for each in (OPEN, GUARDED)]


# -- the document in itself ---------------------------------------------------------------------


@pytest.mark.parametrize("made", DOCUMENTS)
def test_references_of_the_document_can_be_resolved(made: Node) -> None:
    found = references(made)
    assert len(found) > 30
    for reference in found:
        assert follow(made, reference) is not None, reference


@pytest.mark.parametrize("made", DOCUMENTS)
def test_messages_of_an_operation_belong_to_its_channel(made: Node) -> None:
    for name, operation in made["operations"].items():
        channel = operation["channel"]["$ref"]
        assert channel.startswith("#/channels/")
        assert operation["action"] == ("receive" if name.startswith("receive") else "send")
        messages = operation["messages"] + operation.get("reply", {}).get("messages", [])
        assert messages
        for message in messages:
            assert message["$ref"].startswith(f"{channel}/messages/"), name


@pytest.mark.parametrize("made", DOCUMENTS)
def test_every_message_and_channel_is_used(made: Node) -> None:
    used = {
        follow(made, message["$ref"])["$ref"]
        for operation in made["operations"].values()
        for message in operation["messages"] + operation.get("reply", {}).get("messages", [])
    }
    assert used == {f"#/components/messages/{name}" for name in made["components"]["messages"]}
    channels = {operation["channel"]["$ref"] for operation in made["operations"].values()}
    assert channels == {f"#/channels/{name}" for name in made["channels"]}


@pytest.mark.parametrize("made", DOCUMENTS)
def test_channels_are_the_endpoints(made: Node) -> None:
    addresses = {channel["address"] for channel in made["channels"].values()}
    assert addresses == set(session._ENDPOINTS)
    for channel in made["channels"].values():
        [server] = channel["servers"]
        events = server["$ref"] == "#/servers/events"
        root = session.EVENTS_ROOT if events else session.STREAM_ROOT
        assert endpoint_of(channel["address"], root=root) is not None


def test_token_is_described_where_it_is_asked_for() -> None:
    assert not any("security" in server for server in whole(OPEN)["servers"].values())
    assert "securitySchemes" not in whole(OPEN)["components"]
    made = whole(GUARDED)
    of = {name: references(server) for name, server in made["servers"].items()}
    prefix = "#/components/securitySchemes/"
    assert of["websocket"] == [prefix + name for name in ("bearer", "subprotocol", "query")]
    assert of["events"] == [prefix + name for name in ("bearer", "query")]


@pytest.mark.parametrize(
    ("base_url", "host", "pathname", "protocols"),
    [
        (BaseUrl("h:1"), "h:1", None, ["ws", "http"]),
        (BaseUrl("h", "/data-engine/ime", secure=True), "h", "/data-engine/ime", ["wss", "https"]),
    ],
)
def test_servers_of_the_document(
    base_url: BaseUrl, host: str, pathname: str | None, protocols: list[str]
) -> None:
    made = servers(OPEN, base_url)
    assert [each["protocol"] for each in made.values()] == protocols
    assert {each["host"] for each in made.values()} == {host}
    assert {each.get("pathname") for each in made.values()} == {pathname}


def test_limits_are_those_of_the_settings() -> None:
    settings = GatewaySettings(
        auth=AuthMode.NONE, max_contracts=7, max_client_message=99, client_rate=2.5
    )
    made = asyncapi(settings)
    query = made["channels"]["websocketByName"]["bindings"]["ws"]["query"]
    assert query["properties"]["contract_names"]["maxItems"] == 7
    said = made["operations"]["receiveWebsocketByName"]["description"]
    assert "99 bytes" in said
    assert "2.5 messages per second" in said


# A proxy in front may send these; the gateway does not.
OTHERS = {CloseCode.UNSUPPORTED_DATA, CloseCode.SERVICE_RESTART}


def test_every_close_code_is_explained() -> None:
    for channel in whole(OPEN)["channels"].values():
        codes = channel["x-close-codes"]
        assert [each["code"] for each in codes] == [c.value for c in CloseCode if c not in OTHERS]
        assert all(each["description"] for each in codes)


# -- messages -----------------------------------------------------------------------------------

MESSAGES = whole(OPEN)["components"]["messages"]


@each_row("name", MESSAGES)
def test_examples_match_their_schemas(name: str) -> None:
    examples = MESSAGES[name]["examples"]
    assert examples
    for example in examples:
        validator(whole(OPEN), name).validate(example["payload"])


def _without(*path: str) -> Any:  # noqa: ANN401 - a function
    def change(message: Any) -> None:  # noqa: ANN401 - JSON
        for key in path[:-1]:
            message = message[key]
        del message[path[-1]]

    return change


def _with(value: object, *path: str) -> Any:  # noqa: ANN401 - a function
    def change(message: Any) -> None:  # noqa: ANN401 - JSON
        for key in path[:-1]:
            message = message[key]
        message[path[-1]] = value

    return change


@each_row(
    ("name", "change"),
    [
        ("streamByName", _without("contractName")),
        ("streamByName", _with("12345", "ContractId")),
        ("streamByName", _with("IME Status", "channel")),
        ("streamByName", _with(None, "timestamp")),
        ("streamByName", _with({}, "data")),
        ("streamByName", _with("5", "data", "BestLimit", "1", "buy_price")),
        ("streamByName", _without("data", "BestLimit", "3")),
        ("streamByName", _without("data", "Aggregate", "low_price")),
        ("streamById", _without("ContractId")),
        ("streamById", _with("ContractA", "contractName")),
        ("status", _with("asleep", "data", "feed")),
        ("status", _without("data", "current")),
        ("status", _with({"IMEFutures": "open"}, "data", "markets")),
        ("control", _with([{"error": "x"}], "data", "errors")),
        ("controlRequest", _with("buy", "action")),
        ("controlRequest", _with("ContractA", "contract_names")),
        ("end", _with(1234, "code")),
    ],
)
def test_wrong_message_does_not_match_its_schema(name: str, change: Any) -> None:  # noqa: ANN401
    # Against the document's own schema: a client's program has no stricter one.
    made = whole(OPEN)
    payload = made["components"]["messages"][name]["payload"]
    valid = Draft7Validator(payload | {"components": made["components"]})
    message = copy.deepcopy(MESSAGES[name]["examples"][0]["payload"])
    assert valid.is_valid(message)
    change(message)
    assert not valid.is_valid(message)


# -- parameters ---------------------------------------------------------------------------------

FIRST = {By.NAME: "contract_names", By.ID: "contract_id"}
ENDPOINTS = {By.NAME: Endpoint.STREAM_BY_NAME, By.ID: Endpoint.STREAM_BY_ID}


WRONG = {
    "snapshot": "perhaps",
    "status": "perhaps",
    "skipped": "perhaps",
    "since": "yesterday",
    "max_rate": "0",
    "sections": "Orders",
}


@each_row("by", By)
def test_every_parameter_is_read_as_described(by: By) -> None:
    properties = query_of(ENDPOINTS[by])["properties"]
    plain = read_request(by, parse_query(by, urlencode({FIRST[by]: "A"})), ZONE)
    for name, schema in properties.items():
        value = {"boolean": "true"}.get(schema["type"]) or schema.get("examples", ["secret"])[0]
        if schema["type"] != "boolean":
            assert Draft7Validator(schema).is_valid(value)
        query = {FIRST[by]: "A"} | {name: value}
        changed = read_request(by, parse_query(by, urlencode(query, doseq=True)), ZONE)
        assert changed != plain, name
    for name, value in WRONG.items():
        assert name in properties
        with pytest.raises(RefusedError, match=name if name != "sections" else "section"):
            read_request(by, parse_query(by, urlencode({FIRST[by]: "A", name: value})), ZONE)


@each_row("by", By)
def test_query_without_contracts_is_neither_described_nor_accepted(by: By) -> None:
    valid = Draft7Validator(query_of(ENDPOINTS[by]))
    assert valid.is_valid({FIRST[by]: ["A"]})
    assert not valid.is_valid({"snapshot": True})
    with pytest.raises(RefusedError, match="no contract"):
        read_request(by, parse_query(by, "snapshot=true"), ZONE)


@each_row("rate", [0.01, 1000, 0.009, 1000.1])
def test_limits_of_a_rate_are_those_described(rate: float) -> None:
    described = Draft7Validator(query_of(Endpoint.STREAM_BY_ID)["properties"]["max_rate"]).is_valid(
        rate
    )
    try:
        read_request(By.ID, parse_query(By.ID, f"contract_id=1&max_rate={rate}"), ZONE)
    except RefusedError:
        assert not described
    else:
        assert described


@each_row("by", By)
def test_alias_of_a_parameter_is_read_like_its_documented_name(by: By) -> None:
    properties = query_of(ENDPOINTS[by])["properties"]
    [(other, schema)] = [(n, s) for n, s in properties.items() if ALIAS in s]
    documented = schema[ALIAS]
    read = [
        read_request(by, parse_query(by, f"{name}=A&{name}=B"), ZONE)
        for name in (documented, other)
    ]
    assert read[0] == read[1]
