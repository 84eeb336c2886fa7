"""The blocking stream, without a service: the errors of its calls, and when they come."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import ime_live
from ime_live.client.stream.blocking import BlockingStream
from ime_live.errors import ServiceError

PATIENCE = 20.0


def connect() -> BlockingStream[ime_live.Payload]:
    """A stream that has no connection: nobody listens there."""
    return ime_live.connect("ws://127.0.0.1:1", ["A"], proxy=None).__enter__()


def test_close_fails_a_waiting_change(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = threading.Event()
    stream = connect()
    change = stream._receiver.change

    def change_called(*arguments: object) -> object:
        waits.set()
        return change(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stream._receiver, "change", change_called)
    with ThreadPoolExecutor() as pool:
        adding = pool.submit(stream.add, ["B"])
        assert waits.wait(PATIENCE)
        stream.close()
        with pytest.raises(ServiceError, match=r"^the stream cannot be changed: it has ended$"):
            adding.result(PATIENCE)


def test_change_after_close_is_an_error() -> None:
    stream = connect()
    stream.close()
    with pytest.raises(ServiceError, match=r"^the stream cannot be changed: it has ended$"):
        stream.add(["B"])
    with pytest.raises(ServiceError, match=r"^the stream cannot be changed: it has ended$"):
        stream.remove(["A"])
    assert stream.receive() is None
    stream.close()


def test_reader_beside_other_readers_waits_no_longer_than_its_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = connect()
    tries = 0

    def another_reader_was_quicker() -> bool:
        nonlocal tries
        tries += 1
        assert tries < 100, "it waits forever"
        time.sleep(0.01)
        return True

    monkeypatch.setattr(stream, "_is_new", another_reader_was_quicker)
    with pytest.raises(TimeoutError, match=r"a message is expected within 0\.05 s, got none"):
        stream.receive(timeout=0.05)
    stream.close()


def test_first_connection_timeout_is_an_error() -> None:
    with (
        ime_live.connect("ws://127.0.0.1:1", ["A"], proxy=None, first_timeout=0.1) as stream,
        pytest.raises(ServiceError, match=r"cannot connect within 0\.1 s: .* Connection refused"),
    ):
        next(stream)
