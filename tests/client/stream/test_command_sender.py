"""Commands on real sockets: what is asked for, how fast, and what becomes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

import ime_live
from tests.support.stream_messages import timestamp, update
from tests.support.stream_service import connect, control, sending, service, take

Eventually = Callable[..., Awaitable[None]]


async def test_service_without_commands_is_an_error(eventually: Eventually) -> None:
    async with (
        service(sending(update("A", 1))) as made,
        connect(made.url, open_timeout=0.3) as stream,
    ):
        await eventually(lambda: stream.connected)
        with pytest.raises(
            ime_live.ServiceError, match=r"must answer a command within 0\.3 s, got none"
        ):
            await stream.add(["B"])
        assert (await take(stream)).timestamp_text == timestamp(1)  # and the stream lives on


async def test_answer_is_not_overdue_without_a_connection(
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ime_live.client.stream.receiver.random.random", lambda: 0.99)

    async def vanish_on_command(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with service(vanish_on_command, sending(update("A", 1))) as made:
        async with connect(made.url, open_timeout=0.7, max_reconnect_delay=30.0) as stream:
            await eventually(lambda: stream.connected)
            change = asyncio.create_task(stream.add(["B"]))
            await take(stream)  # from the second connection, a second later
            assert not change.done()
        with pytest.raises(
            ime_live.ServiceError, match="the stream cannot be changed: it has ended"
        ):
            await change


async def test_many_changes_stay_within_the_command_rate_of_the_gateway(
    eventually: Eventually,
) -> None:
    got: list[str] = []

    async def listen(connection: ServerConnection) -> None:
        async for message in connection:
            got.append(str(message))  # noqa: PERF401 - the test looks at it meanwhile

    async with service(listen) as made, connect(made.url) as stream:
        await eventually(lambda: stream.connected)
        changes = [asyncio.create_task(stream.add([f"C{n}"])) for n in range(60)]
        await eventually(lambda: len(got) >= 40)
        await asyncio.sleep(0.05)
        assert len(got) < 50  # at once, the gateway takes fifty
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert {type(result) for result in results} == {ime_live.ServiceError}


async def test_reader_of_a_full_queue_may_change_the_selection() -> None:
    async def answer(connection: ServerConnection) -> None:
        for number in range(1, 6):
            await connection.send(update("A", number), text=True)
        async for message in connection:
            await connection.send(control(message, "A", "B"), text=True)

    async with (
        service(answer) as made,
        connect(made.url, queue="block", queue_size=1, open_timeout=1.0) as stream,
    ):
        got = [(await take(stream)).timestamp_text]
        assert (await stream.add(["B"])).contract_names == ("A", "B")
        got += [(await take(stream)).timestamp_text for _ in range(4)]
        assert got == [timestamp(n) for n in range(1, 6)]


async def test_full_queue_does_not_stop_commands_of_the_library() -> None:
    async def answer(connection: ServerConnection) -> None:
        for number in range(1, 6):
            await connection.send(update("A", number), text=True)
        await connection.send(control(await connection.recv(), "A"), text=True)
        await connection.wait_closed()

    async with (
        service(answer) as made,
        connect(
            made.url, "A", contract_ids=[7], queue="block", queue_size=1, open_timeout=0.2
        ) as stream,
    ):
        await asyncio.sleep(0.4)
        assert [(await take(stream)).timestamp_text for _ in range(5)] == [
            timestamp(n) for n in range(1, 6)
        ]
        assert stream.connected


async def test_contracts_beyond_the_length_of_a_url_begin_as_the_program_wants() -> None:
    requested: list[dict[str, Any]] = []

    def listening(*messages: bytes) -> Callable[[ServerConnection], Awaitable[None]]:
        async def listen(connection: ServerConnection) -> None:
            requested.append(msgspec.json.decode(await connection.recv()))
            for message in messages:
                await connection.send(message, text=True)

        return listen

    first, second = listening(), listening(update("A", 1))
    async with (
        service(first, second, sending()) as made,
        connect(made.url, "A", contract_ids=[7], snapshot=False) as stream,
    ):
        await take(stream)
    # A change during a break must not be missed.
    assert [request["snapshot"] for request in requested] == [False, True]
    seventh = [
        update("A", number).replace(b'"contractName":"A"', b'"ContractId":"7"')
        for number in (4, 5, 6)
    ]
    async with (
        service(listening(*seventh), sending()) as made,
        connect(made.url, "A", contract_ids=[7], since=timestamp(5)) as stream,
    ):
        assert (await take(stream)).timestamp_text == timestamp(6)
    assert requested[-1]["snapshot"] is True
