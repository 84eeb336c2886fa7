"""The load of requests: HTTP connections that repeat their request after each response.

It is given a port and ready requests, and returns counts and latencies, whatever the server is. It
has one thread, one epoll loop, keep-alive connections, and one request at a time on each. It parses
no body: the next request is sent when as many bytes have arrived as the response's head announces.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.load import clock

_BUFFER: Final = 262_144
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length: "
_OK: Final = b"HTTP/1.1 200"


@dataclass
class Asked:
    """The result of the requests of one run.

    Attributes:
        answers: that were whole, and 200.
        seconds: that the run took.
        bytes: of the answers, heads included.
        latencies: of each request, in microseconds.
    """

    answers: int = 0
    seconds: float = 0.0
    bytes: int = 0
    latencies: list[int] = field(default_factory=list)


@dataclass
class _Connection:
    socket: socket.socket
    next: int
    begun: int = 0
    head: bytes = b""
    missing: int = 0  # bytes of the answer's body; 0 while its head is not whole


class Requests:
    """Some connections, and what they ask in turn."""

    def __init__(self, port: int, requests: Sequence[bytes], connections: int) -> None:
        """Connect.

        Args:
            port: of this machine.
            requests: whole ones, which the connections send in turn, each beginning elsewhere.
            connections: how many.
        """
        self._requests = requests
        self._poll = select.epoll()
        self._by_fd: dict[int, _Connection] = {}
        for number in range(connections):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._by_fd[connection.fileno()] = _Connection(
                connection, number * len(requests) // connections
            )
            self._poll.register(connection.fileno(), select.EPOLLIN)

    def run(self, seconds: float) -> Asked:
        """Ask for so many seconds.

        Raises:
            RuntimeError: the server refuses a request, or closes a connection.
        """
        asked = Asked()
        begin = time.monotonic()
        end = begin + seconds
        for one in self._by_fd.values():
            self._ask(one)
        under_way = len(self._by_fd)
        while under_way:
            going_on = time.monotonic() < end
            for fd, _ in self._poll.poll(1.0):
                one = self._by_fd[fd]
                if self._receive(one, asked):
                    if going_on:
                        self._ask(one)
                    else:
                        under_way -= 1
        asked.seconds = time.monotonic() - begin
        return asked

    def _ask(self, one: _Connection) -> None:
        one.begun = clock()
        one.socket.sendall(self._requests[one.next % len(self._requests)])
        one.next += 1

    def _receive(self, one: _Connection, asked: Asked) -> bool:
        """Take what has come; whether the answer is whole."""
        data = one.socket.recv(_BUFFER)
        if not data:
            raise RuntimeError("the server has closed a connection")
        asked.bytes += len(data)
        if one.missing:
            one.missing -= len(data)
        else:
            one.head += data
            head, separator, body = one.head.partition(_HEAD_END)
            if not separator:
                return False
            if not head.startswith(_OK):
                raise RuntimeError(f"refused: {head[:40]!r} {body[:200]!r}")
            at = head.lower().index(_LENGTH) + len(_LENGTH)
            one.missing = int(head[at:].partition(b"\r\n")[0]) - len(body)
            one.head = b""
        if one.missing:
            return False
        asked.answers += 1
        asked.latencies.append(clock() - one.begun)
        return True

    def close(self) -> None:
        """Close all connections."""
        for one in self._by_fd.values():
            one.socket.close()
        self._poll.close()
