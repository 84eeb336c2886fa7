"""Selecting: a client changes what it wants while its stream runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from ime_live.contracts import Contract
from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Serve, Wire
from tests.stream.test_authentication import header, token
from tests.support.gateways import PATIENCE, Gateway, RawClient, closed, frame_bytes, receive

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]


async def ask(client: ClientConnection, action: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Send a command that changes the selection, and return the answer."""
    await client.send(json.dumps({"action": action, **fields}))
    message = await receive(client)
    assert list(message) == ["channel", "timestamp", "data"]
    assert message["channel"] == "IME Control"
    assert list(message["data"]) == ["id", "action", "contract_names", "contract_ids", "errors"]
    answer: dict[str, Any] = message["data"]
    return answer


async def unsubscribed(wire: Wire, *contracts: Contract) -> None:
    """Wait until no gateway listens to the contracts' channels."""
    async with asyncio.timeout(PATIENCE):
        for contract in contracts:
            while await wire.audience(contract):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)


async def test_subscribe_and_unsubscribe_change_the_selection(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    wire: Wire,
    payload: Payload,
) -> None:
    first, second, third = market.take(3)
    async with gateway.by_name(first.contract_name) as client:
        answer = await ask(
            client,
            "subscribe",
            contract_names=[second.contract_name],
            contract_ids=[int(third.contract_id)],
            id=7,
        )
        assert answer == {
            "id": 7,
            "action": "subscribe",
            "contract_names": [first.contract_name, second.contract_name],
            "contract_ids": [third.contract_id],
            "errors": [],
        }
        for contract in (third, second, first):
            await publisher.publish(contract.contract_id, payload())
        got = [await receive(client) for _ in range(3)]
        assert got[0]["ContractId"] == third.contract_id
        assert [message["contractName"] for message in got[1:]] == [
            second.contract_name,
            first.contract_name,
        ]
        answer = await ask(
            client, "unsubscribe", contract_names=[first.contract_name, third.contract_name]
        )
        assert answer["contract_names"] == [second.contract_name]
        assert answer["contract_ids"] == []
        for count, contract in enumerate((first, third, second)):
            data = payload(Aggregate={"trade_count": 100 + count})
            await publisher.publish(contract.contract_id, data)
        assert (await receive(client))["contractName"] == second.contract_name
        # They have no subscriber any more, so the gateway has unsubscribed.
        await unsubscribed(wire, first, third)
        assert await wire.audience(second) == 1
    await unsubscribed(wire, second)


@pytest.mark.parametrize("connected_with", [None, "true"])
@pytest.mark.parametrize("asked_for", [None, True, False])
async def test_subscribe_with_snapshot_sends_added_contracts_only(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    connected_with: str | None,
    asked_for: bool | None,
) -> None:
    first, second = market.take(2)
    for contract in (first, second):
        await publisher.publish(contract.contract_id, payload())
    parameters = {} if connected_with is None else {"snapshot": connected_with}
    async with gateway.by_id(first.contract_id, **parameters) as client:
        if connected_with:
            assert (await receive(client))["ContractId"] == first.contract_id
        fields = {} if asked_for is None else {"snapshot": asked_for}
        await ask(client, "subscribe", contract_ids=[second.contract_id], **fields)
        if asked_for or (asked_for is None and connected_with):
            message = await receive(client)
            assert (message["ContractId"], message["data"]) == (second.contract_id, payload())
        new = payload(Aggregate={"trade_count": 13})
        await publisher.publish(second.contract_id, new)
        assert (await receive(client))["data"] == new


