"""The receiver on real sockets: how connections end, and what a client does about it."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import re
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

import ime_live
from ime_live.backoff import Backoff
from ime_live.log_limiter import LogLimiter
from tests.client.service import deaf_service, service
from tests.client.texts import stamp, update

PATIENCE = 15.0
Eventually = Callable[..., Awaitable[None]]


def connect(url: str, *names: str, **options: Any) -> Any:  # noqa: ANN401 - sections= and such
    """Connect, with short waits between two tries."""
    return ime_live.connect(
        url, names or ["A"], **{"proxy": None, "max_reconnect_delay": 0.02} | options
    )


async def take(stream: ime_live.Stream[ime_live.Payload]) -> ime_live.Message[ime_live.Payload]:
    """The next message."""
    async with asyncio.timeout(PATIENCE):
        return await anext(stream)


def closing(code: int, reason: str = "") -> Callable[[ServerConnection], Awaitable[None]]:
    """Close at once."""

    async def close(connection: ServerConnection) -> None:
        await connection.close(code, reason)

    return close


def sending(*messages: bytes) -> Callable[[ServerConnection], Awaitable[None]]:
    """Send messages and stay."""

    async def send(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message, text=True)
        await connection.wait_closed()

    return send


def control(request: bytes | str, *names: str) -> bytes:
    """The answer to a request, when these contracts are held by name."""
    asked = msgspec.json.decode(request)
    data = {"id": asked["id"], "action": asked["action"], "contract_names": names}
    whole = {"channel": "IME Control", "timestamp": stamp(0)}
    return msgspec.json.encode({**whole, "data": {**data, "contract_ids": [], "errors": []}})


async def aborting(connection: ServerConnection) -> None:
    """Vanish: 1006."""
    connection.transport.abort()


@pytest.mark.parametrize(
    "end",
    [closing(1001, "going away"), aborting, closing(1011), closing(1012), closing(1013), 503, 429],
    ids=["1001", "1006", "1011", "1012", "1013", "HTTP 503", "HTTP 429"],
)
async def test_ends_after_which_it_reconnects(end: Any) -> None:  # noqa: ANN401 - as service takes
    async with service(end, end, sending(update("A", 1))) as made, connect(made.url) as stream:
        assert (await take(stream)).timestamp_text == stamp(1)
        assert len(made.paths) == 3


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009])
async def test_ends_that_are_errors(code: int) -> None:
    async with (
        service(closing(code, "so it is")) as made,
        connect(made.url) as stream,
    ):
        with pytest.raises(ime_live.RefusedError, match="so it is") as caught:
            await take(stream)
        assert caught.value.code == code
        with pytest.raises(ime_live.RefusedError, match="so it is"):  # it stays so
            await take(stream)
        assert len(made.paths) == 1


async def test_nobody_listens_yet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}") as stream:
            reading = asyncio.create_task(anext(stream))
            await asyncio.sleep(0.2)
            assert not reading.done()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    # An outage is said once, not once a try.
    assert len(caplog.records) == 1
    assert "no connection" in caplog.text


async def test_what_was_received_is_not_asked_for_and_not_given_out_twice() -> None:
    async def first(connection: ServerConnection) -> None:
        for message in (update("B", 5), update("A", 3)):
            await connection.send(message, text=True)
        connection.transport.close()

    again = sending(update("B", 5), update("A", 3), update("B", 4), update("A", 6))
    async with service(first, again) as made:
        async with connect(made.url, "A", "B", queue="block") as stream:
            got = [
                (m.contract_name, m.timestamp_text) for m in [await take(stream) for _ in range(3)]
            ]
        assert got == [("B", stamp(5)), ("A", stamp(3)), ("A", stamp(6))]
        assert "snapshot=true" in made.paths[0]
        assert f"since={stamp(3).replace(':', '%3A')}" in made.paths[1]
        assert "snapshot" not in made.paths[1]


async def test_a_contract_that_never_came_is_asked_for_with_the_others_states() -> None:
    async def first(connection: ServerConnection) -> None:
        await connection.send(update("A", 3), text=True)
        connection.transport.close()

    async with service(first, sending(update("A", 3), update("B", 1))) as made:
        async with connect(made.url, "A", "B", snapshot=False) as stream:
            assert [(await take(stream)).contract_name for _ in range(2)] == ["A", "B"]
        assert "snapshot" not in made.paths[0]
        assert "snapshot=true" in made.paths[1]


async def test_a_service_that_froze_is_left(eventually: Eventually) -> None:
    async with deaf_service() as url:
        for options in ({"stale_after": 0.2}, {"ping_interval": 0.1, "ping_timeout": 0.1}):
            async with connect(url, **options) as stream:
                await eventually(lambda stream=stream: stream.connected)
                await eventually(lambda stream=stream: not stream.connected)
                await eventually(lambda stream=stream: stream.connected)


async def test_a_service_that_does_not_answer_the_handshake(eventually: Eventually) -> None:
    tries = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(url, open_timeout=0.1):
            await eventually(lambda: tries >= 2)


async def test_a_queue_that_is_full_is_not_silence() -> None:
    async with service(sending(update("A", 1), update("A", 2), update("A", 3))) as made:
        async with connect(made.url, queue="block", queue_size=1, stale_after=0.1) as stream:
            await asyncio.sleep(0.5)
            assert [(await take(stream)).timestamp_text for _ in range(3)] == [
                stamp(n) for n in (1, 2, 3)
            ]
        assert len(made.paths) == 1


@pytest.mark.parametrize("message", [b"hello", b"{}"])
async def test_what_is_no_message_ends_the_stream(message: bytes) -> None:
    async with (
        service(sending(update("A", 1), message)) as made,
        connect(made.url) as stream,
    ):
        assert (await take(stream)).timestamp_text == stamp(1)  # what was good comes first
        with pytest.raises(ime_live.ServiceError, match="cannot be read"):
            await take(stream)


async def test_channels_of_the_future_are_passed_over() -> None:
    news = b'{"channel": "IME News", "data": {}}'
    async with service(sending(news, update("A", 1))) as made, connect(made.url) as stream:
        assert (await take(stream)).timestamp_text == stamp(1)


async def test_a_service_that_does_not_know_requests(eventually: Eventually) -> None:
    async with (
        service(sending(update("A", 1))) as made,
        connect(made.url, open_timeout=0.3) as stream,
    ):
        await eventually(lambda: stream.connected)
        with pytest.raises(
            ime_live.ServiceError, match=r"must answer a command within 0\.3 s, got none"
        ):
            await stream.add(["B"])
        assert (await take(stream)).timestamp_text == stamp(1)  # and the stream lives on


async def test_without_a_connection_no_answer_is_overdue(
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ime_live.client.stream.receiver.random.random", lambda: 0.99)

    async def vanish_when_asked(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with service(vanish_when_asked, sending(update("A", 1))) as made:
        async with connect(made.url, open_timeout=0.7, max_reconnect_delay=30.0) as stream:
            await eventually(lambda: stream.connected)
            change = asyncio.create_task(stream.add(["B"]))
            await take(stream)  # from the second connection, a second later
            assert not change.done()
        with pytest.raises(ime_live.ServiceError, match="the stream has ended"):
            await change


async def test_a_redirect_is_not_followed_with_the_token() -> None:
    async with (
        service(302) as made,
        connect(made.url, token="SECRET") as stream,
    ):
        with pytest.raises(ime_live.ServiceError, match="HTTP 302"):
            await take(stream)
        assert made.authorizations == ["Bearer SECRET"]


async def test_many_changes_at_once_keep_within_the_gateways_limit(
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


async def test_a_full_queue_loses_nothing_when_the_connection_ends(
    eventually: Eventually,
) -> None:
    async def first(connection: ServerConnection) -> None:
        for number in (1, 2, 3):
            await connection.send(update("A", number), text=True)

    again = sending(*(update("A", number) for number in (2, 3, 4)))
    async with service(first, again) as made:
        async with connect(made.url, queue="block", queue_size=1) as stream:
            await eventually(lambda: stream._receiver.full)
            await eventually(lambda: not stream.connected)  # it is noticed all the same
            change = asyncio.create_task(stream.add(["B"]))
            await eventually(lambda: len(made.paths) == 2)
            assert [(await take(stream)).timestamp_text for _ in range(4)] == [
                stamp(n) for n in range(1, 5)
            ]
            assert not stream._receiver.full
        await asyncio.gather(change, return_exceptions=True)


async def test_what_was_received_can_be_read_after_the_end(eventually: Eventually) -> None:
    async with service(sending(update("A", 1), update("A", 2))) as made:
        async with connect(made.url, queue="block", queue_size=1) as stream:
            await eventually(lambda: stream._receiver.full)
        assert [message.timestamp_text async for message in stream] == [stamp(1), stamp(2)]
        assert not stream._receiver.full


async def test_who_reads_a_full_queue_may_change_the_selection() -> None:
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
        assert got == [stamp(n) for n in range(1, 6)]


@asynccontextmanager
async def proxy_answering(*statuses: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP proxy that refuses to connect, one status a try, the last one repeated."""
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        status = statuses[min(len(asked), len(statuses)) - 1]
        writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield f"http://me:SECRET@127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_a_proxy_that_cannot_reach_the_service(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ime_live.client")
    async with (
        proxy_answering(502, 503, 407) as (proxy, asked),
        connect("ws://127.0.0.1:1", proxy=proxy) as stream,
    ):
        with pytest.raises(ime_live.ServiceError, match="HTTP 407"):
            await take(stream)
        assert len(asked) == 3
    assert "HTTP 502" in caplog.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("proxy", ["ftp://me:SECRET@host", "http://me:pa/SECRET@host"])
