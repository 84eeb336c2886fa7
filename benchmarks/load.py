"""The load: thousands of WebSocket clients on one epoll loop, and a publisher beside them.

It is given addresses and paths, and returns counts, bytes and latencies, whatever the server is.
It costs less than any server that it measures: one thread, non-blocking sockets, frames counted by
their headers, and the clock in the payload read by a sample of the clients only.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

_BUFFER: Final = 262_144
_CLOCK: Final = b'"total_value":'
_AT_ONCE: Final = 200  # handshakes under way at a time
# Handshakes begun between two looks at what has come, so that what has come does not wait.
_IN_A_ROW: Final = 10
_HEAD_END: Final = b"\r\n\r\n"

Request = tuple[str, Sequence[str]]
"""A WebSocket handshake's path, and headers of its own."""


def clock() -> int:
    """Microseconds of a clock that all processes of this machine share."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def age_of(text: bytes, now: int | None = None) -> int | None:
    """Microseconds since a message was published, by the clock in it; None if there is none."""
    begin = text.find(_CLOCK)
    if begin < 0:
        return None
    begin += len(_CLOCK)
    end = begin
    while text[end : end + 1].isdigit():
        end += 1
    return (clock() if now is None else now) - int(text[begin:end])


@dataclass
class Client:
    """One connection; ``rest`` are the bytes of a frame that is not whole yet."""

    socket: socket.socket
    sampled: bool
    counted: bool = True
    rest: bytes = b""
    messages: int = 0
    answered: bool = False
    closed: bool = False


@dataclass
class Tally:
    """The messages that the clients have received since the last `Clients.reset`."""

    messages: int = 0
    bytes: int = 0
    latencies: list[int] = field(default_factory=list)
    """Microseconds, of the sampled clients' messages."""


