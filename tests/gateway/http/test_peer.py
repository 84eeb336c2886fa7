"""The peer of a connection, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import sys
import time

import pytest

from ime_live.gateway.http.peer import acknowledged_bytes, peer_of


async def test_peer_is_named_by_address_and_port() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(host, port)
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        assert peer_of(transport) == f"127.0.0.1:{port}"
        writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts acknowledged bytes")
def test_acknowledged_bytes_are_those_that_the_peer_has_received() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        accepted, _ = server.accept()
        with accepted:
            before = acknowledged_bytes(accepted.fileno())
            accepted.sendall(b"x" * 1000)
            assert len(client.recv(1000, socket.MSG_WAITALL)) == 1000
            # The acknowledgement may be a moment behind the data.
            deadline = time.monotonic() + 20
            while (acknowledged_bytes(accepted.fileno()) or 0) < 1000 + (before or 0):
                assert time.monotonic() < deadline
            # The descriptor is still open.
            accepted.sendall(b"y")
            assert client.recv(1) == b"y"


def test_bytes_of_something_else_are_unknown() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert acknowledged_bytes(ours.fileno()) is None
    assert acknowledged_bytes(-1) is None
