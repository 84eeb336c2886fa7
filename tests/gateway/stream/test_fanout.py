"""Fan-out: one buffer to many sockets, the same in C and in Python, on real sockets."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from ime_live.gateway.stream import fanout

Send = Callable[[list[Any]], tuple[Any, ...]]

SMALL = 4_096
"""A send buffer that is full soon."""

LARGE = bytes(range(256)) * 4_096
"""More than a socket takes at once."""


def native() -> Send:
    """Return the implementation in C, or skip the test."""
    try:
        from ime_live.gateway.stream._fanout import send
    except ImportError:
        reason = "the extension was not built, so only Python is tested"
        print(reason)
        pytest.skip(reason)
    return send


@pytest.fixture(params=["c", "python"])
def send(request: pytest.FixtureRequest) -> Send:
    """Each implementation in turn."""
    return native() if request.param == "c" else fanout.send_in_python


class Client:
    """An owner: a socket of ours, and its peer's end of it."""

    def __init__(self, family: int = socket.AF_UNIX) -> None:
        if family == socket.AF_UNIX:
            self.ours, self.peer = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                self.peer = socket.create_connection(listener.getsockname())
                self.ours, _ = listener.accept()
        self.ours.setblocking(False)
        self.peer.setblocking(False)
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)

    @property
    def fd(self) -> int:
        return self.ours.fileno()

    def received(self) -> bytes:
        """Everything that has arrived at the peer since the last time."""
        parts = []
        with suppress(BlockingIOError):
            while part := self.peer.recv(1 << 20):
                parts.append(part)
        return b"".join(parts)

    def fill(self) -> None:
        """Write until the socket takes nothing more."""
        assert self.ours.family is socket.AF_UNIX, "over TCP, data moves on later"
        with suppress(BlockingIOError):
            while True:
                self.ours.send(LARGE)

    def reset(self) -> None:
        """Let the peer reset the connection."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()

    def close(self) -> None:
        self.ours.close()
        self.peer.close()


@contextmanager
def clients(count: int, family: int = socket.AF_UNIX) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        made = [Client(family) for _ in range(count)]
        for client in made:
            stack.callback(client.close)
        yield made


def writers(*made: Client) -> dict[Client, int]:
    return {client: client.fd for client in made}


# Sends and their shortfalls


def test_fan_out_reaches_every_socket(send: Send) -> None:
    with clients(5) as five:
        assert send([(writers(*five), b"one update")]) == ()
        assert [client.received() for client in five] == [b"one update"] * 5


def test_fan_out_of_different_buffers_is_one_call(send: Send) -> None:
    with clients(4) as (a, b, c, d):
        assert send([(writers(a, b), b"first"), (writers(), b"nobody's"), (writers(c), b"2")]) == ()
        assert [client.received() for client in (a, b, c, d)] == [b"first", b"first", b"2", b""]


def test_list_of_buffers_is_sent_as_one(send: Send) -> None:
    with clients(3) as (a, b, c):
        parts = [b"%d," % n for n in range(2_500)]  # more than one system call takes
        for client in (a, b, c):
            client.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        assert send([(writers(a, b), parts), (writers(c), [b"one"]), ({}, [])]) == ()
        assert [client.received() for client in (a, b, c)] == [b"".join(parts)] * 2 + [b"one"]


@pytest.mark.parametrize("size", [1, 700, 70_000])
def test_list_of_buffers_sent_in_part_returns_the_shortfall(send: Send, size: int) -> None:
    with clients(2, socket.AF_INET) as (slow, gone), clients(1) as (full,):
        parts = [bytes([n % 251]) * size for n in range(4_000_000 // size if size > 1 else 3_000)]
        full.fill()
        gone.reset()
        with suppress(OSError):
            gone.ours.send(b"to be told of the reset")
        shortfalls = send([(writers(slow), parts), (writers(full, gone), parts)])
        found = {owner: (data, taken, error) for owner, data, taken, error in shortfalls}
        if size > 1:
            data, taken, error = found[slow]
            assert data is parts
            assert 0 < taken < size * len(parts)
            assert error == 0
            assert slow.received() == b"".join(parts)[:taken]
        assert found[full] == (parts, 0, 0)
        assert found[gone][2] in (errno.EPIPE, errno.ECONNRESET)
        assert send([({"by its transport": -1}, parts)]) == (("by its transport", parts, 0, 0),)


@pytest.mark.parametrize("batches", [[], [({}, b"x")]])
def test_empty_fan_out_has_no_shortfall(send: Send, batches: list[Any]) -> None:
    assert send(batches) == ()


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_partial_send_returns_the_shortfall(send: Send, family: int) -> None:
    with clients(3, family) as (a, slow, c):
        for quick in (a, c):
            quick.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        rest = LARGE[: 1 << 16]
        send([(writers(a, c), b"small")])
        [(owner, data, taken, error)] = send([(writers(slow), LARGE)])
        assert owner is slow
        assert data is LARGE
        assert error == 0
        assert 0 < taken < len(LARGE)
        assert slow.received() == LARGE[:taken]
        assert send([(writers(a), rest[:100])]) == ()
        assert a.received() == b"small" + rest[:100]


def test_full_socket_takes_nothing_and_has_no_error(send: Send) -> None:
    with clients(3) as (a, full, c):
        full.fill()
        data = b"a frame"
        assert send([(writers(a, full, c), data)]) == ((full, data, 0, 0),)
        assert a.received() == c.received() == data


def test_socket_that_was_full_takes_data_again(send: Send) -> None:
    with clients(1) as (client,):
        client.fill()
        assert send([(writers(client), b"lost")]) == ((client, b"lost", 0, 0),)
        client.received()
        assert send([(writers(client), b"next")]) == ()
        assert client.received() == b"next"


def test_broken_connections_are_returned_with_their_errno(send: Send) -> None:
    with clients(3, socket.AF_INET) as (left, reset, well):
        left.peer.close()
        send([(writers(left), b"answered with a reset")])
        reset.reset()
        found = send([(writers(left, reset, well), b"x")])
        assert [(owner, taken) for owner, _, taken, _ in found] == [(left, 0), (reset, 0)]
        assert {error for *_, error in found} <= {errno.EPIPE, errno.ECONNRESET}
        assert well.received() == b"x"


def test_closed_peer_is_a_broken_pipe(send: Send) -> None:
    with clients(1) as (client,):
        client.peer.close()
        assert send([(writers(client), b"x")]) == ((client, b"x", 0, errno.EPIPE),)


def test_broken_pipe_raises_no_signal() -> None:
    native()
    # Python ignores SIGPIPE, but a program that embeds it may not.
    program = (
        "import signal, socket\n"
        "from ime_live.gateway.stream._fanout import send\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "ours, peer = socket.socketpair()\n"
        "peer.close()\n"
        "print(send([({1: ours.fileno()}, b'x')]))\n"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == f"((1, b'x', 0, {errno.EPIPE}),)\n"


def test_blocking_socket_is_not_waited_for() -> None:
    with clients(1) as (client,):
        client.fill()
        client.ours.setblocking(True)
        assert native()([(writers(client), b"x")]) == ((client, b"x", 0, 0),)


def test_closed_descriptor_is_an_error_of_its_owner_only(send: Send) -> None:
    with clients(3) as (a, closed, c):
        entries = writers(a, closed, c)
        closed.ours.close()
        assert send([(entries, b"x")]) == ((closed, b"x", 0, errno.EBADF),)
        assert a.received() == c.received() == b"x"


@pytest.mark.parametrize("descriptor", [-1, -(2**70)])
def test_negative_descriptor_leaves_all_to_the_transport(send: Send, descriptor: int) -> None:
    with clients(1) as (client,):
        found = send([({"tls": descriptor, client: client.fd}, b"x")])
        assert found == (("tls", b"x", 0, 0),)
        assert client.received() == b"x"


@pytest.mark.parametrize("descriptor", [None, "3", 1.5, 2**31, 2**31 - 1, 2**70, 1 << 20])
def test_entry_without_a_descriptor_is_its_owners_error(send: Send, descriptor: object) -> None:
    with clients(1) as (client,):
        found = send([({"none": descriptor, client: client.fd}, b"x")])
        assert found == (("none", b"x", 0, errno.EBADF),)
        assert client.received() == b"x"


def test_shortfalls_come_in_the_order_of_the_entries(send: Send) -> None:
    with clients(6) as six:
        for client in six[::2]:
            client.fill()
        first, second = writers(*six[:3]), writers(*six[3:])
        found = send([(second, b"2"), (first, b"1")])
        assert found == ((six[4], b"2", 0, 0), (six[0], b"1", 0, 0), (six[2], b"1", 0, 0))


def test_owner_that_was_removed_gets_nothing_more(send: Send) -> None:
    with clients(3) as (a, b, c):
        entries = writers(a, b, c)
        send([(entries, b"1")])
        del entries[b]
        send([(entries, b"2")])
        entries[b] = b.fd
        send([(entries, b"3")])
        assert [client.received() for client in (a, b, c)] == [b"123", b"13", b"123"]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        ({}, b"x"),
        (({}, b"x"),),
        [[{}, b"x"]],
        [({}, b"x", 1)],
        [({},)],
        [((), b"x")],
        [({}, "x")],
        [({}, bytearray(b"x"))],
        [None],
    ],
)
def test_batches_of_other_types_are_refused_before_anything_is_sent(
    send: Send,
    wrong: Any,  # noqa: ANN401 - anything
) -> None:
    with clients(1) as (client,):
        batches = wrong
        if isinstance(wrong, list):
            batches = [(writers(client), b"x"), *wrong]
        with pytest.raises(
            TypeError, match=r"batch(es)? must be a (list|tuple of a dict and bytes)"
        ):
            send(batches)
        assert client.received() == b""


# Ownership and re-entrancy


def test_fan_out_loses_and_leaks_no_reference_over_many_sends(send: Send) -> None:
    with clients(3) as (full, broken, well):
        full.fill()
        broken.peer.close()
        data = bytes(1000) + os.urandom(1)
        entries = writers(full, broken)
        batches: list[tuple[dict[Any, Any], bytes]] = [(entries, data), (writers(well), b"")]
        objects = (full, broken, well, data, entries, batches, batches[0])
        before = [sys.getrefcount(each) for each in objects]
        send(batches)
        tracemalloc.start()
        try:
            start, _ = tracemalloc.get_traced_memory()
            for _ in range(2_000 if send is fanout.send_in_python else 50_000):
                send(batches)
            end, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert [sys.getrefcount(each) for each in objects] == before
        assert end - start < 10_000


def test_shortfalls_keep_owners_and_buffers_alive(send: Send) -> None:
    entries: dict[Any, Any] = {f"owner {n}": -1 for n in range(100)}
    found = send([(entries, b"a frame of %d" % os.getpid())])
    entries.clear()
    gc.collect()
    assert found == tuple((f"owner {n}", b"a frame of %d" % os.getpid(), 0, 0) for n in range(100))


class Owner:
    """Kept alive by its entry only."""


class Ring:
    """Garbage of the collector's, which runs a function when it is found."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._itself = self
        self._act = act

    def __del__(self) -> None:
        self._act()


