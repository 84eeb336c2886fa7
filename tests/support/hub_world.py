"""A hub with a loop, timers and a clock of its own, and clients that take down what they are given.

For tests of the hub step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC

from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.hub.delivery_options import DEFAULTS, DeliveryOptions
from ime_live.gateway.hub.hub import Hub
from ime_live.gateway.hub.state_table import StateTable
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.hub.transport import Send
from ime_live.market import Update
from tests.support.clock import GivenClock
from tests.support.fake_sockets import FakeSocket, send
from tests.support.frames import Message, Reader
from tests.support.payloads import payload
from tests.support.timers import Timers

NOW = 1_780_000_000_000_000
A, B, C = payload(1), payload(2), payload(3)

DEFLATE = DeliveryOptions(format=wire.Format.DEFLATE)


class Writer(FakeSocket):
    """Takes down what it is given."""

    def __init__(self, *, compressed: bool = False) -> None:
        self.writes: list[bytes] = []
        self.error: OSError | None = None
        self.compressed = compressed

    def write(self, data: bytes, /) -> int:
        """Take all of it."""
        if self.error is not None:
            raise self.error
        self.writes.append(data)
        return len(data)

    def keep(self, rest: bytes, /) -> None:
        """Never called by this one's own fault."""
        raise AssertionError(f"all was taken, and {len(rest)} bytes are left")

    @property
    def messages(self) -> list[Message]:
        """All messages, in order."""
        reader = Reader(compressed=self.compressed)
        return [message for data in self.writes for message in reader.messages(data)]

    @property
    def prices(self) -> list[float]:
        """The last prices in all messages, in order."""
        return [message.price for message in self.messages]


class World:
    """A hub, its loop, its clock and its events."""

    def __init__(self, *, send: Send = send) -> None:
        self.now = NOW
        self.callbacks: list[Callable[[], None]] = []
        self.deliveries: list[tuple[int, int]] = []
        self.timers = Timers()
        self.replaced = 0
        self.thin = 0
        self.drops: list[str] = []
        self.failures: list[tuple[Subscriber, Exception]] = []
        clock = GivenClock(lambda: self.now, self.timers.monotonic)
        self.states = StateTable(
            zone=UTC,
            clock=clock,
            events=self,
        )
        self.hub = Hub(
            self.states,
            send=send,
            clock=clock,
            call_soon=self.callbacks.append,
            call_later=self.timers.call_later,
            events=self,
        )

    def delivered(self, messages: int, oldest_version: int) -> None:
        """Note messages that were delivered."""
        self.deliveries.append((messages, oldest_version))

    def conflated(self, messages: int) -> None:
        """Note messages that newer ones replaced."""
        self.replaced += messages

    def throttled(self, messages: int) -> None:
        """Note messages that `max_rate` held back."""
        self.thin += messages

    def dropped(self, reason: str) -> None:
        """Note an update that was dropped."""
        self.drops.append(reason)

    def failed(self, subscriber: Subscriber, error: Exception) -> None:
        """Note a subscriber that failed."""
        self.failures.append((subscriber, error))

    def tick(self) -> None:
        """The end of the event loop's tick."""
        callbacks, self.callbacks[:] = self.callbacks[:], []
        for callback in callbacks:
            callback()

    def open(self, *ids: str, last: Update | None = None) -> None:
        """Open contracts whose last state is known."""
        for contract_id in ids:
            self.states.open(contract_id)
            self.states.load(contract_id, last)

    def join(self, *ids: str, options: DeliveryOptions = DEFAULTS) -> tuple[Subscriber, Writer]:
        """Add a client of these contracts."""
        writer = Writer(compressed=options.format is wire.Format.DEFLATE)
        return self.hub.join(selection(*ids), writer, options), writer


def sizes_of(subscriber: Subscriber) -> dict[str, int]:
    """How many contracts are in each collection that a subscriber has."""
    values = {name: getattr(subscriber, name) for name in Subscriber.__slots__}
    if subscriber.throttle is not None:
        values["closed"] = subscriber.throttle.closed
    return {name: len(each) for name, each in values.items() if isinstance(each, dict)}


def selection(*ids: str) -> dict[str, ContractRef]:
    """A selection of contracts by id."""
    return {contract_id: ContractRef.of(By.ID, contract_id) for contract_id in ids}