async def test_subscribe_names_unknown_contracts_and_adds_the_rest(
    guarded: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    first, second, foreign = market.take(3)
    seen = token(contracts=[first.contract_name, f"id:{second.contract_id}"])
    path = guarded.stream("name", [first.contract_name])
    async with guarded.connect(path, **header(seen)) as client:
        answer = await ask(
            client,
            "subscribe",
            contract_names=["سکه‌ای که نیست", foreign.contract_name],
            contract_ids=[second.contract_id],
        )
        assert answer["contract_ids"] == [second.contract_id]
        assert answer["errors"] == [
            {"contract": "سکه‌ای که نیست", "error": "unknown contract: سکه?ای که نیست"},
            {
                "contract": foreign.contract_name,
                "error": f"contract not covered by the token: {foreign.contract_name}",
            },
        ]
        await publisher.publish(second.contract_id, payload())
        assert (await receive(client))["ContractId"] == second.contract_id


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            '{"action": "subscrbe", "id": 3}',
            "action is neither subscribe nor unsubscribe: subscrbe",
        ),
        (
            '{"action": "subscribe", "id": 3, "contract_names": "A"}',
            "Expected `array`, got `str` - at `$.contract_names`",
        ),
    ],
)
async def test_malformed_command_is_answered_with_an_error(
    gateway: Gateway, market: Market, text: str, error: str
) -> None:
    contract = market.one()
    async with gateway.by_id(contract.contract_id) as client:
        await client.send(text)
        assert (await receive(client))["data"] == {
            "id": 3,
            "action": None,
            "contract_names": [],
            "contract_ids": [contract.contract_id],
            "errors": [{"contract": None, "error": error}],
        }
        assert (await ask(client, "subscribe"))["errors"] == []


async def test_subscribe_beyond_the_limit_adds_nothing(serve: Serve, market: Market) -> None:
    contracts = [contract.contract_id for contract in market.take(3)]
    async with serve(max_contracts=2).by_id(contracts[0]) as client:
        answer = await ask(client, "subscribe", contract_ids=contracts[1:])
        assert answer["contract_ids"] == contracts[:1]
        assert answer["errors"] == [{"contract": None, "error": "too many contracts: 3, at most 2"}]
        answer = await ask(client, "subscribe", contract_ids=contracts[1:2])
        assert (answer["contract_ids"], answer["errors"]) == (contracts[:2], [])