def test_finalizers_that_change_the_entries_do_no_harm(send: Send) -> None:
    # Making the result may start the garbage collector, and that any code.
    changed = 0
    for number in range(300):
        entries: dict[Any, Any] = {Owner(): -1 for _ in range(50)}
        owners = list(map(id, entries))
        batches = [(entries, b"frame %d" % number)]

        def change(batches: list[Any] = batches, entries: dict[Any, Any] = entries) -> None:
            batches.clear()
            entries.clear()
            entries[1] = 1

        Ring(change)
        before = gc.get_threshold()
        gc.set_threshold(1 + number % 60)
        try:
            found = send(batches)
        finally:
            gc.set_threshold(*before)
        if found:  # else it ran before the call
            changed += entries == {1: 1}
            assert [(id(owner), data) for owner, data, _, _ in found] == [
                (owner, b"frame %d" % number) for owner in owners
            ]
        del found
    assert changed > 10 or send is fanout.send_in_python  # which allocates before it begins


def test_entries_changed_by_another_thread_do_no_harm(send: Send) -> None:
    # They may not be, since the thread could close a socket; but no memory is broken by it.
    with clients(3) as three:
        entries: dict[Any, Any] = dict(writers(*three))
        stop = threading.Event()

        def change() -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                entries[number % 500] = -1
                entries.pop((number * 7) % 500, None)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            for number in range(500):
                frame = b"%d" % number
                found = send([(entries, frame)])
                assert all(isinstance(owner, int) for owner, *_ in found)
                assert [client.received() for client in three] == [frame] * 3
        finally:
            stop.set()
            thread.join()


