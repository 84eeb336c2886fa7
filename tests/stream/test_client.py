"""The client library on a real gateway: what a program asks for and what it gets."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

import ime_live
from ime_live import UnknownContractError
from ime_live.client.protocol.message import Message
from ime_live.contracts import Contract
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from tests.stream.conftest import SECRET, Market, Serve, register
from tests.stream.test_authentication import token
from tests.support.gateways import PATIENCE, Gateway
from tests.support.tls import TlsProxy

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]
T = TypeVar("T")


async def within(work: Awaitable[T]) -> T:
    """Return the result of an awaitable, or fail if it takes too long."""
    async with asyncio.timeout(PATIENCE):
        return await work


async def take(stream: ime_live.Stream[ime_live.Payload]) -> Message[ime_live.Payload]:
    """The next message."""
    return await within(anext(stream))


def connect(
    gateway: Gateway,
    *contracts: Contract,
    **options: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401 - sections= makes it another type
    """Connect to contracts by their names."""
    names = [contract.contract_name for contract in contracts]
    return ime_live.connect(gateway.url(""), names, proxy=None, **options)


def counted(payload: Payload, count: int) -> dict[str, Any]:
    """A state that a test can tell from others."""
    return payload(Aggregate={"trade_count": count})


def serving_tokens(serve: Serve) -> Gateway:
    """A gateway whose clock is taken to be that of the tokens' issuer."""
    return serve(auth="jwt", jwt_leeway=0, variables={"IME_LIVE_JWT_SECRET": SECRET})


async def test_snapshot_comes_before_every_change(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    by_name, by_id = market.take(2)
    await publisher.publish(by_name.contract_id, counted(payload, 1))
    await publisher.publish(by_id.contract_id, counted(payload, 2))
    async with ime_live.connect(
        gateway.url(""), [by_name.contract_name], [int(by_id.contract_id)], proxy=None
    ) as stream:
        first = {m.key: m for m in [await take(stream), await take(stream)]}
        assert set(first) == {("name", by_name.contract_name), ("id", by_id.contract_id)}
        assert repr(stream) == "<Stream connected>"
        for count in range(3, 6):
            outcome = await publisher.publish(by_id.contract_id, counted(payload, count))
            message = await take(stream)
            assert message.contract_id == by_id.contract_id
            assert message.data.aggregate.trade_count == count
            assert int(message.timestamp.timestamp() * 1e6 + 0.5) == outcome.version
    assert not stream.connected
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.parametrize("scheme", ["wss", "https"])
async def test_stream_and_rest_through_tls(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    tls, contract = TlsProxy(tmp_path), market.one()
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))
    await publisher.publish(contract.contract_id, counted(payload, 1))
    async with tls.before(gateway.port) as place:
        url = f"{scheme}://{place}"
        async with ime_live.connect(url, [contract.contract_name], proxy=None) as stream:
            assert (await take(stream)).data.aggregate.trade_count == 1
        found = await ime_live.AsyncClient(url).snapshot([contract.contract_name])
        state = found[contract.contract_name]
        assert state is not None
        assert state.aggregate.trade_count == 1


async def test_stream_without_snapshot_has_changes_only(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, counted(payload, 1))
    async with connect(gateway, contract, snapshot=False) as stream:
        await eventually(lambda: stream.connected)
        await publisher.publish(contract.contract_id, counted(payload, 2))
        message = await take(stream)
        assert message.data.aggregate.trade_count == 2
    # A later run continues from there.
    await publisher.publish(contract.contract_id, counted(payload, 3))
    async with connect(gateway, contract, since=message.timestamp) as stream:
        assert (await take(stream)).data.aggregate.trade_count == 3
    async with connect(gateway, contract, since=(message.timestamp_text)) as stream:
        assert (await take(stream)).data.aggregate.trade_count == 3