async def test_message_without_an_action_gets_no_answer(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    async with gateway.by_id(contract.contract_id) as client:
        for text in ("ping", "{}", "[1]", '{"type": "subscribe"}', "😀", b"\x00\xff", ""):
            await client.send(text)
        await publisher.publish(contract.contract_id, payload())
        assert (await receive(client))["channel"] == "IME Stream"


async def test_command_in_fragments_with_a_pong_between_is_read(
    gateway: Gateway, market: Market
) -> None:
    contract = market.one()
    path = gateway.stream("id", [contract.contract_id])
    text = b'{"action": "unsubscribe", "contract_ids": ["%s"]}' % contract.contract_id.encode()
    async with await RawClient.stream(gateway, path) as client:
        await client.send(
            frame_bytes(0x1, text[:20], fin=False)
            + frame_bytes(0xA)
            + frame_bytes(0x0, text[20:30], fin=False)
            + frame_bytes(0x0, text[30:])
        )
        answer = json.loads((await client.frame()).payload)["data"]
        assert (answer["action"], answer["contract_ids"]) == ("unsubscribe", [])


async def test_command_that_is_not_utf_8_is_1007(gateway: Gateway, market: Market) -> None:
    path = gateway.stream("id", [market.one().contract_id])
    async with await RawClient.stream(gateway, path) as client:
        await client.send(frame_bytes(0x2, b"\xff", fin=False) + frame_bytes(0x0, b"\xfe"))
        await client.send(frame_bytes(0x1, "س".encode()[:1], fin=False))
        await client.send(frame_bytes(0x0, b"\xff"))
        frame = await client.frame()
        assert (frame.close.code, frame.close.reason) == (1007, "invalid UTF-8")


async def test_commands_are_handled_in_order(gateway: Gateway, market: Market) -> None:
    contracts = [contract.contract_id for contract in market.take(20)]
    async with gateway.by_id(contracts[0]) as client:
        for n, contract_id in enumerate(contracts):
            fields = {"contract_ids": [contract_id], "id": n}
            await client.send(json.dumps({"action": "subscribe", **fields}))
        for n in range(len(contracts)):
            answer = (await receive(client))["data"]
            assert answer["id"] == n
            assert answer["contract_ids"] == contracts[: n + 1]


async def test_subscribe_sends_a_status_of_the_new_selection_at_once(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    first, second = market.take(2)
    await publisher.publish(second.contract_id, payload())
    async with gateway.by_id(first.contract_id, status="true", snapshot="true") as client:
        assert (await receive(client))["data"]["contracts"] == {first.contract_id: None}
        await ask(client, "subscribe", contract_ids=[second.contract_id])
        state, status = await receive(client), await receive(client)
        assert state["channel"] == "IME Stream"
        assert status["channel"] == "IME Status"
        assert status["data"]["current"] is True
        assert status["data"]["contracts"] == {
            first.contract_id: None,
            second.contract_id: state["timestamp"],
        }


@pytest.mark.parametrize(
    ("message", "request_id", "error"),
    [
        (
            b'{"action": "subscribe", "id": 7}',
            7,
            "a control message must be text, got binary",
        ),
        ('\ufeff{"action": "subscribe", "id": 7}', 7, "got a byte-order mark"),
        ('{"action": "subscribe", "id": 7', None, "a control message must be valid JSON: "),
        (b'{"action": "subscribe", "id": 7', None, "a control message must be valid JSON: "),
        (['{"action": "sub', 'scribe", "id": 7,}'], None, "trailing comma"),
    ],
)
async def test_command_in_a_wrong_wrapping_is_answered_with_an_error(
    gateway: Gateway,
    market: Market,
    message: str | bytes | list[str],
    request_id: int | None,
    error: str,
) -> None:
    contract = market.one()
    async with gateway.by_id(contract.contract_id) as client:
        for ignored in (b"\x00\xff", b'{"a": 1}', '{"a": {"action": 1}', "\ufeffping", b"["):
            await client.send(ignored)
        await client.send(message)
        data = (await receive(client))["data"]
        assert (data["id"], data["action"]) == (request_id, None)
        assert data["contract_ids"] == [contract.contract_id]
        [fault] = data["errors"]
        assert fault["contract"] is None
        assert error in fault["error"]


async def test_commands_of_a_stalled_client_wait_and_are_bounded(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    gateway = serve(client_rate=100_000)
    contracts: list[Contract] = market.take(40)
    path = gateway.stream("id", [contract.contract_id for contract in contracts])
    async with await RawClient.stream(gateway, path, receive_buffer=4096) as client:
        for count in range(40):
            await publisher.publish_many(
                (contract.contract_id, payload(Aggregate={"trade_count": count}))
                for contract in contracts
            )
        await eventually(lambda: gateway.metric("conflated_total") > 0)
        request = b'{"action": "unsubscribe", "contract_ids": ["%d"]}'
        for contract in contracts[:3]:
            await client.send(frame_bytes(0x1, request % int(contract.contract_id)))
        # It reads again: what it missed, then the answers, in order.
        answers: list[list[str]] = []
        while len(answers) < 3:
            frame = await client.frame()
            if frame.opcode == 0x1 and b"IME Control" in frame.payload:
                answers.append(json.loads(frame.payload)["data"]["contract_ids"])
        assert [len(answer) for answer in answers] == [39, 38, 37]
        conflated = gateway.metric("conflated_total")
        for count in range(40):
            await publisher.publish_many(
                (contract.contract_id, payload(Aggregate={"trade_count": 100 + count}))
                for contract in contracts
            )
        await eventually(lambda: gateway.metric("conflated_total") > conflated)
        await client.send(frame_bytes(0x1, request % 1) * 150)
        # Were it to read now, its requests would be answered as they come.
        await eventually(lambda: gateway.metric("connections_closed_total", code="1008") == 1)
        frame = await client.frame()
        while frame.opcode != 0x8:
            frame = await client.frame()
        assert (frame.close.code, frame.close.reason) == (1008, "too many messages")


async def test_client_leaving_during_a_command_leaves_no_subscription(
    serve: Serve, market: Market, wire: Wire, eventually: Eventually
) -> None:
    gateway = serve()
    contracts = market.take(30)
    for _ in range(10):
        path = gateway.stream("id", [contracts[0].contract_id])
        client = await RawClient.stream(gateway, path)
        ids = [contract.contract_id for contract in contracts[1:]]
        text = json.dumps({"action": "subscribe", "contract_ids": ids}).encode()
        await client.send(frame_bytes(0x1, text))
        client.reset()
    await eventually(lambda: gateway.metric("connections") == 0)
    await eventually(lambda: gateway.metric("contracts_subscribed") == 0)
    await unsubscribed(wire, *contracts)


async def test_expired_token_ends_a_stream_with_commands(guarded: Gateway, market: Market) -> None:
    first, second = market.take(2)
    path = guarded.stream("id", [first.contract_id])
    async with guarded.connect(path, **header(token(1.0))) as client:
        await ask(client, "subscribe", contract_ids=[second.contract_id])
        end = await closed(client)
        assert (end.code, end.reason) == (1008, "token expired")