# C and Python side by side


class World(NamedTuple):
    """The same clients once for each implementation."""

    send: Send
    clients: list[Client]
    entries: list[dict[Any, int]]


PEERS = st.integers(0, 5)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(st.integers(1, 9_000), min_size=1, max_size=2)),
        st.tuples(st.just("join"), PEERS, st.integers(0, 1)),
        st.tuples(st.just("leave"), PEERS),
        st.tuples(st.just("read"), PEERS),
        st.tuples(st.just("peer closes"), PEERS),
        st.tuples(st.just("close"), PEERS),
    ),
    max_size=40,
)


@given(operations=OPERATIONS)
def test_c_and_python_return_equal_shortfalls(operations: list[Any]) -> None:
    with clients(6) as six, clients(6) as six_more:
        worlds = [
            World(native(), six, [{}, {}]),
            World(fanout.send_in_python, six_more, [{}, {}]),
        ]
        results = [[_apply(world, operation) for operation in operations] for world in worlds]
        assert results[0] == results[1]


def _apply(world: World, operation: Any) -> object:  # noqa: ANN401 - one of OPERATIONS
    """Do it, and return what can be seen of it."""
    match operation:
        case ("send", sizes):
            batches = [
                (entries, bytes([1 + size % 255]) * size)
                for entries, size in zip(world.entries, sizes, strict=False)
            ]
            found = world.send(batches)
            return [
                (world.clients.index(owner), len(data), taken, error)
                for owner, data, taken, error in found
            ]
        case ("join", number, group):
            client = world.clients[number]
            for entries in world.entries:
                entries.pop(client, None)
            world.entries[group][client] = client.fd
        case ("leave", number):
            for entries in world.entries:
                entries.pop(world.clients[number], None)
        case ("read", number):
            with suppress(OSError):
                return world.clients[number].received()
        case ("peer closes", number):
            world.clients[number].peer.close()
        case ("close", number):  # as nothing may: the entry stays; no number is taken meanwhile
            world.clients[number].ours.close()
    return None