async def test_a_proxy_of_the_environment_that_cannot_be(
    proxy: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ime_live.client")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ws_proxy", proxy)
    async with connect("ws://127.0.0.1:1", proxy=True) as stream:
        with pytest.raises(ime_live.ServiceError, match="proxy") as caught:
            await take(stream)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value)) + caplog.text


async def test_a_full_queue_does_not_end_what_the_library_asks_for_itself() -> None:
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
            stamp(n) for n in range(1, 6)
        ]
        assert stream.connected


async def test_what_does_not_fit_into_the_address_begins_as_the_program_wants() -> None:
    asked: list[dict[str, Any]] = []

    def listening(*messages: bytes) -> Callable[[ServerConnection], Awaitable[None]]:
        async def listen(connection: ServerConnection) -> None:
            asked.append(msgspec.json.decode(await connection.recv()))
            for message in messages:
                await connection.send(message, text=True)

        return listen

    first, second = listening(), listening(update("A", 1))
    async with (
        service(first, second, sending()) as made,
        connect(made.url, "A", contract_ids=[7], snapshot=False) as stream,
    ):
        await take(stream)
    # What changed over a break must not be missed.
    assert [request["snapshot"] for request in asked] == [False, True]
    seventh = [
        update("A", number).replace(b'"contractName":"A"', b'"ContractId":"7"')
        for number in (4, 5, 6)
    ]
    async with (
        service(listening(*seventh), sending()) as made,
        connect(made.url, "A", contract_ids=[7], since=stamp(5)) as stream,
    ):
        assert (await take(stream)).timestamp_text == stamp(6)
    assert asked[-1]["snapshot"] is True


