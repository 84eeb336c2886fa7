"""A process without sockets: a transport, a loop's turns, and what a connection needs besides.

For tests of connections step by step. Time moves and turns are taken when a test says so.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import structlog

from ime_live.contracts import Contract
from ime_live.gateway.auth.authenticator import NoAuthenticator
from ime_live.gateway.auth.cors import Cors, Origins
from ime_live.gateway.drain import Drain
from ime_live.gateway.http.lingering import SlowReader
from ime_live.gateway.hub.state_table import StateTable
from ime_live.gateway.limits.client_address import ClientAddresses
from ime_live.gateway.limits.request_memory import RequestMemory
from ime_live.gateway.limits.stream_limits import StreamLimits
from ime_live.gateway.limits.work_queue import WorkQueue
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.stream import fanout
from ime_live.gateway.stream.context import GatewayContext
from ime_live.gateway.stream.handshake import Negotiator
from ime_live.gateway.stream.heartbeat import Heartbeat
from ime_live.gateway.stream.open_streams import OpenStreams
from ime_live.log_limiter import LogLimiter
from ime_live.rate import Rate
from ime_live.registry import Registry
from ime_live.settings import AuthMode, GatewaySettings
from ime_live.timezones import zone_of
from tests.support.clock import GivenClock
from tests.support.hub_world import NOW, World
from tests.support.timers import Timers

CONTRACT = Contract(contract_id="1", contract_name="KASH")


class Loop:
    """The parts of a loop that connections use. Its timers run when a test says so."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._soon: list[Callable[[], object]] = []

    def create_task(self, work: Any) -> asyncio.Task[Any]:  # noqa: ANN401 - as asyncio has it
        """Run a coroutine; `settle` lets it go on."""
        return asyncio.get_running_loop().create_task(work)

    def call_soon(self, act: Callable[[], object]) -> None:
        """Call it in the next turn."""
        self._soon.append(act)

    def call_later(self, delay: float, act: Callable[[], object]) -> Any:  # noqa: ANN401
        """Call it when the test's time has come there."""
        handle = SimpleNamespace(cancelled=False)
        handle.cancel = lambda: setattr(handle, "cancelled", True)
        self._timers.call_later(delay, lambda: None if handle.cancelled else cast(None, act()))
        return handle

    def take_turn(self) -> bool:
        """Call what is due in this turn; whether there was anything."""
        due, self._soon = self._soon, []
        for act in due:
            act()
        return bool(due)