# Numbers of descriptors that another connection takes over


class Table:
    """Connections that come and go, and take over each other's numbers."""

    def __init__(self, send: Send, seed: int) -> None:
        self.send = send
        self.random = random.Random(seed)
        self.entries: list[dict[Client, int]] = [{}, {}, {}]
        self.expected: dict[Client, bytes] = {}
        self.used: set[int] = set()
        self.taken_over = 0

    def open(self) -> Client:
        client = Client()
        self.taken_over += client.fd in self.used
        self.used.add(client.fd)
        self.random.choice(self.entries)[client] = client.fd
        self.expected[client] = b""
        return client

    def leave(self, client: Client) -> None:
        for entries in self.entries:
            entries.pop(client, None)

    def check(self, client: Client) -> None:
        assert client.received() == self.expected[client]
        self.expected[client] = b""

    def tick(self, number: int) -> None:
        """Open and close some, in any order, before and after updates."""
        for step in range(self.random.randint(1, 6)):
            if self.expected and self.random.random() < 0.5:
                client = self.random.choice(list(self.expected))
                self.leave(client)
                client.ours.close()
                self.check(client)
                client.peer.close()
                del self.expected[client]
            else:
                self.open()
            self.update(b"<%d.%d>" % (number, step))

    def update(self, frame: bytes) -> None:
        batches = [
            (entries, b"%d%b" % (group, frame))
            for group, entries in enumerate(self.entries)
            if self.random.random() < 0.7
        ]
        assert self.send(batches) == ()
        for entries, data in batches:
            for client in entries:
                self.expected[client] += data