class Clients:
    """All clients of one measurement."""

    def __init__(
        self,
        sampled_every: int = 20,
        *,
        tls: ssl.SSLContext | None = None,
        joined_messages: bool = False,
    ) -> None:
        """Create an empty set of clients.

        Args:
            sampled_every: one of so many clients tells latencies.
            tls: how to connect, if it is by TLS.
            joined_messages: count the lines of frames, for a server that joins messages.
        """
        self._sampled_every = sampled_every
        self._tls = tls
        self._joined_messages = joined_messages
        self._poll = select.epoll()
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self.by_fd: dict[int, Client] = {}
        self.tally = Tally()

    def connect(
        self,
        port: int,
        requests: Sequence[Request],
        *,
        receive_buffer: int = 0,
        counted: bool = True,
        meanwhile: Callable[[], object] = lambda: None,
        timeout: float = 60.0,
    ) -> None:
        """Open one connection for each request, and wait until all handshakes are answered.

        Args:
            port: of this machine.
            requests: of the connections, in their order.
            receive_buffer: of each socket, in bytes; 0 leaves it to the kernel.
            counted: whether what these clients receive counts, and some tell latencies.
            meanwhile: called again and again until it is done.
            timeout: seconds that it may take.

        Raises:
            RuntimeError: a handshake is refused, or not all are answered in time.
        """
        deadline = time.monotonic() + timeout
        waiting = list(reversed(requests))
        under_way: set[int] = set()
        while waiting or under_way:
            for _ in range(min(len(waiting), _AT_ONCE - len(under_way), _IN_A_ROW)):
                fd = self._begin(port, waiting.pop(), receive_buffer, counted=counted)
                under_way.add(fd)
            room = waiting and len(under_way) < _AT_ONCE
            for fd, _ in self._poll.poll(0 if room else 0.005):
                self._receive(fd)
            meanwhile()
            done = {fd for fd in under_way if self.by_fd[fd].answered or self.by_fd[fd].closed}
            if any(self.by_fd[fd].closed for fd in done):
                raise RuntimeError("a handshake was refused")
            under_way -= done
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(under_way)} handshakes were not answered in time")

    def _begin(self, port: int, request: Request, receive_buffer: int, *, counted: bool) -> int:
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect(("127.0.0.1", port))
        if self._tls is not None:
            connection.settimeout(15)
            connection = self._tls.wrap_socket(connection, server_hostname="127.0.0.1")
        connection.setblocking(False)
        key = base64.b64encode(os.urandom(16)).decode()
        path, headers = request
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *headers,
        ]
        connection.sendall("\r\n".join(lines).encode() + _HEAD_END)
        fd = connection.fileno()
        sampled = counted and len(self.by_fd) % self._sampled_every == 0
        self.by_fd[fd] = Client(connection, sampled=sampled, counted=counted)
        self._poll.register(fd, select.EPOLLIN)
        return fd

    def ignore(self, fd: int) -> None:
        """Stop reading this client's socket."""
        self._poll.unregister(fd)

    def reset(self) -> None:
        """Begin a new tally."""
        self.tally = Tally()

    def drain(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Receive for some seconds, or until ``until`` says so; at least what has come."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            for fd, _ in self._poll.poll(min(max(left, 0), 0.05)):
                self._receive(fd)
            if left <= 0 or (until is not None and until()):
                return

    def read(self, fd: int, most: int) -> int:
        """Read at most so many bytes of one ignored client, and return how many."""
        return self._receive(fd, most)

    def _receive(self, fd: int, most: int = _BUFFER) -> int:
        client = self.by_fd[fd]
        try:
            size = client.socket.recv_into(self._buffer, min(most, _BUFFER))
        except (BlockingIOError, ssl.SSLWantReadError):
            return 0
        except (ConnectionError, ssl.SSLError):
            size = 0
        if size == 0:
            if not client.closed:
                client.closed = True
                self._poll.unregister(fd)
            return 0
        now = clock() if client.sampled else 0
        if client.answered and not client.rest:
            client.rest = self._count(client, self._view[:size], now)
            return size
        data = client.rest + self._view[:size]
        if not client.answered:
            head, separator, rest = data.partition(_HEAD_END)
            if not separator:
                client.rest = data
                return size
            if not head.startswith(b"HTTP/1.1 101"):
                client.closed = True
                return size
            client.answered, data = True, rest
        client.rest = self._count(client, memoryview(data), now)
        return size

    def _count(self, client: Client, data: memoryview, now: int) -> bytes:
        tally = self.tally
        position, size = 0, len(data)
        messages = 0
        while size - position >= 2:
            length = data[position + 1]
            start = position + 2
            if length == 126:
                start += 2
                length = int.from_bytes(data[position + 2 : start])
            elif length == 127:
                start += 8
                length = int.from_bytes(data[position + 2 : start])
            end = start + length
            if start > size or end > size:
                break
            first = data[position]
            if first & 0x0F == 9:
                client.socket.send(b"\x8a\x80\0\0\0\0")
            elif first & 0x0F == 8:
                client.closed = True
            elif self._joined_messages:
                for line in bytes(data[start:end]).splitlines():
                    messages += 1
                    if now:
                        self._look_at_clock(line, now)
            else:
                messages += 1
                if now:
                    self._look_at_clock(bytes(data[start:end]), now, compressed=bool(first & 0x40))
            position = end
        client.messages += messages
        if client.counted:
            tally.messages += messages
            tally.bytes += position
        return bytes(data[position:])

    def _look_at_clock(self, text: bytes, now: int, *, compressed: bool = False) -> None:
        if compressed:
            text = zlib.decompressobj(wbits=-15).decompress(text + b"\x00\x00\xff\xff")
        age = age_of(text, now)
        if age is not None:
            self.tally.latencies.append(age)

    def leave(self, count: int) -> None:
        """Close the oldest connections."""
        for fd in list(self.by_fd)[:count]:
            client = self.by_fd.pop(fd)
            if not client.closed:
                self._poll.unregister(fd)
            client.socket.close()

    def forget(self) -> None:
        """Close all connections."""
        for client in self.by_fd.values():
            client.socket.close()
        self.by_fd.clear()

    def close(self) -> None:
        """Close all connections, and end."""
        self.forget()
        self._poll.close()