async def test_a_contract_by_name_and_by_id_is_resumed_like_any_other(
    eventually: Eventually,
) -> None:
    async def first(connection: ServerConnection) -> None:
        request = await connection.recv()
        await connection.send(control(request, "A"), text=True)
        await connection.send(update("A", 3), text=True)

    async with service(first, sending(update("A", 4))) as made:
        async with connect(made.url, "A", contract_ids=[7], queue="drop_oldest") as stream:
            assert [(await take(stream)).timestamp_text for _ in range(2)] == [stamp(3), stamp(4)]
            assert stream.contracts == ime_live.Selected(("A",), ())
        assert "since=" in made.paths[1]


# -- tokens -------------------------------------------------------------------------------------

EXPIRED = closing(1008, "token expired")
NOT_YET = closing(1008, "token not yet valid")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between two connections so far."""
    found: list[float] = []
    following = Backoff.next

    def next_wait(backoff: Backoff) -> float:
        found.append(following(backoff))
        return found[-1]

    monkeypatch.setattr(Backoff, "next", next_wait)
    return found


@pytest.mark.parametrize("token", ["t", lambda: "t"], ids=["text", "function"])
async def test_token_that_has_expired_is_tried_again(
    token: ime_live.Token, waits: list[float]
) -> None:
    ends = (EXPIRED, NOT_YET, EXPIRED, EXPIRED, sending(update("A", 1)))
    async with service(*ends) as made, connect(made.url, token=token) as stream:
        assert (await take(stream)).timestamp_text == stamp(1)
    assert len(made.paths) == 5
    assert len(waits) == 4


@pytest.mark.parametrize("end", [EXPIRED, NOT_YET], ids=["expired", "not yet valid"])
async def test_token_that_stays_expired_is_an_error(
    end: Callable[[ServerConnection], Awaitable[None]], waits: list[float]
) -> None:
    async with service(end) as made, connect(made.url, token=lambda: "t") as stream:
        with pytest.raises(ime_live.AuthenticationError, match="token"):
            await take(stream)
    assert 3 <= len(made.paths) <= 20
    assert len(waits) == len(made.paths) - 1


async def test_token_that_is_bad_is_renewed_once_after_a_wait(waits: list[float]) -> None:
    tokens = iter("abcd")
    bad = closing(1008, "invalid token")
    async with (
        service(bad, sending(update("A", 1))) as made,
        connect(made.url, token=lambda: next(tokens)) as stream,
    ):
        assert (await take(stream)).timestamp_text == stamp(1)
    assert (made.authorizations, len(waits)) == (["Bearer a", "Bearer b"], 1)
    async with service(bad) as made, connect(made.url, token=lambda: next(tokens)) as stream:
        with pytest.raises(ime_live.AuthenticationError, match="invalid token"):
            await take(stream)
    assert (made.authorizations, len(waits)) == (["Bearer c", "Bearer d"], 2)


async def test_token_that_expires_after_each_message_is_no_storm(waits: list[float]) -> None:
    numbers = itertools.count(1)

    async def expire(connection: ServerConnection) -> None:
        await connection.send(update("A", next(numbers)), text=True)
        await connection.close(1008, "token expired")

    async with (
        service(expire) as made,
        connect(made.url, token=lambda: "t", max_reconnect_delay=30.0) as stream,
    ):
        await asyncio.sleep(1.5)
        assert not stream._receiver.ended
    assert len(made.paths) <= 8
    assert len(waits) >= len(made.paths) - 1
    # Such a connection is no good one: the waits grow.
    assert stream._receiver._backoff.failures == len(waits)


async def test_answer_to_a_ping_proves_a_token(eventually: Eventually) -> None:
    ends: list[asyncio.Event] = []

    async def quiet(connection: ServerConnection) -> None:
        ends.append(asyncio.Event())
        await ends[-1].wait()
        await connection.close(1008, "invalid token")

    tokens = iter("abcdef")
    async with service(quiet) as made, connect(made.url, token=lambda: next(tokens)) as stream:
        for number in range(1, 6):
            await eventually(lambda number=number: len(ends) == number)
            await eventually(lambda: not stream._receiver._options.credentials._fresh)
            ends[-1].set()
        await eventually(lambda: len(ends) == 6)
        ends[-1].set()
        assert made.authorizations == [f"Bearer {token}" for token in "abcdef"]


# -- the first connection -----------------------------------------------------------------------

NAME_PATH = "/live/data/websocket/contract/name"


async def test_first_connection_that_cannot_be_made_is_named_each_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    minute = functools.partial(LogLimiter, interval=0.1)
    monkeypatch.setattr("ime_live.client.stream.receiver.LogLimiter", minute)
    async with connect("ws://127.0.0.1:1/prefix"):
        await eventually(lambda: len(caplog.records) == 3)
    line = f"no connection to ws://127.0.0.1:1/prefix{NAME_PATH}: Connection refused; trying again"
    first, second, _ = (record.getMessage() for record in caplog.records)
    assert first == line
    assert re.fullmatch(rf"{re.escape(line)} \(\d+ more since the last such line\)", second)


@pytest.mark.parametrize(
    ("host", "named"),
    [("[::1]:1", "ws://[::1]:1"), ("no.such.host.invalid", "ws://no.such.host.invalid:80")],
)
async def test_first_connection_names_host_and_port(
    host: str, named: str, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    async with connect(f"ws://{host}"):
        await eventually(lambda: caplog.records)
    assert f"no connection to {named}{NAME_PATH}: " in caplog.text


async def test_first_timeout() -> None:
    async with connect("ws://127.0.0.1:1", first_timeout=0.2) as stream:
        with pytest.raises(ime_live.ServiceError) as caught:
            await take(stream)
        with pytest.raises(ime_live.ServiceError, match="cannot connect within"):
            await stream.add(["B"])
    assert str(caught.value) == (
        f"cannot connect within 0.2 s: no connection to ws://127.0.0.1:1{NAME_PATH}: "
        "Connection refused"
    )


async def test_first_timeout_while_the_token_is_fetched() -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async with connect("ws://127.0.0.1:1", first_timeout=0.1, token=never) as stream:
        with pytest.raises(ime_live.ServiceError, match=r"within 0\.1 s: no answer yet"):
            await take(stream)


async def test_first_timeout_ends_with_the_first_connection(eventually: Eventually) -> None:
    async with (
        service(aborting, 503, sending(update("A", 1))) as made,
        connect(made.url, first_timeout=0.5, max_reconnect_delay=2.0) as stream,
    ):
        await eventually(lambda: made.paths)
        await asyncio.sleep(0.6)
        assert (await take(stream)).timestamp_text == stamp(1)


async def test_token_function_that_times_out_is_told_as_it_is() -> None:
    def slow() -> str:
        raise TimeoutError("the issuer is slow")

    async with connect("ws://127.0.0.1:1", first_timeout=30.0, token=slow) as stream:
        with pytest.raises(TimeoutError, match="the issuer is slow"):
            await take(stream)


@pytest.mark.parametrize("prefix", ["", "/wrong"])
async def test_404_names_the_url_and_asks_for_the_prefix(prefix: str) -> None:
    async with service(404) as made, connect(made.url + prefix) as stream:
        with pytest.raises(ime_live.ServiceError) as caught:
            await take(stream)
    assert str(caught.value) == (
        f"{made.url}{prefix}{NAME_PATH} must be a stream, but it answered HTTP 404; "
        "is the path of a proxy missing from the address, or wrong?"
    )
    assert caught.value.status == 404


async def test_redirect_is_named() -> None:
    answer = (
        b"HTTP/1.1 301 Moved\r\nLocation: https://example.org/x?token=SECRET\r\n"
        b"Content-Length: 0\r\n\r\n"
    )

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(url) as stream:
            with pytest.raises(ime_live.ServiceError) as caught:
                await take(stream)
    assert str(caught.value).endswith(
        "answered HTTP 301 and redirects to https://example.org/x; write that address"
    )


@pytest.mark.parametrize("status", [404, 302, 200, 421])
async def test_address_that_leads_elsewhere_for_a_while(status: int) -> None:
    ends = (aborting, status, status, sending(update("A", 1)))
    async with service(*ends) as made, connect(made.url) as stream:
        assert (await take(stream)).timestamp_text == stamp(1)
        assert len(made.paths) == 4


@pytest.mark.parametrize("status", [400, 414, 431])
async def test_request_that_cannot_be_answered_stays_an_error(status: int) -> None:
    async with service(aborting, status) as made, connect(made.url) as stream:
        with pytest.raises(ime_live.ServiceError, match=f"HTTP {status}"):
            await take(stream)


# -- what a program is told of connections ------------------------------------------------------


async def test_connection_events(caplog: pytest.LogCaptureFixture) -> None:
    told: list[ime_live.ConnectionEvent] = []
    ends = (503, closing(1012, "restart"), sending(update("A", 1)))
    async with service(*ends) as made:
        async with connect(made.url, on_connection=told.append) as stream:
            await take(stream)
        event = ime_live.ConnectionEvent
        assert told == [
            event(connected=False, reason="HTTP 503"),
            event(connected=True),
            event(connected=False, reason="closed with 1012 restart"),
            event(connected=True),
            event(connected=False, reason="the stream was closed", final=True),
        ]


async def test_connection_event_of_an_error(eventually: Eventually) -> None:
    told: list[ime_live.ConnectionEvent] = []
    async with (
        service(closing(1008, "unknown contract: A")) as made,
        connect(made.url, on_connection=told.append) as stream,
    ):
        await eventually(lambda: stream._receiver.ended)
    event = ime_live.ConnectionEvent
    assert told == [
        event(connected=True),
        event(connected=False, reason="closed with 1008 unknown contract: A"),
        event(connected=False, reason="unknown contract: A", final=True),
    ]


async def test_connection_event_comes_before_a_full_queue_is_read(eventually: Eventually) -> None:
    told: list[ime_live.ConnectionEvent] = []

    async def first(connection: ServerConnection) -> None:
        for number in (1, 2, 3):
            await connection.send(update("A", number), text=True)

    async with (
        service(first, sending()) as made,
        connect(made.url, queue="block", queue_size=1, on_connection=told.append),
    ):
        await eventually(lambda: [event.connected for event in told] == [True, False])
    assert told[1].reason == "closed with 1000"


def test_connection_events_of_a_plain_program() -> None:
    lost = threading.Event()

    def tell(event: ime_live.ConnectionEvent) -> None:
        if not event.connected:
            lost.set()

    with connect("ws://127.0.0.1:1", on_connection=tell):
        assert lost.wait(PATIENCE)


@pytest.mark.parametrize("error", [ValueError, OSError, ime_live.ServiceError])
async def test_what_a_function_for_connections_raises_ends_the_stream(
    error: type[Exception],
) -> None:
    def broken(_: ime_live.ConnectionEvent) -> None:
        raise error("not today")

    async with service(sending(update("A", 1))) as made:
        async with connect(made.url, on_connection=broken) as stream:
            with pytest.raises(error, match="not today"):
                await take(stream)
        assert len(made.paths) == 1


# -- in short -----------------------------------------------------------------------------------


async def test_connect_is_awaited() -> None:
    async with service(sending(update("A", 1))) as made:
        stream = await connect(made.url)
        assert (await take(stream)).timestamp_text == stamp(1)
        await stream.aclose()
        async with await connect(made.url) as stream:
            assert (await take(stream)).timestamp_text == stamp(1)
        assert stream._receiver.ended


async def test_connect_is_read_by_async_for() -> None:
    async with service(sending(update("A", 1), update("A", 2))) as made:
        got = []
        async with asyncio.timeout(PATIENCE):
            async for message in connect(made.url, queue="block"):
                got.append(message.timestamp_text)
                if len(got) == 2:
                    break
        assert got == [stamp(1), stamp(2)]


async def test_connect_is_read_by_for(eventually: Eventually) -> None:
    threads = threading.active_count()

    def read(url: str) -> str:
        for message in connect(url):
            return str(message.timestamp_text)
        raise AssertionError

    async with service(sending(update("A", 1))) as made:
        assert await asyncio.to_thread(read, made.url) == stamp(1)
        # Who leaves the loop leaves the stream.
        await eventually(lambda: threading.active_count() <= threads + 1)


def test_connect_that_was_not_entered_says_what_to_write() -> None:
    made = connect("ws://127.0.0.1:1")
    for name in ("receive", "add", "status"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'.*async with"):
            getattr(made, name)
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        made.nonsense  # noqa: B018 - it raises


# -- large messages -----------------------------------------------------------------------------


async def test_message_of_five_megabytes_is_a_message() -> None:
    large = update("A", 1, more="x" * 5_000_000)
    async with service(sending(large, update("A", 2))) as made:
        async with connect(made.url, queue="block") as stream:
            assert [(await take(stream)).timestamp_text for _ in range(2)] == [stamp(1), stamp(2)]
        assert len(made.paths) == 1


async def test_message_beyond_the_limit_is_no_end_and_no_storm(
    caplog: pytest.LogCaptureFixture,
) -> None:
    large, good = sending(b'"' + b"x" * 17_000_000 + b'"'), sending(update("A", 1))
    async with (
        service(large, large, good) as made,
        connect(made.url, max_reconnect_delay=0.5) as stream,
    ):
        assert (await take(stream)).timestamp_text == stamp(1)
        assert len(made.paths) == 3
    assert "the service sent a message that is too large" in caplog.text