@pytest.mark.parametrize("seed", range(5))
def test_reused_descriptor_gets_no_byte_of_another_connection(send: Send, seed: int) -> None:
    table = Table(send, seed)
    try:
        for number in range(200):
            table.tick(number)
            for client in table.expected:
                table.check(client)
        assert table.taken_over > 50
    finally:
        for client in table.expected:
            client.close()


def test_table_finds_an_entry_that_stays_after_its_socket_closed(send: Send) -> None:
    # So it would tell, if the rule were broken.
    table = Table(send, 1)
    table.random.random = lambda: 0.0  # type: ignore[method-assign]  # all groups get the update
    client = table.open()
    number = client.fd
    client.ours.close()
    other = table.open()
    assert other.fd == number
    table.update(b"x")
    with pytest.raises(AssertionError):
        table.check(other)
    other.close()
    client.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("ending", ["close", "abort", "peer leaves", "peer resets", "write fails"])
def test_transport_closes_its_socket_after_connection_lost(
    new_loop: Callable[[], asyncio.AbstractEventLoop], ending: str
) -> None:
    # The rule is kept by leaving in `connection_lost`: the number is not free before.
    seen: list[tuple[Path, Path]] = []

    def name_of(descriptor: int) -> Path:
        return Path(f"/proc/self/fd/{descriptor}").readlink()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self.fd = transport.get_extra_info("socket").fileno()
            self.name = name_of(self.fd)
            made.set_result(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            del exc
            seen.append((self.name, name_of(self.fd)))
            lost.set_result(None)

    async def run() -> None:
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        peer = socket.create_connection(server.sockets[0].getsockname())
        transport = await made
        if ending == "close":
            transport.close()
        elif ending == "abort":
            transport.abort()
        elif ending == "peer leaves":
            peer.close()
        else:
            if ending == "write fails":
                transport.pause_reading()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            if ending == "write fails":
                transport.write(b"x")
                transport.write(b"x")
        await asyncio.wait_for(lost, 10)
        peer.close()
        server.close()
        await server.wait_closed()

    loop = new_loop()
    made: asyncio.Future[asyncio.Transport] = loop.create_future()
    lost: asyncio.Future[None] = loop.create_future()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    [(before, at_the_end)] = seen
    assert before == at_the_end


# Which one runs


@pytest.mark.parametrize(("variable", "expected"), [("", "c"), ("1", "python")])
def test_variable_forces_the_implementation_in_python(variable: str, expected: str) -> None:
    program = (
        "from ime_live.gateway.stream import fanout\n"
        "print(fanout.IMPLEMENTATION, fanout.send is fanout.send_in_python)\n"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=os.environ | {fanout.NO_EXTENSIONS: variable},
    )
    assert done.stdout.split() == [expected, str(expected == "python")]


def test_extension_of_another_version_is_not_used() -> None:
    program = (
        "import sys, types, warnings\n"
        "name = 'ime_live.gateway.stream._fanout'\n"
        "import ime_live.gateway.stream as package\n"
        "old = sys.modules[name] = package._fanout = types.ModuleType(name)\n"
        "old.send, old.__file__ = None, 'old.so'\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    warnings.simplefilter('always')\n"
        "    from ime_live.gateway.stream import fanout\n"
        "print(fanout.IMPLEMENTATION, *(each.message for each in said))\n"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=os.environ | {fanout.NO_EXTENSIONS: ""},
    )
    assert done.stdout.startswith("python old.so must be built from this version")
