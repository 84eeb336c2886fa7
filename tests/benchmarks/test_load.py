"""The benchmarks' load: what is published when, and what counts as received."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from urllib.parse import parse_qs, urlsplit

import pytest

from benchmarks.centrifugo import request_of
from benchmarks.load import Clients, clock
from benchmarks.loads import Load
from benchmarks.publications import CentrifugoPublisher


def test_opening_publishes_each_contract_once_within_its_spread() -> None:
    load = Load(1, contracts=500, burst=500, spread=0.1, per_second=0.5, seconds=4)
    times = list(load.schedule(random.Random(1)))
    assert [due for due, _ in times[:3]] == pytest.approx([0, 0.01, 0.02])
    for begin in (0, 10):
        opening = times[begin : begin + 10]
        assert opening[-1][0] - opening[0][0] < 0.1
        assert sorted(n for _, contracts in opening for n in contracts) == list(range(500))
    assert len(times) == 20


def test_burst_is_published_at_once() -> None:
    times = list(Load(1, contracts=3, burst=8, per_second=20, seconds=1).schedule(random.Random(1)))
    assert [len(contracts) for _, contracts in times] == [8] * 20
    assert times[1][0] == pytest.approx(0.05)


@contextmanager
def serving(answers: Sequence[bytes]) -> Iterator[int]:
    """A server that answers each connection's request by these bytes, and keeps it open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = []

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                connections.append(connection)
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()
            for connection in connections:
                connection.close()


def test_joined_messages_count_one_each() -> None:
    message = b'{"pub":{"data":{"total_value":%d}}}' % clock()
    text = b"\n".join([message] * 3)
    frame = b"\x81\x7e" + len(text).to_bytes(2) + text
    for joined, messages in ((True, 6), (False, 2)):
        clients = Clients(1, joined_messages=joined)
        with serving([frame + frame]) as port:
            clients.connect(port, [("/", ())])
            clients.drain(5, partial(has, clients, messages))
        assert clients.tally.messages == messages
        assert len(clients.tally.latencies) == messages
        clients.close()


def has(clients: Clients, messages: int) -> bool:
    """Whether so many messages have come."""
    return clients.tally.messages >= messages


def test_clients_that_do_not_count_are_answered_only() -> None:
    frame = b"\x81\x02{}"
    clients = Clients(1)
    called = []
    with serving([frame, frame]) as port:
        clients.connect(port, [("/", ())], counted=False, meanwhile=lambda: called.append(1))
        clients.connect(port, [("/", ())])
        clients.drain(5, lambda: has(clients, 1))
        clients.drain(0.05)
    assert clients.tally.messages == 1
    assert called
    clients.close()


def test_centrifugo_is_asked_for_channels_with_a_token() -> None:
    path, headers = request_of([7, 8], "a token")
    [connect] = parse_qs(urlsplit(path).query)["cf_connect"]
    assert json.loads(connect) == {"token": "a token", "subs": {"B0007": {}, "B0008": {}}}
    assert headers == ()


def test_centrifugo_publishes_a_burst_in_one_batch() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        publisher = CentrifugoPublisher(listener.getsockname()[1])
        connection, _ = listener.accept()
        publisher.publish([1, 2])
        head, _, body = connection.recv(65_536).partition(b"\r\n\r\n")
        publisher.close()
        connection.close()
    assert head.startswith(b"POST /api/batch HTTP/1.1")
    assert f"Content-Length: {len(body)}".encode() in head
    commands = [command["publish"] for command in json.loads(body)["commands"]]
    assert [command["channel"] for command in commands] == ["B0001", "B0002"]
    assert commands[0]["data"]["contractName"] == "B0001"
