"""The hub under any interleaving of updates, ticks, slow clients, joins, leaves and store faults.

A machine plays the store, the publishers, the event loop and the clients, and decodes every byte
that a client is sent. It keeps its own account of what the hub was told and of what each client
must have. Shown: every client ends with the newest state of each of its contracts (of those that
changed since it came, unless it asked for the present ones); the versions of a contract grow; no
state comes twice in a row; a paused client is never written to and then gets nothing that was
replaced meanwhile; one write per client and tick, the same bytes for the same selection; a client
that fails harms no other. And of a client that watches the feed: each status that it reads names
exactly the time stamps of the last messages that it has read before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ime_live.gateway import hub as hub_module
from ime_live.gateway import wire
from ime_live.gateway.hub import Hub
from ime_live.gateway.mode import Mode
from ime_live.gateway.topic import Client
from ime_live.gateway.watch import Watch
from ime_live.market import Payload, Update

from .frames import Message, Reader, Status
from .payloads import payload
from .timers import Timers

CONTRACTS: Final = ("1", "2", "3")
PAYLOADS: Final = tuple(payload(price) for price in (0, 80978.9, 1163500))
EVERYTHING: Final = 1 << 40

contracts = st.sampled_from(CONTRACTS)
payloads = st.integers(0, len(PAYLOADS) - 1)
# Mostly a few selections, so that clients share them.
selections = st.one_of(
    st.sampled_from([("1",), ("1", "2")]),
    st.lists(contracts, min_size=1, unique=True).map(tuple),
)
# A message has about 700 bytes, 350 compressed: some of them, one after another, or all.
room = st.one_of(st.integers(0, 3000), st.just(EVERYTHING))
which = st.integers(0, 1000)


@dataclass(frozen=True)
class Join:
    """How a client comes."""

    wanted: tuple[str, ...]
    by_name: bool
    compressed: bool
    states: int | None
    """None: no states are asked for; 0: all of them; else since when."""
    room: int
    store_away: bool
    watches: bool


joins = st.builds(
    Join,
    wanted=selections,
    by_name=st.sampled_from([False, False, True]),
    compressed=st.sampled_from([False, False, True]),
    states=st.one_of(st.none(), st.just(0), which),
    room=room,
    store_away=st.booleans(),
    watches=st.booleans(),
)


class TransportGoneError(Exception):
    """What a failing client's write raises."""


@dataclass
class Contract:
    """What the hub knows of an open contract, by the test's own account."""

    opened: int
    loaded: bool = False
    held: tuple[int | None, Payload] | None = None
    newest: int = 0
    """Of the versions that publishers gave."""
    stamp: int = 0
    """Of the versions that clients were given."""
    state: tuple[int, Payload] | None = None


@dataclass(eq=False)
class Consumer:
    """A client: its transport, what it has read, and what it must have read in the end."""

    hub: Hub
    selection: dict[str, bytes]
    contract_of: dict[str, str]
    """By the name or id under which its messages come."""
    compressed: bool
    since: int | None
    room: int
    reader: Reader
    client: Client = field(init=False)
    paused: bool = False
    failing: bool = False
    failed: bool = False
    writes: list[bytes] = field(default_factory=list)
    """Of this tick."""
    half_taken: tuple[bytes, int] = (b"", 0)
    """The last write of which not all was taken, and how much was."""
    received: dict[str, Message] = field(default_factory=dict)
    claimed: dict[str, Payload] = field(default_factory=dict)
    """What it has by its own word, ``since``."""
    due: set[str] = field(default_factory=set)
    """Contracts whose newest state it must have in the end."""
    watches: bool = False
    status: Status | None = None
    """The last one."""
    floor: dict[str, int] = field(default_factory=dict)
    """The newest version of each contract that came while it was paused."""

    @property
    def group(self) -> object:
        return self.compressed, frozenset(self.selection.items())

    def has(self, contract_id: str) -> Payload | None:
        if contract_id in self.received:
            return self.received[contract_id].payload
        return self.claimed.get(contract_id)

    def write(self, data: bytes, /) -> int:
        assert not self.paused, "written to while paused"
        assert not self.failed, "written to after it failed"
        if self.failing:
            self.failed = True
            raise TransportGoneError
        taken = min(len(data), max(self.room, 0))
        self.room -= len(data)
        if taken == len(data):
            self._read(data)
            return taken
        self.half_taken = data, taken
        if taken == 0:
            raise BlockingIOError
        return taken

    def keep(self, rest: bytes, /) -> None:
        data, taken = self.half_taken
        assert data[taken:] == rest
        self._read(data)
        self.paused = True
        self.hub.pause(self.client)

    def _read(self, data: bytes) -> None:
        messages = self.reader.read(data)
        if not isinstance(messages[0], Status):
            self.writes.append(data)
        for message in messages:
            if isinstance(message, Status):
                self._check(message)
            else:
                self._take(self.contract_of[message.contract], message)

    def _check(self, status: Status) -> None:
        assert self.watches, "a status that it has not asked for"
        assert status.contracts.keys() == self.contract_of.keys()
        for name, named in status.contracts.items():
            last = self.received.get(self.contract_of[name])
            # Without a snapshot a client may not have been sent what was there before it.
            if last is not None or self.since == 0:
                assert named == (last and last.version), "not what the client holds"
        self.status = status

    def _take(self, contract_id: str, message: Message) -> None:
        assert contract_id in self.due, "sent although nothing has changed"
        last = self.received.get(contract_id)
        assert last is None or message.version > last.version, "versions do not grow"
        assert message.payload != self.has(contract_id), "an equal state twice"
        assert message.version >= self.floor.get(contract_id, 0), "replaced while paused"
        self.received[contract_id] = message


