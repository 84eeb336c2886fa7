"""A stream of events: the lines before its first event, and the end of its connection."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ime_live.gateway.http.lingering import LingeringClose
from ime_live.gateway.http.request_head import read_head
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.stream.connection import Connection
from ime_live.gateway.stream.sse import EventCodec
from tests.gateway.stream.test_websocket import Accepted
from tests.support.gateway_connections import Process, Transport

PATH = "/live/data/sse/contract/name?contract_names="


class Reader:
    """A client of a stream of events."""

    def __init__(self, process: Process, name: str = "KASH", **fields: str) -> None:
        self.transport = Transport(Accepted())
        codec = EventCodec(process.context, By.NAME, [(b"date", b"today")])
        stream = Connection(
            process.context, process.connections, codec, process.context.limits.admit()
        )
        self.transport.set_protocol(stream)
        lines = [f"GET {PATH}{name} HTTP/1.1", "Host: t"]
        lines += [f"{field}: {value}" for field, value in fields.items()]
        head = read_head("\r\n".join([*lines, "", ""]).encode())
        stream.open(self.transport, head, b"")

    @property
    def text(self) -> bytes:
        """Return the body received after the head."""
        return self.transport.written.partition(b"\r\n\r\n")[2]


async def test_retry_and_keep_alive_lines_are_no_events() -> None:
    process = Process(ping_interval=20.0)
    reader = Reader(process)
    await process.settle()
    for _ in range(2):
        process.timers.pass_time(20.5)
        process.heartbeat.tick(process.timers.now)
    assert re.fullmatch(rb"retry: [1-4]\d{3}\n:\n:\n", reader.text)
    assert b"\r\ndate: today\r\n" in reader.transport.written


async def test_bytes_from_the_client_are_read_slowly() -> None:
    process = Process()
    reader = Reader(process)
    await process.settle()
    for number in range(1, 20):
        reader.transport.send(bytes(1_000_000))
        assert reader.transport.reads == number
        process.timers.pass_time(0.01)
    assert process.closed == []


@pytest.mark.parametrize("opened", [False, True])
async def test_half_close_ends_the_stream(opened: bool) -> None:
    process = Process()
    process.upstream.slow.clear()
    reader = Reader(process)
    await process.settle()
    if opened:
        process.upstream.slow.set()
        await process.settle()
    reader.transport.send_eof()
    process.upstream.slow.set()
    await process.settle()
    assert reader.text.startswith(b"retry: ")
    assert reader.transport.ended == "closed"
    assert process.closed == [(1000, "client left")]
    assert not process.connections


@pytest.mark.parametrize("half_closed", [False, True])
async def test_refusal_is_answered_also_to_a_half_closed_client(half_closed: bool) -> None:
    process = Process()
    reader = Reader(process, "NOPE")
    if half_closed:
        reader.transport.send_eof()
    await process.settle()
    assert reader.transport.written.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert reader.text == b'{"detail":"unknown contract: NOPE"}'
    lingers: Any = isinstance(reader.transport.get_protocol(), LingeringClose)
    assert lingers is not half_closed
    if not half_closed:
        reader.transport.send_eof()
        await process.settle()
    assert reader.transport.ended == "closed"
    assert not process.connections
