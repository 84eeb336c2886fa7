"""The process that attacks: all connections of one kind of abuse on one epoll loop.

``python -m benchmarks.abuse.abusers`` takes orders from its standard input, and ends with it, so it
never outlives the program that has started it. A line with a kind and a number of connections
begins an attack, an empty line ends it. It prints an empty line when all connections were begun,
and the answers that it got at the end. ``--well-behaved`` connects as many clients that stream the
same contract and read everything.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from benchmarks.abuse.answers import Answers
from benchmarks.abuse.kind import Kind, Target
from benchmarks.abuse.kinds import KINDS
from benchmarks.load import Clients
from benchmarks.processes import tokens

SUBJECTS: Final = 200
"""As many as the abusers have; a subject may have a thousand streams."""

RATE: Final = 100_000_000
"""Bytes per second that they send, and receive, in all: a link of 1 Gbit/s carries no more."""

_BUFFER: Final = 65_536
_PATIENCE: Final = 5.0  # seconds to begin all connections
_SHUT: Final = 2_048  # bytes of a receive window that is never emptied; Linux doubles it
_LONGEST: Final = 60.0  # seconds
_IN_A_ROW: Final = 50  # connections begun between two looks at what has come
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: a closed connection leaves no state behind


class _Abuser:
    """One connection."""

    __slots__ = ("answers", "awaited", "number", "pieces", "socket", "unsent")

    def __init__(
        self, connection: socket.socket, number: int, pieces: Iterator[bytes], answers: Answers
    ) -> None:
        self.socket = connection
        self.number = number
        self.pieces = pieces
        self.answers = answers
        self.unsent: memoryview = memoryview(b"")
        self.awaited = 0
        """Answers after which the next piece is sent."""


class Abusers:
    """All connections of one kind of abuse."""

    def __init__(self, kind: Kind, target: Target, connections: int = 0) -> None:
        """Begin nothing yet.

        Args:
            kind: what they do.
            target: whom they attack.
            connections: how many at the same time; 0 takes those of the kind.
        """
        self._kind = kind
        self._target = target
        self._count = connections or kind.connections
        self._waiting = list(range(self._count))
        self._begun: set[int] = set()
        self._poll = select.epoll()
        self._by_fd: dict[int, _Abuser] = {}
        self._due: list[tuple[float, int, int]] = []
        self.codes: Counter[str] = Counter()
        self.opened = 0
        """Connections that were opened, those opened again included."""
        self.sent = 0
        """Bytes."""
        self._received = 0
        self._began = time.monotonic()

    @property
    def all_begun(self) -> bool:
        """Whether each connection has been accepted at least once."""
        return len(self._begun) == self._count

    def run(self, until: Callable[[], bool]) -> None:
        """Attack until ``until`` returns true; it is called often."""
        while not until():
            for _ in range(min(len(self._waiting), _IN_A_ROW)):
                self._open(self._waiting.pop())
            now = time.monotonic()
            ahead = max(self.sent, self._received) / RATE - (now - self._began)
            if ahead > 0:
                time.sleep(min(ahead, 0.02))
            while self._due and self._due[0][0] <= now:
                _, fd, number = heapq.heappop(self._due)
                if (abuser := self._by_fd.get(fd)) is not None and abuser.number == number:
                    self._send(fd, abuser)
            timeout = 0.0 if self._waiting else 0.02
            if self._due:
                timeout = min(timeout, max(0.0, self._due[0][0] - now))
            for fd, events in self._poll.poll(timeout):
                self._handle(fd, events)

    def close(self) -> None:
        """Reset all connections."""
        for abuser in self._by_fd.values():
            abuser.socket.close()
        self._by_fd.clear()
        self._poll.close()

    def _open(self, number: int) -> None:
        self.opened += 1
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if not self._kind.reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SHUT)
        with suppress(BlockingIOError):
            connection.connect(("127.0.0.1", self._target.port))
        fd = connection.fileno()
        pieces = self._kind.pieces(self._target, number)
        self._by_fd[fd] = _Abuser(connection, number, pieces, Answers(self.codes))
        self._poll.register(fd, select.EPOLLIN | select.EPOLLOUT)

    def _handle(self, fd: int, events: int) -> None:
        abuser = self._by_fd.get(fd)
        if abuser is None:
            return
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            try:
                data = abuser.socket.recv(_BUFFER)
            except BlockingIOError:
                data = None
            except OSError:
                data = b""
            if data == b"":
                self._again(fd, abuser)
                return
            if data:
                self._received += len(data)
                before = abuser.answers.count
                abuser.answers.feed(data)
                if abuser.answers.closed and not self._kind.stays:
                    self._again(fd, abuser)
                    return
                if abuser.answers.count > before and self._kind.awaits:
                    self._send(fd, abuser)
                    return
                if not self._kind.reads and abuser.answers.count:
                    self._watch(fd, abuser)
                    return
        if events & select.EPOLLOUT:
            self._begun.add(abuser.number)
            self._send(fd, abuser)

    def _send(self, fd: int, abuser: _Abuser) -> None:
        kind = self._kind
        if not abuser.unsent:
            if kind.awaits and abuser.answers.count < abuser.awaited:
                self._watch(fd, abuser)
                return
            piece = next(abuser.pieces, None)
            if piece is None:
                self._watch(fd, abuser)
                return
            if not piece:
                self._again(fd, abuser)
                return
            abuser.unsent = memoryview(piece)
            abuser.awaited = abuser.answers.count + 1
        try:
            size = abuser.socket.send(abuser.unsent)
        except BlockingIOError:
            size = 0
        except OSError:
            self._again(fd, abuser)
            return
        self.sent += size
        abuser.unsent = abuser.unsent[size:]
        writes = bool(abuser.unsent) or not (kind.every or kind.awaits)
        if kind.every and not abuser.unsent:
            heapq.heappush(self._due, (time.monotonic() + kind.every, fd, abuser.number))
        self._watch(fd, abuser, writes=writes)

    def _watch(self, fd: int, abuser: _Abuser, *, writes: bool = False) -> None:
        reads = self._kind.reads or not abuser.answers.count
        events = (select.EPOLLIN if reads else 0) | (select.EPOLLOUT if writes else 0)
        self._poll.modify(fd, events)

    def _again(self, fd: int, abuser: _Abuser) -> None:
        """Open a connection again that has ended."""
        del self._by_fd[fd]
        abuser.socket.close()
        self._waiting.append(abuser.number)


def _ordered() -> bool:
    """Whether the next order has come, or the end."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def _behave_well(target: Target, connections: int) -> dict[str, object]:
    clients = Clients()
    requests = [
        (target.stream, (f"Authorization: Bearer {target.token(number)}",))
        for number in range(connections)
    ]
    clients.connect(target.port, requests, counted=False)
    print(flush=True)
    clients.drain(_LONGEST, _ordered)
    clients.close()
    return {"codes": {"101": connections}, "opened": connections, "sent": 0}


def _attack(kind: Kind, target: Target, connections: int) -> dict[str, object]:
    abusers = Abusers(kind, target, connections)
    begin = time.monotonic()
    abusers.run(lambda: abusers.all_begun or time.monotonic() - begin > _PATIENCE)
    print(flush=True)
    abusers.run(_ordered)
    abusers.close()
    return {"codes": abusers.codes, "opened": abusers.opened, "sent": abusers.sent}


def main() -> None:
    """Carry out orders until the standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse.abusers")
    parser.add_argument("port", type=int)
    parser.add_argument("contract", type=int)
    parser.add_argument("--well-behaved", action="store_true")
    arguments = parser.parse_args()
    # The others' clients and Redis share the core, and go first.
    os.nice(10)
    target = Target(arguments.port, tokens(SUBJECTS, "abuse"), arguments.contract)
    while order := sys.stdin.readline().split():
        kind, connections = KINDS[order[0]], int(order[1])
        if arguments.well_behaved:
            said = _behave_well(target, connections)
        else:
            said = _attack(kind, target, connections)
        if not sys.stdin.readline():
            return
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