class Transport(asyncio.Transport):
    """Takes down what is written, and gives its protocol what the peer sends."""

    def __init__(self, protocol: Any) -> None:  # noqa: ANN401 - as asyncio has it
        super().__init__()
        self._protocol = protocol
        self._arrived = bytearray()
        self._reading = True
        self._limit = 65_536
        self.written = b""
        self.held = 0
        """Bytes of it that the peer has not taken."""
        self.takes = True
        """Whether the peer takes what is written."""
        self.eof_written = False
        self.ended: str | None = None
        """How: closed or aborted."""
        self.reads = 0
        # The hub writes past the transport.
        self._peer, self._socket = socket.socketpair()
        self._peer.setblocking(False)
        self._socket.setblocking(False)
        protocol.connection_made(self)

    def __del__(self) -> None:
        self._peer.close()
        self._socket.close()

    def read_from_hub(self) -> bytes:
        """Return what the hub has written past the transport since the last call."""
        with suppress(BlockingIOError):
            return self._peer.recv(1_000_000)
        return b""

    # Actions of the peer

    def send(self, data: bytes, at_most: int = 256_000) -> None:
        """Let bytes arrive. They are read ``at_most`` so many at a time."""
        self._arrived += data
        while self._arrived and self._reading and self.ended is None:
            part = bytes(self._arrived[:at_most])
            del self._arrived[:at_most]
            self.reads += 1
            self._protocol.data_received(part)

    def send_eof(self) -> None:
        """Close the peer's half, once everything it has sent is read."""
        assert not self._arrived
        if self.ended is None and not self._protocol.eof_received():
            self.close()

    def take(self) -> None:
        """Take what was written."""
        self.held = 0
        self.takes = True
        self._protocol.resume_writing()

    @property
    def unread(self) -> int:
        """Bytes that have arrived and wait in the kernel."""
        return len(self._arrived)

    # Calls of the protocol

    def write(self, data: Any) -> None:  # noqa: ANN401 - as asyncio has it
        """Take down."""
        assert not self.eof_written, "written after the end"
        if self.ended is not None:
            return
        self.written += data
        if not self.takes:
            pauses = self.held <= self._limit
            self.held += len(data)
            if pauses and self.held > self._limit:
                self._protocol.pause_writing()

    def write_eof(self) -> None:
        """Close our half."""
        self.eof_written = True

    def get_write_buffer_size(self) -> int:
        """Bytes that the peer has not taken."""
        return self.held

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """More than this pauses the protocol."""
        del low
        assert high is not None
        if high < self.held <= self._limit:
            self._protocol.pause_writing()
        self._limit = high

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel."""
        self._reading = False

    def resume_reading(self) -> None:
        """Read again; as in a loop, not before the next turn."""
        self._reading = self.ended is None

    def is_reading(self) -> bool:
        """Whether it reads."""
        return self._reading

    def close(self) -> None:
        """End in good order."""
        self._end("closed")

    def abort(self) -> None:
        """End at once."""
        self._end("aborted")

    def _end(self, how: str) -> None:
        if self.ended is None:
            self.ended = how
            self._reading = False
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def is_closing(self) -> bool:
        """Whether it has ended."""
        return self.ended is not None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol take over."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The present one."""
        return cast(asyncio.BaseProtocol, self._protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """Addresses, and a socket to write to."""
        return {
            "peername": ("192.0.2.1", 5000),
            "sockname": ("192.0.2.2", 80),
            "socket": self._socket,
        }[name]


class Upstream:
    """Has every contract at hand."""

    def __init__(self, states: StateTable) -> None:
        self._states = states
        self.slow = asyncio.Event()
        """Cleared: it takes its time."""
        self.slow.set()

    async def acquire(self, ids: Iterable[str]) -> None:
        """Open contracts."""
        await self.slow.wait()
        for contract_id in ids:
            self._states.open(contract_id)
            self._states.load(contract_id, None)

    def check_channels(self, ids: Collection[str]) -> None:
        """None is refused."""

    def release(self, ids: Collection[str]) -> None:
        """Nothing is let go of."""


class Process:
    """The parts of a process, and its clock."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - as in GatewaySettings
        self.world = World(send=fanout.send)
        self.timers = Timers()
        self.loop = Loop(self.timers)
        self.upstream = Upstream(self.world.states)
        self.closed: list[tuple[int, str]] = []
        self.connections: set[Any] = set()
        chosen = GatewaySettings(auth=AuthMode.NONE, **settings)
        clock = GivenClock(lambda: NOW, self.timers.monotonic)
        limited = LogLimiter(structlog.get_logger(), clock=clock)
        open_streams = OpenStreams()
        self.drain = Drain(open_streams, grace=0.0, spread=0.0)
        self.heartbeat = Heartbeat(chosen.ping_interval, chosen.ping_timeout, 60.0, limited=limited)
        parts: Any = SimpleNamespace(
            settings=chosen,
            zone=zone_of("UTC"),
            authenticator=NoAuthenticator(),
            contract_cache=SimpleNamespace(registry=Registry([CONTRACT])),
            diagnostics=Diagnostics(),
            upstream=self.upstream,
            states=self.world.states,
            hub=self.world.hub,
            status_messages=SimpleNamespace(remove=lambda client: None),
            heartbeat=self.heartbeat,
            metrics=SimpleNamespace(
                opened=lambda: None,
                refused=lambda reason: None,
                closed=lambda code, reason: self.closed.append((code, reason)),
            ),
            loop=self.loop,
            handshake=Negotiator(compression=chosen.compression),
            message_rate=Rate(chosen.client_rate),
            cors=Cors(()),
            stream_origins=Origins(["*"]),
            addresses=ClientAddresses.from_settings(chosen),
            limits=StreamLimits(chosen),
            request_memory=RequestMemory(chosen.max_waiting),
            work=WorkQueue(self.loop.call_soon),
            slow_reader=SlowReader(self.loop.call_later, clock),
            open_streams=open_streams,
            drain=self.drain,
            limited=limited,
            log=structlog.get_logger(),
            clock=clock,
            market_clock=GivenClock(time_us=lambda: NOW),
        )
        self.context: GatewayContext = parts

    async def settle(self) -> int:
        """Let everything go on that can; in how many turns it did."""
        turns = 0
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            if not self.loop.take_turn():
                return turns
            turns += 1