async def test_selection_changes_during_the_stream(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    first, second, third = market.take(3)
    for count, contract in enumerate((first, second, third)):
        await publisher.publish(contract.contract_id, counted(payload, count))
    async with connect(gateway, first) as stream:
        assert (await take(stream)).contract_name == first.contract_name
        selected = await within(stream.add([second.contract_name], [third.contract_id]))
        assert selected.contract_names == (first.contract_name, second.contract_name)
        assert selected.contract_ids == (third.contract_id,)
        keys = {(await take(stream)).key, (await take(stream)).key}
        assert keys == {("name", second.contract_name), ("id", third.contract_id)}
        # Adding a contract twice adds it once.
        await within(stream.add([second.contract_name]))
        # An unknown contract does not prevent the others from being added.
        added = market.one()
        with pytest.raises(UnknownContractError, match=r"^unknown contract: NOPE$"):
            await within(stream.add(["NOPE", added.contract_name]))
        assert added.contract_name in stream.contracts.contract_names
        rest = await within(stream.remove([first.contract_name, added.contract_name]))
        assert rest == ime_live.Selected((second.contract_name,), (third.contract_id,))
        await publisher.publish(first.contract_id, counted(payload, 10))
        await publisher.publish(second.contract_id, counted(payload, 11))
        message = await take(stream)
        assert (message.contract_name, message.data.aggregate.trade_count) == (
            second.contract_name,
            11,
        )
        # A contract that is added again begins with its present state.
        await within(stream.add([first.contract_name]))
        assert (await take(stream)).data.aggregate.trade_count == 10
        # And without contracts at all the stream stays open.
        await within(stream.remove(stream.contracts.contract_names, [third.contract_id]))
        assert stream.contracts == ime_live.Selected((), ())
        await within(stream.add([third.contract_name]))
        assert (await take(stream)).contract_name == third.contract_name


async def test_selection_longer_than_a_url_is_streamed(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contracts = market.contracts[-300:]  # beyond those that other tests draw; only read here
    async with connect(gateway, *contracts) as stream:
        last = contracts[-1]
        await publisher.publish(last.contract_id, counted(payload, 1))
        while (await take(stream)).contract_name != last.contract_name:
            pass
        assert set(stream.contracts.contract_names) == {c.contract_name for c in contracts}


async def test_delivery_options_reach_the_gateway(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, counted(payload, 1))
    async with connect(
        gateway, contract, sections=["ContractInfo"], skipped=True, status=True, max_rate=100
    ) as stream:
        message = await within(anext(stream))
        assert set(message.to_dict()["data"]) == {"ContractInfo"}
        assert message.to_dict()["skipped"] == 0
        await eventually(lambda: stream.status is not None)
        assert stream.status.current
        assert stream.status.contracts == {contract.contract_name: message.timestamp}
    assert stream.status is None


async def test_slow_consumer_does_not_delay_receiving(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    one, two = market.take(2)
    async with connect(gateway, one, two, snapshot=False) as stream:
        await eventually(lambda: stream.connected)
        for count in range(1, 51):
            await publisher.publish(one.contract_id, counted(payload, count))
        await publisher.publish(two.contract_id, counted(payload, 1))
        await eventually(lambda: stream.skipped == 49)
        message = await take(stream)
        assert (message.data.aggregate.trade_count, message.skipped) == (50, 49)
        assert (await take(stream)).contract_name == two.contract_name


async def test_blocking_queue_loses_no_received_message(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    contract = market.one()
    async with connect(gateway, contract, snapshot=False, queue="block", queue_size=2) as stream:
        await eventually(lambda: stream.connected)
        for count in range(1, 31):
            await publisher.publish(contract.contract_id, counted(payload, count))
        await eventually(lambda: stream._receiver.full)
        counts = [(await take(stream)).data.aggregate.trade_count for _ in range(30)]
        assert counts == list(range(1, 31))
        assert stream.skipped == 0
        # A full queue does not keep the stream from being closed.
        for count in range(1, 11):
            await publisher.publish(contract.contract_id, counted(payload, count))
        await eventually(lambda: stream._receiver.full)


async def test_stream_leaves_no_task_after_any_end(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())

    async def read_for_ever() -> None:
        async with connect(gateway, contract) as stream:
            async for _ in stream:
                pass

    reader = asyncio.create_task(read_for_ever())
    await asyncio.sleep(0.1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    with pytest.raises(ZeroDivisionError):
        async with connect(gateway, contract):
            raise ZeroDivisionError
    async with connect(gateway, contract) as stream:
        change = asyncio.create_task(stream.add(["NOPE"]))
        change.cancel()
    with pytest.raises(ime_live.ServiceError, match="the stream cannot be changed: it has ended"):
        await stream.add([contract.contract_name])
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_log_contains_no_token(
    guarded: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    contract, secret = market.one(), token()
    await publisher.publish(contract.contract_id, payload())
    async with connect(guarded, contract, token=secret) as stream:
        await take(stream)
        assert secret not in repr(stream)
    assert any(record.name == "ime_live.client" for record in caplog.records)
    assert secret not in caplog.text


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_token_function_is_called_when_a_token_has_expired(
    guarded: Gateway, market: Market, publisher: Publisher, payload: Payload, kind: str
) -> None:
    contract = market.one()
    requests = 0

    def fetch() -> str:
        nonlocal requests
        requests += 1
        return token(3600.0 if requests > 1 else -3600.0)

    async def fetch_async() -> str:
        return fetch()

    source = fetch if kind == "plain" else fetch_async
    async with connect(guarded, contract, token=source) as stream:
        await publisher.publish(contract.contract_id, counted(payload, 1))
        assert (await take(stream)).data.aggregate.trade_count == 1
    assert requests == 2


async def test_short_lived_tokens_in_a_quiet_market(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    gateway, contract = serving_tokens(serve), market.one()
    made: list[str] = []

    def fetch() -> str:
        made.append(token(1.0))
        return made[-1]

    async with connect(gateway, contract, token=fetch, max_reconnect_delay=0.2) as stream:
        # Each is accepted, and nothing is traded: only an answer to a ping shows that it was good.
        await eventually(lambda: len(made) >= 4 and stream.connected, PATIENCE)
        await publisher.publish(contract.contract_id, counted(payload, 1))
        assert (await take(stream)).data.aggregate.trade_count == 1


async def test_outdated_token_of_a_cache_is_retried(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    gateway, contract = serving_tokens(serve), market.one()
    first, began = token(1.0), time.monotonic()
    requests = 0

    def fetch() -> str:
        nonlocal requests
        requests += 1
        return first if time.monotonic() - began < 3.0 else token()

    async with connect(gateway, contract, token=fetch) as stream:
        await eventually(lambda: stream.connected)
        await eventually(lambda: time.monotonic() - began > 3.0 and stream.connected, PATIENCE)
        await publisher.publish(contract.contract_id, counted(payload, 1))
        assert (await take(stream)).data.aggregate.trade_count == 1
        assert 3 <= requests < 20


@pytest.mark.parametrize("claim", ["iat", "nbf"])
async def test_token_of_an_issuer_with_a_clock_ahead_is_retried(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload, claim: str
) -> None:
    gateway, contract = serving_tokens(serve), market.one()
    await publisher.publish(contract.contract_id, counted(payload, 1))
    claims: dict[str, Any] = {claim: time.time() + 2.0}
    ahead = token(**claims)
    async with connect(gateway, contract, token=ahead) as stream:
        assert (await take(stream)).data.aggregate.trade_count == 1


async def test_bad_token_is_an_error(guarded: Gateway, market: Market) -> None:
    contract = market.one()
    for source, reason in (
        (None, "authentication required"),
        ("nonsense", "invalid token"),
        (lambda: token(-3600.0), "token expired"),
    ):
        async with connect(guarded, contract, token=source) as stream:
            with pytest.raises(ime_live.AuthenticationError, match=reason):
                await take(stream)
            with pytest.raises(ime_live.AuthenticationError, match=reason):
                await stream.add(["A"])

    def broken() -> str:
        raise LookupError("no token today")

    async with connect(guarded, contract, token=broken) as stream:
        with pytest.raises(LookupError, match="no token today"):
            await take(stream)


async def test_unknown_contract_is_an_error(gateway: Gateway, market: Market) -> None:
    names = [market.one().contract_name, "NOPE"]
    async with ime_live.connect(gateway.url(""), names, proxy=None) as stream:
        with pytest.raises(UnknownContractError, match=r"^unknown contract: NOPE$"):
            await take(stream)


async def test_another_refusal_is_an_error(gateway: Gateway, market: Market) -> None:
    async with connect(gateway, market.one(), max_rate=5e9) as stream:
        with pytest.raises(ime_live.RefusedError, match="max_rate") as caught:
            await take(stream)
        assert caught.value.code == 1008
    wrong = ime_live.connect(gateway.url("/nowhere"), ["A"], proxy=None)
    async with wrong as stream:
        with pytest.raises(ime_live.ServiceError, match="HTTP 404") as failed:
            await take(stream)
        assert failed.value.status == 404


# -- the plain twin -----------------------------------------------------------------------------


def test_blocking_stream_in_a_plain_program(
    gateway: Gateway,
    market: Market,
    payload: Payload,
    backend: EmbeddedValkey,
) -> None:
    first, second = market.take(2)

    async def publish() -> None:
        async with Publisher(backend.url) as publisher:
            for count, contract in enumerate((first, second)):
                await publisher.publish(contract.contract_id, counted(payload, count))

    asyncio.run(publish())
    threads = threading.active_count()
    with connect(gateway, first) as stream:
        assert [m.contract_name for m in islice(stream, 1)] == [first.contract_name]
        with pytest.raises(TimeoutError):
            stream.receive(timeout=0.05)
        assert stream.add([second.contract_name]).contract_names == (
            first.contract_name,
            second.contract_name,
        )
        assert next(stream).contract_name == second.contract_name
        with pytest.raises(UnknownContractError):
            stream.add(["NOPE"])
        assert stream.remove([first.contract_name]).contract_names == (second.contract_name,)
        assert (stream.connected, stream.skipped, stream.status) == (True, 0, None)
    assert list(stream) == []
    assert threading.active_count() == threads


async def test_blocking_stream_inside_a_running_event_loop(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    for count in range(1, 4):
        await publisher.publish(contract.contract_id, counted(payload, count))
    with connect(gateway, contract) as stream:  # as in a notebook's cell
        assert next(stream).data.aggregate.trade_count == 3


@pytest.mark.parametrize("plain", [True, False])
async def test_closing_sends_a_close_frame(
    serve: Serve, market: Market, eventually: Eventually, plain: bool
) -> None:
    gateway, contract = serve(), market.one()
    for _ in range(10):
        if plain:
            with connect(gateway, contract, snapshot=False) as stream:
                await eventually(lambda: stream.connected)
        else:
            async with connect(gateway, contract, snapshot=False) as stream:
                await eventually(lambda: stream.connected)
    await eventually(lambda: len(gateway.events("stream closed")) == 10)
    assert {each["code"] for each in gateway.events("stream closed")} == {1000}


async def test_busy_blocking_consumer_does_not_stop_receiving(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    contract = market.one()
    with connect(gateway, contract, queue="block", queue_size=5, snapshot=False) as stream:
        await eventually(lambda: stream.connected)
        for count in range(1, 21):
            await publisher.publish(contract.contract_id, counted(payload, count))
        got = [stream.receive(PATIENCE) for _ in range(20)]
        assert [m.data.aggregate.trade_count for m in got] == list(range(1, 21))


def test_blocking_stream_raises_the_same_errors(gateway: Gateway, guarded: Gateway) -> None:
    with (
        ime_live.connect(gateway.url(""), ["NOPE"], proxy=None) as stream,
        pytest.raises(UnknownContractError),
    ):
        next(stream)
    with (
        ime_live.connect(guarded.url(""), ["A"], token="x", proxy=None) as stream,
        pytest.raises(ime_live.AuthenticationError),
    ):
        next(stream)


async def test_stream_can_be_entered_once(gateway: Gateway, market: Market) -> None:
    connecting = connect(gateway, market.one())
    async with connecting:
        pass
    with pytest.raises(RuntimeError, match="cannot be entered twice"), connecting:
        pass


# -- breaks -------------------------------------------------------------------------------------


async def test_contract_removed_during_an_outage_ends_the_stream(
    serve: Serve,
    own_valkey: EmbeddedValkey,
    eventually: Eventually,
) -> None:
    known = Contract(contract_id="1", contract_name="GOES")
    other = Contract(contract_id="2", contract_name="STAYS")
    await register(own_valkey.url, known, other)
    gateway = serve(own_valkey.url)
    async with connect(gateway, known, other, max_reconnect_delay=0.05) as stream:
        await eventually(lambda: stream.connected)
        gateway.process.kill()
        await eventually(lambda: not stream.connected)
        with redis.Redis.from_url(own_valkey.url) as client:
            client.hdel("ime:contracts", "1")
        serve(own_valkey.url, port=gateway.port)
        with pytest.raises(UnknownContractError, match="GOES"):
            await take(stream)
