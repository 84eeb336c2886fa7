"""``python -m benchmarks.fanout``: one buffer to many sockets, by a loop in C and by the fan-out.

Another process has the peers. It takes everything after each call, which is not measured. The
contenders take turns in a random order, so that the machine's other guests meet all of them alike.
"""

from __future__ import annotations

import argparse
import array
import ctypes
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ime_live.gateway.stream import fanout

_SOURCE: Final = Path(__file__).parent / "servers" / "send_loop.c"
_DATA: Final = bytes(740)
_FLOOR: Final = "send() in C"
_RELEASED: Final = "send() in C, GIL released"


class Sockets:
    """Connections over loopback, whose peers are in another process."""

    def __init__(self, count: int) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
            self._control, theirs = socket.socketpair()
            self._pid = os.fork()
            if not self._pid:
                self._control.close()
                _take_all(listener.getsockname(), count, theirs)
            theirs.close()
            self._sockets = [listener.accept()[0] for _ in range(count)]
        for each in self._sockets:
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.descriptors = [each.fileno() for each in self._sockets]

    def drain(self) -> None:
        """Let the peers take everything."""
        self._control.send(b"x")
        self._control.recv(1)

    def close(self) -> None:
        """Close both ends."""
        self._control.close()
        for each in self._sockets:
            each.close()
        os.waitpid(self._pid, 0)


def _take_all(address: tuple[str, int], count: int, control: socket.socket) -> None:
    peers = [socket.create_connection(address) for _ in range(count)]
    while control.recv(1):
        for peer in peers:
            peer.recv(65_536)
        control.send(b"x")
    os._exit(0)


def contenders(
    descriptors: list[int], groups: int, library: str
) -> dict[str, Callable[[], object]]:
    """Return the contenders' names, and what each of them does in a call."""
    numbers = array.array("i", descriptors)
    arguments = (
        (ctypes.c_int * len(numbers)).from_buffer(numbers),
        len(numbers),
        _DATA,
        ctypes.c_size_t(len(_DATA)),
    )
    floor, released = ctypes.PyDLL(library).send_loop, ctypes.CDLL(library).send_loop
    size = -(-len(descriptors) // groups)
    batches: list[fanout.Batch[object]] = [
        ({object(): number for number in descriptors[at : at + size]}, _DATA)
        for at in range(0, len(descriptors), size)
    ]
    return {
        _FLOOR: lambda: floor(*arguments),
        _RELEASED: lambda: released(*arguments),
        f"fan-out in {fanout.IMPLEMENTATION}": lambda: fanout.send(batches),
        "fan-out in python": lambda: fanout.send_in_python(batches),
    }


@contextmanager
def another_thread(*, busy: bool) -> Iterator[None]:
    """Let another thread compute meanwhile, which wants the GIL."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(100))

    thread = threading.Thread(target=compute)
    if busy:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if busy:
            thread.join()


def measure(count: int, groups: int, library: str, *, rounds: int, busy: bool) -> None:
    """Print a line for each contender."""
    sockets = Sockets(count)
    calls = contenders(sockets.descriptors, groups, library)
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in calls}
    with another_thread(busy=busy):
        for _ in range(rounds):
            for name in random.sample(list(calls), len(calls)):
                cpu, begun = time.thread_time_ns(), time.perf_counter_ns()
                missing = calls[name]()
                ended, cpu = time.perf_counter_ns(), time.thread_time_ns() - cpu
                if missing:
                    sys.exit(f"{name}: some sockets took less than all")
                found[name].append((cpu, ended - begun))
                sockets.drain()
    sockets.close()
    cost = {name: statistics.median(cpu for cpu, _ in pairs) for name, pairs in found.items()}
    for name, pairs in found.items():
        whole = statistics.mean(whole for _, whole in pairs)
        print(
            f"| {count:,} | {groups:,} | {'busy' if busy else 'idle'} | {name} "
            f"| {cost[name] / count / 1e3:.2f} | {cost[name] / cost[_FLOOR]:.2f} "
            f"| {whole / 1e6:.3f} |",
            flush=True,
        )


def main() -> None:
    """Measure all numbers of sockets, or those that are given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout", description=main.__doc__)
    parser.add_argument("sockets", nargs="*", type=int, default=[1, 100, 1_000, 10_000])
    parser.add_argument("--sends", type=int, default=200_000, help="of each contender")
    arguments = parser.parse_args()
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("a C compiler must be installed, got none: install gcc or clang")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("| sockets | groups | other thread | by | CPU µs a send | × floor | ms a call, mean |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/send_loop.so"
        subprocess.run(  # noqa: S603 - our own source
            [compiler, "-O2", "-shared", "-fPIC", str(_SOURCE), "-o", library], check=True
        )
        for count in arguments.sockets:
            rounds = min(20_000, max(5, arguments.sends // count))
            for groups, busy in dict.fromkeys([(1, False), (count, False), (1, True)]):
                measure(count, groups, library, rounds=rounds, busy=busy)


if __name__ == "__main__":
    main()
