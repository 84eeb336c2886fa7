"""The receiver on real sockets: how connections end, and what a client does about it."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import re
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

import ime_live
from ime_live.backoff import Backoff
from ime_live.log_limiter import LogLimiter
from tests.support.serving import serving
from tests.support.stream_messages import timestamp, update
from tests.support.stream_service import (
    PATIENCE,
    aborting,
    closing,
    connect,
    control,
    deaf_service,
    sending,
    service,
    take,
)

Eventually = Callable[..., Awaitable[None]]


@pytest.mark.parametrize(
    "end",
    [closing(1001, "going away"), aborting, closing(1011), closing(1012), closing(1013), 503, 429],
    ids=["1001", "1006", "1011", "1012", "1013", "HTTP 503", "HTTP 429"],
)
async def test_close_codes_after_which_the_stream_reconnects(end: Any) -> None:  # noqa: ANN401 - as service takes
    async with service(end, end, sending(update("A", 1))) as made, connect(made.url) as stream:
        assert (await take(stream)).timestamp_text == timestamp(1)
        assert len(made.paths) == 3


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009])
async def test_close_codes_that_are_errors(code: int) -> None:
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


async def test_stream_reconnects_until_the_service_listens(
    caplog: pytest.LogCaptureFixture,
) -> None:
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
    # An outage is logged once, not with each attempt.
    assert len(caplog.records) == 1
    assert "no connection" in caplog.text


async def test_reconnect_resumes_without_duplicates() -> None:
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
        assert got == [("B", timestamp(5)), ("A", timestamp(3)), ("A", timestamp(6))]
        assert "snapshot=true" in made.paths[0]
        assert f"since={timestamp(3).replace(':', '%3A')}" in made.paths[1]
        assert "snapshot" not in made.paths[1]


async def test_contract_never_received_is_requested_with_snapshots_on_reconnect() -> None:
    async def first(connection: ServerConnection) -> None:
        await connection.send(update("A", 3), text=True)
        connection.transport.close()

    async with service(first, sending(update("A", 3), update("B", 1))) as made:
        async with connect(made.url, "A", "B", snapshot=False) as stream:
            assert [(await take(stream)).contract_name for _ in range(2)] == ["A", "B"]
        assert "snapshot" not in made.paths[0]
        assert "snapshot=true" in made.paths[1]


async def test_frozen_service_causes_a_reconnect(eventually: Eventually) -> None:
    async with deaf_service() as url:
        for options in ({"stale_after": 0.2}, {"ping_interval": 0.1, "ping_timeout": 0.1}):
            async with connect(url, **options) as stream:
                await eventually(lambda stream=stream: stream.connected)
                await eventually(lambda stream=stream: not stream.connected)
                await eventually(lambda stream=stream: stream.connected)


async def test_unanswered_handshake_times_out(eventually: Eventually) -> None:
    tries = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        await reader.read()
        writer.close()

    async with (
        serving(say_nothing) as port,
        connect(f"ws://127.0.0.1:{port}", open_timeout=0.1),
    ):
        await eventually(lambda: tries >= 2)


async def test_full_queue_is_not_taken_for_a_silent_service() -> None:
    async with service(sending(update("A", 1), update("A", 2), update("A", 3))) as made:
        async with connect(made.url, queue="block", queue_size=1, stale_after=0.1) as stream:
            await asyncio.sleep(0.5)
            assert [(await take(stream)).timestamp_text for _ in range(3)] == [
                timestamp(n) for n in (1, 2, 3)
            ]
        assert len(made.paths) == 1


@pytest.mark.parametrize("message", [b"hello", b"{}"])
async def test_malformed_message_ends_the_stream(message: bytes) -> None:
    async with (
        service(sending(update("A", 1), message)) as made,
        connect(made.url) as stream,
    ):
        assert (await take(stream)).timestamp_text == timestamp(1)  # the valid message comes first
        with pytest.raises(ime_live.ServiceError, match="cannot be read"):
            await take(stream)


async def test_unknown_channels_are_ignored() -> None:
    news = b'{"channel": "IME News", "data": {}}'
    async with service(sending(news, update("A", 1))) as made, connect(made.url) as stream:
        assert (await take(stream)).timestamp_text == timestamp(1)


async def test_redirect_is_not_followed_with_the_token() -> None:
    async with (
        service(302) as made,
        connect(made.url, token="SECRET") as stream,
    ):
        with pytest.raises(ime_live.ServiceError, match="HTTP 302"):
            await take(stream)
        assert made.authorizations == ["Bearer SECRET"]


async def test_full_queue_loses_no_message_when_the_connection_ends(
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
                timestamp(n) for n in range(1, 5)
            ]
            assert not stream._receiver.full
        await asyncio.gather(change, return_exceptions=True)


async def test_received_messages_can_be_read_after_the_end(eventually: Eventually) -> None:
    async with service(sending(update("A", 1), update("A", 2))) as made:
        async with connect(made.url, queue="block", queue_size=1) as stream:
            await eventually(lambda: stream._receiver.full)
        assert [message.timestamp_text async for message in stream] == [timestamp(1), timestamp(2)]
        assert not stream._receiver.full


async def test_contract_by_name_and_by_id_is_resumed(
    eventually: Eventually,
) -> None:
    async def first(connection: ServerConnection) -> None:
        request = await connection.recv()
        await connection.send(control(request, "A"), text=True)
        await connection.send(update("A", 3), text=True)

    async with service(first, sending(update("A", 4))) as made:
        async with connect(made.url, "A", contract_ids=[7], queue="drop_oldest") as stream:
            assert [(await take(stream)).timestamp_text for _ in range(2)] == [
                timestamp(3),
                timestamp(4),
            ]
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

    def next_wait(backoff: Backoff, lasted: float = 0.0) -> float:
        found.append(following(backoff, lasted))
        return found[-1]

    monkeypatch.setattr(Backoff, "next", next_wait)
    return found


@pytest.mark.parametrize("token", ["t", lambda: "t"], ids=["text", "function"])
async def test_expired_token_is_retried(token: ime_live.Token, waits: list[float]) -> None:
    ends = (EXPIRED, NOT_YET, EXPIRED, EXPIRED, sending(update("A", 1)))
    async with service(*ends) as made, connect(made.url, token=token) as stream:
        assert (await take(stream)).timestamp_text == timestamp(1)
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


async def test_bad_token_is_renewed_once_after_a_backoff(waits: list[float]) -> None:
    tokens = iter("abcd")
    bad = closing(1008, "invalid token")
    async with (
        service(bad, sending(update("A", 1))) as made,
        connect(made.url, token=lambda: next(tokens)) as stream,
    ):
        assert (await take(stream)).timestamp_text == timestamp(1)
    assert (made.authorizations, len(waits)) == (["Bearer a", "Bearer b"], 1)
    async with service(bad) as made, connect(made.url, token=lambda: next(tokens)) as stream:
        with pytest.raises(ime_live.AuthenticationError, match="invalid token"):
            await take(stream)
    assert (made.authorizations, len(waits)) == (["Bearer c", "Bearer d"], 2)


async def test_token_expiring_after_each_message_reconnects_with_backoff(
    waits: list[float],
) -> None:
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
    # Such a connection does not count as a success: the waits grow.
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


async def test_failed_first_connection_is_logged_once_per_minute(
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


async def test_first_connection_times_out() -> None:
    async with connect("ws://127.0.0.1:1", first_timeout=0.2) as stream:
        with pytest.raises(ime_live.ServiceError) as caught:
            await take(stream)
        with pytest.raises(ime_live.ServiceError, match="cannot connect within"):
            await stream.add(["B"])
    assert str(caught.value) == (
        f"cannot connect within 0.2 s: no connection to ws://127.0.0.1:1{NAME_PATH}: "
        "Connection refused"
    )


async def test_first_connection_times_out_while_the_token_is_fetched() -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async with connect("ws://127.0.0.1:1", first_timeout=0.1, token=never) as stream:
        with pytest.raises(ime_live.ServiceError, match=r"within 0\.1 s: no answer yet"):
            await take(stream)


async def test_first_connection_timeout_ends_with_the_first_connection(
    eventually: Eventually,
) -> None:
    async with (
        service(aborting, 503, sending(update("A", 1))) as made,
        connect(made.url, first_timeout=0.5, max_reconnect_delay=2.0) as stream,
    ):
        await eventually(lambda: made.paths)
        await asyncio.sleep(0.6)
        assert (await take(stream)).timestamp_text == timestamp(1)


async def test_timeout_of_the_token_function_is_raised_unchanged() -> None:
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


async def test_redirect_is_an_error_with_its_target() -> None:
    answer = (
        b"HTTP/1.1 301 Moved\r\nLocation: https://example.org/x?token=SECRET\r\n"
        b"Content-Length: 0\r\n\r\n"
    )

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with serving(redirect) as port, connect(f"ws://127.0.0.1:{port}") as stream:
        with pytest.raises(ime_live.ServiceError) as caught:
            await take(stream)
    assert str(caught.value).endswith(
        "answered HTTP 301 and redirects to https://example.org/x; write that address"
    )


@pytest.mark.parametrize("status", [404, 302, 200, 421])
async def test_other_status_after_a_connection_causes_a_reconnect(status: int) -> None:
    ends = (aborting, status, status, sending(update("A", 1)))
    async with service(*ends) as made, connect(made.url) as stream:
        assert (await take(stream)).timestamp_text == timestamp(1)
        assert len(made.paths) == 4


@pytest.mark.parametrize("status", [400, 414, 431])
async def test_refused_handshake_after_an_aborted_one_is_an_error(status: int) -> None:
    async with service(aborting, status) as made, connect(made.url) as stream:
        with pytest.raises(ime_live.ServiceError, match=f"HTTP {status}"):
            await take(stream)


# -- connection events ---------------------------------------------------------------------------


async def test_connection_events_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    events: list[ime_live.ConnectionEvent] = []
    ends = (503, closing(1012, "restart"), sending(update("A", 1)))
    async with service(*ends) as made:
        async with connect(made.url, on_connection=events.append) as stream:
            await take(stream)
        event = ime_live.ConnectionEvent
        assert events == [
            event(connected=False, reason="HTTP 503"),
            event(connected=True),
            event(connected=False, reason="closed with 1012 restart"),
            event(connected=True),
            event(connected=False, reason="the stream was closed", final=True),
        ]


async def test_connection_event_reports_an_error(eventually: Eventually) -> None:
    events: list[ime_live.ConnectionEvent] = []
    async with (
        service(closing(1008, "unknown contract: A")) as made,
        connect(made.url, on_connection=events.append) as stream,
    ):
        await eventually(lambda: stream._receiver.ended)
    event = ime_live.ConnectionEvent
    assert events == [
        event(connected=True),
        event(connected=False, reason="closed with 1008 unknown contract: A"),
        event(connected=False, reason="unknown contract: A", final=True),
    ]


async def test_connection_event_comes_before_a_full_queue_is_read(eventually: Eventually) -> None:
    events: list[ime_live.ConnectionEvent] = []

    async def first(connection: ServerConnection) -> None:
        for number in (1, 2, 3):
            await connection.send(update("A", number), text=True)

    async with (
        service(first, sending()) as made,
        connect(made.url, queue="block", queue_size=1, on_connection=events.append),
    ):
        await eventually(lambda: [event.connected for event in events] == [True, False])
    assert events[1].reason == "closed with 1000"


def test_connection_events_of_a_blocking_stream() -> None:
    lost = threading.Event()

    def tell(event: ime_live.ConnectionEvent) -> None:
        if not event.connected:
            lost.set()

    with connect("ws://127.0.0.1:1", on_connection=tell):
        assert lost.wait(PATIENCE)


@pytest.mark.parametrize("error", [ValueError, OSError, ime_live.ServiceError])
async def test_exception_in_the_connection_callback_ends_the_stream(
    error: type[Exception],
) -> None:
    def broken(_: ime_live.ConnectionEvent) -> None:
        raise error("not today")

    async with service(sending(update("A", 1))) as made:
        async with connect(made.url, on_connection=broken) as stream:
            with pytest.raises(error, match="not today"):
                await take(stream)
        assert len(made.paths) == 1


# -- large messages -----------------------------------------------------------------------------


async def test_message_of_five_megabytes_is_received() -> None:
    large = update("A", 1, more="x" * 5_000_000)
    async with service(sending(large, update("A", 2))) as made:
        async with connect(made.url, queue="block") as stream:
            assert [(await take(stream)).timestamp_text for _ in range(2)] == [
                timestamp(1),
                timestamp(2),
            ]
        assert len(made.paths) == 1


async def test_message_beyond_the_size_limit_reconnects_with_backoff(
    caplog: pytest.LogCaptureFixture,
) -> None:
    large, good = sending(b'"' + b"x" * 17_000_000 + b'"'), sending(update("A", 1))
    async with (
        service(large, large, good) as made,
        connect(made.url, max_reconnect_delay=0.5) as stream,
    ):
        assert (await take(stream)).timestamp_text == timestamp(1)
        assert len(made.paths) == 3
    assert "the service sent a message that is too large" in caplog.text