class Loop:
    """The end of the event loop's tick."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def run(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        assert len(callbacks) <= 1, "scheduled more than once a tick"
        for callback in callbacks:
            callback()


class Events:
    """Nothing is counted here."""

    def __init__(self) -> None:
        self.failures: list[Client] = []

    def delivered(self, messages: int, oldest_version: int) -> None:
        assert messages > 0

    def conflated(self, messages: int) -> None:
        assert messages > 0

    def thinned(self, messages: int) -> None:
        assert messages > 0

    def dropped(self, reason: str) -> None:
        assert reason in ("equal", "stale")

    def failed(self, client: Client, error: Exception) -> None:
        if not isinstance(error, TransportGoneError):
            raise error
        self.failures.append(client)


class HubMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        # So that catching up takes several writes.
        self.patch.setattr(hub_module, "CATCH_UP_BYTES", 1000)
        self.encoded = 0
        self.make_message = wire.message
        self.patch.setattr(wire, "message", self.message)
        self.now = 1_780_000_000_000_000
        self.loop = Loop()
        self.events = Events()
        self.timers = Timers()
        self.hub = Hub(
            zone=UTC,
            clock=lambda: self.now,
            monotonic=self.timers.monotonic,
            call_soon=self.loop.call_soon,
            call_later=self.timers.call_later,
            events=self.events,
        )
        self.watch = Watch(
            self.hub, zone=UTC, clock=lambda: self.now, feed=lambda: None, told=lambda: None
        )
        self.stored: dict[str, Update] = {}
        self.past: dict[str, list[Update]] = {contract_id: [] for contract_id in CONTRACTS}
        self.known: dict[str, Contract] = {}
        self.consumers: list[Consumer] = []
        self.catching_up: set[Consumer] = set()
        """Those who get what was loaded in this tick."""

    def message(self, *parts: Any) -> bytes:  # noqa: ANN401 - passed on
        self.encoded += 1
        return self.make_message(*parts)

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.patch.undo()

    # The test's own account

    def arrived(self, contract_id: str, version: int | None, new: Payload) -> None:
        contract = self.known.get(contract_id)
        if contract is None:
            return
        if contract.loaded:
            self.accepted(contract_id, contract, version, new)
            return
        held = contract.held[0] if contract.held is not None else None
        if version is None or held is None or version > held:
            contract.held = (version, new)

    def accepted(
        self, contract_id: str, contract: Contract, version: int | None, new: Payload
    ) -> None:
        if version is None:
            version = self.now
        elif version <= contract.newest:
            return
        else:
            contract.newest = version
        if contract.state is not None and contract.state[1] == new:
            return
        contract.stamp = max(version, contract.stamp + 1)
        contract.state = (contract.stamp, new)
        for consumer in self.consumers:
            if contract_id in consumer.selection:
                consumer.due.add(contract_id)
                if consumer.paused:
                    consumer.floor[contract_id] = contract.stamp

    def load(self, contract_id: str) -> None:
        contract, last = self.known[contract_id], self.stored.get(contract_id)
        if contract.loaded:
            if last is not None:
                self.accepted(contract_id, contract, last.version, last.payload)
        else:
            contract.loaded = True
            if last is not None:
                contract.newest = contract.stamp = last.version
                contract.state = (last.version, last.payload)
                for consumer in self.consumers:
                    if contract_id in consumer.selection:
                        self.loaded_for(consumer, contract_id, contract, last)
            if contract.held is not None:
                self.accepted(contract_id, contract, *contract.held)
        self.hub.load(contract_id, last)

    def loaded_for(
        self, consumer: Consumer, contract_id: str, contract: Contract, last: Update
    ) -> None:
        if last.version > (contract.opened if consumer.since is None else consumer.since):
            consumer.due.add(contract_id)
            self.catching_up.add(consumer)
        elif consumer.since is not None:
            consumer.claimed[contract_id] = last.payload

    # What publishers do

    @rule(
        contract_id=contracts,
        prices=st.lists(payloads, min_size=1, max_size=3),
        ahead=st.sampled_from([0, 0, 100]),
        lost=st.sampled_from([False, False, True]),
        apart=st.booleans(),
    )
    def publish(
        self, contract_id: str, prices: list[int], ahead: int, lost: bool, apart: bool
    ) -> None:
        """Our publisher: stores and publishes what is a change; the messages may be lost."""
        for price in prices:
            last, new = self.stored.get(contract_id), PAYLOADS[price]
            if apart:
                self.tick()
            self.now += 7
            if last is None or last.payload != new:
                version = max(self.now + ahead, last.version + 1 if last is not None else 0)
                self.stored[contract_id] = update = Update(version, new)
                self.past[contract_id].append(update)
                if not lost:
                    self.arrived(contract_id, version, new)
                    self.hub.publish(contract_id, version, new)

    @rule(contract_id=contracts, price=payloads, apart=st.booleans())
    def go_and_come_back(self, contract_id: str, price: int, apart: bool) -> None:
        """Another state, and the last one again."""
        last = self.stored.get(contract_id)
        if last is not None:
            self.publish(
                contract_id, [price, PAYLOADS.index(last.payload)], 0, lost=False, apart=apart
            )

    @rule(contract_id=contracts, price=payloads)
    def publish_without_version(self, contract_id: str, price: int) -> None:
        """A publisher that is not ours, and stores nothing."""
        self.now += 7
        self.arrived(contract_id, None, PAYLOADS[price])
        self.hub.publish(contract_id, None, PAYLOADS[price])

    @rule(contract_id=contracts, later=st.booleans())
    def repeat(self, contract_id: str, later: bool) -> None:
        """One that sends the same again, under a later version or the very same message."""
        if (last := self.stored.get(contract_id)) is not None:
            self.now += 7
            version = max(self.now, last.version + 1) if later else last.version
            self.arrived(contract_id, version, last.payload)
            self.hub.publish(contract_id, version, last.payload)

    @rule(contract_id=contracts, number=which)
    def publish_late(self, contract_id: str, number: int) -> None:
        """A message that others have overtaken."""
        if past := self.past[contract_id]:
            update = past[number % len(past)]
            self.arrived(contract_id, update.version, update.payload)
            self.hub.publish(contract_id, update.version, update.payload)

    # What the event loop and the store do

    @rule()
    def tick(self) -> None:
        ready = [consumer for consumer in self.consumers if not consumer.paused]
        self.forget_writes()
        self.encoded = 0
        self.loop.run()
        assert ready or not self.encoded, "encoded for nobody"
        shared: dict[object, set[int]] = {}
        for consumer in self.consumers:
            if consumer.writes and consumer not in self.catching_up:
                assert len(consumer.writes) == 1, "several writes in a tick"
                shared.setdefault(consumer.group, set()).add(id(consumer.writes[0]))
        assert all(len(buffers) == 1 for buffers in shared.values()), "a buffer not shared"
        self.catching_up.clear()

    def forget_writes(self) -> None:
        for consumer in self.consumers:
            consumer.writes.clear()

    @rule(contract_id=contracts)
    def load_one(self, contract_id: str) -> None:
        if contract_id in self.known:
            self.load(contract_id)

    @rule()
    def reload(self) -> None:
        """The connection to the store was broken and is back."""
        for contract_id in self.known:
            self.load(contract_id)

    # What clients do

    @initialize(joins=st.lists(joins, min_size=1, max_size=3), stored=st.booleans())
    def begin(self, joins: list[Join], stored: bool) -> None:
        """Some clients are there from the beginning, and mostly something is stored."""
        if stored:
            for contract_id in CONTRACTS:
                self.publish(contract_id, [0], 0, lost=False, apart=False)
        for join in joins:
            self.join(join)

    @rule(join=joins)
    def join(self, join: Join) -> None:
        if len(self.consumers) >= 8:
            return
        for contract_id in join.wanted:
            if contract_id not in self.known:
                self.known[contract_id] = Contract(self.now)
                self.hub.open(contract_id)
                if not join.store_away:
                    self.load(contract_id)
        names = {i: f"سکه{i}" if join.by_name else i for i in join.wanted}
        envelope = wire.envelope_by_name if join.by_name else wire.envelope_by_id
        consumer = Consumer(
            self.hub,
            {i: envelope(name) for i, name in names.items()},
            {name: i for i, name in names.items()},
            join.compressed,
            join.states and self.since(join.wanted, join.states),
            join.room,
            Reader(compressed=join.compressed),
            watches=join.watches,
        )
        self.forget_writes()
        mode = Mode(wrapping=wire.Format.DEFLATE if join.compressed else wire.Format.TEXT)
        consumer.client = self.hub.join(consumer.selection, consumer, mode)
        assert all(len(other.writes) <= 1 for other in self.consumers)
        self.consumers.append(consumer)
        if consumer.since is not None:
            self.send_states(consumer, join.wanted, consumer.since)
        if consumer.watches:
            self.watch.add(consumer.client, current=True)
            if not consumer.paused and not consumer.failed:
                assert consumer.status is not None

    def send_states(self, consumer: Consumer, wanted: tuple[str, ...], since: int) -> None:
        for contract_id in wanted:
            contract = self.known[contract_id]
            if contract.state is not None:
                if contract.state[0] > since:
                    consumer.due.add(contract_id)
                else:
                    consumer.claimed[contract_id] = contract.state[1]
        self.hub.send_states(consumer.client, since)

    def since(self, wanted: tuple[str, ...], number: int) -> int:
        """A time stamp that a client may have seen last."""
        seen = [
            contract.state[0] if contract.state is not None else self.now
            for contract in map(self.known.__getitem__, wanted)
        ]
        return seen[number % len(seen)]

    @precondition(lambda self: self.consumers)
    @rule(number=which)
    def leave(self, number: int) -> None:
        consumer = self.consumers.pop(number % len(self.consumers))
        self.hub.leave(consumer.client)
        self.watch.remove(consumer.client)
        for contract_id in consumer.selection:
            if not any(contract_id in other.selection for other in self.consumers):
                self.known.pop(contract_id, None)
                self.hub.close(contract_id)

    @rule(contract_id=contracts)
    def close(self, contract_id: str) -> None:
        """What somebody wants stays."""
        if any(contract_id in c.selection and not c.failed for c in self.consumers):
            self.hub.close(contract_id)

    @precondition(lambda self: self.consumers)
    @rule(number=which, room=room)
    def pause_or_resume(self, number: int, room: int) -> None:
        consumer = self.consumers[number % len(self.consumers)]
        if not consumer.paused:
            consumer.paused = True
            self.hub.pause(consumer.client)
            return
        self.forget_writes()
        self.make_writable(consumer, room)
        for other in self.consumers:
            assert len(other.writes) <= 1 or other is consumer

    def make_writable(self, consumer: Consumer, room: int) -> None:
        consumer.room, consumer.paused = room, False
        self.hub.resume(consumer.client)

    @rule()
    def tell(self) -> None:
        """A round of status messages."""
        self.forget_writes()
        for consumer in self.consumers:
            consumer.status = None
        for _ in self.watch.tell(self.watch.audiences, CONTRACTS):
            pass
        for consumer in self.consumers:
            if not consumer.paused and not consumer.failed and consumer not in self.catching_up:
                assert (consumer.status is not None) == consumer.watches
            assert len(consumer.writes) <= 1

    @precondition(lambda self: self.consumers)
    @rule(number=which)
    def fail(self, number: int) -> None:
        """From now on its transport raises."""
        self.consumers[number % len(self.consumers)].failing = True

    # What must hold

    @invariant()
    def bounded(self) -> None:
        for consumer in self.consumers:
            missed: dict[Any, Any] = consumer.client.missed
            assert len(missed) <= len(consumer.selection)

    @rule()
    def settle(self) -> None:
        """Everything is loaded, written and read: everybody is up to date."""
        self.reload()
        self.tick()
        for consumer in self.consumers:
            if consumer.paused or consumer.room < EVERYTHING:
                self.make_writable(consumer, 2 * EVERYTHING)
        self.tick()
        self.tell()
        assert set(self.events.failures) >= {c.client for c in self.consumers if c.failed}
        for consumer in self.consumers:
            if consumer.failed:
                continue
            for contract_id in consumer.selection:
                state = self.known[contract_id].state
                if contract_id in consumer.due:
                    assert state is not None
                    assert consumer.has(contract_id) == state[1], "not the newest state"
                else:
                    assert contract_id not in consumer.received


TestHub = HubMachine.TestCase
TestHub.settings = settings(
    max_examples=600,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
