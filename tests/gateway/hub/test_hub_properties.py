"""The hub under any interleaving of updates, ticks, slow clients, joins, leaves and store faults.

A state machine plays the store, the publishers, the event loop and the clients, and decodes every
byte sent to a client. It keeps its own account of the updates and of the states that each client
must have. The invariants:

- Every client ends with the newest state of each of its contracts; without a snapshot, of those
  that changed since it connected.
- The versions of a contract grow, and no client gets an equal state twice in a row.
- A paused client is never written to. Conflation: on resume it gets no state that was replaced.
- There is one write per client and tick, with the same bytes for the same selection. A client that
  catches up gets several writes, so that states not written yet can still be replaced.
- A client that fails does not affect others.
- Each status names exactly the timestamps of the last messages that its client has read before,
  and says ``current: true`` only if the gateway's states are those in the store.
- A `max_rate` is kept and the count of skipped states is right, with any sections and after any
  change of the selection.
- A reader of events that reconnects with the last id gets every state that it has not received.
- A contract that joins the live selections of clients comes with its present state, whether they
  are slow, paused or throttled; nothing is sent of one that has left.
- A client that resumes with a newer state than the gateway knows, from another gateway or from
  before the store went back, gets the state as soon as it is published again.

The store may go back to what it was before, lose everything, or be written to by others. When a
publisher has confirmed what it holds, the gateway follows it.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, Final, TypeVar

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

from ime_live.gateway.hub import delivery
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.hub.delivery_options import DeliveryOptions
from ime_live.gateway.hub.hub import Hub
from ime_live.gateway.hub.state_table import StateTable
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.upstream import reconciler
from ime_live.gateway.upstream.reconciler import Reconciler
from ime_live.gateway.upstream.status_messages import StatusMessages
from ime_live.market import MICROSECONDS, Payload, PayloadSections, sections_of, version_of
from ime_live.store.records import LastState, Lift, Lifted
from tests.support.clock import GivenClock
from tests.support.fake_sockets import FakeSocket, send
from tests.support.frames import Message, Reader, Status
from tests.support.hub_world import sizes_of
from tests.support.payloads import payload
from tests.support.timers import Timers

CONTRACTS: Final = ("1", "2", "3")
PAYLOADS: Final = (payload(0), payload(80978.9), payload(1163500), payload(0, open_interest=7))
MOST: Final = 2
"""Seconds of the longest interval between two messages of a contract."""
EVERYTHING: Final = 1 << 40

contracts = st.sampled_from(CONTRACTS)
payloads = st.integers(0, len(PAYLOADS) - 1)
# Mostly a few selections, so that clients share them.
selections = st.one_of(
    st.sampled_from([("1",), ("1", "2")]),
    st.lists(contracts, min_size=1, unique=True).map(tuple),
)
# A message has about 700 bytes, 350 compressed: some of them, one after another, or all.
sections = st.sampled_from([(), (), (), ("ContractInfo",), ("BestLimit", "Aggregate")])
room = st.one_of(st.integers(0, 3000), st.just(EVERYTHING))
which = st.integers(0, 1000)


@dataclass(frozen=True)
class Join:
    """How a client comes."""

    wanted: tuple[str, ...]
    by_name: bool
    states: int | None
    """None: no states are asked for; 0: all of them; else since when."""
    room: int
    store_away: bool
    watches: bool
    options: DeliveryOptions
    follows: bool = False
    """Whether it wants what is listed, now and later, instead of ``wanted``."""


joins = st.builds(
    Join,
    wanted=selections,
    by_name=st.sampled_from([False, False, True]),
    states=st.one_of(st.none(), st.just(0), which),
    room=room,
    store_away=st.booleans(),
    watches=st.booleans(),
    options=st.builds(
        DeliveryOptions,
        format=st.sampled_from([wire.Format.TEXT, *wire.Format]),
        sections=sections,
        interval=st.sampled_from([0.0, 0.0, 0.5, MOST]),
        skips=st.sampled_from([False, False, True]),
    ),
    follows=st.booleans(),
)


View = tuple[int, Payload | PayloadSections]
T = TypeVar("T")


@dataclass(frozen=True)
class Kept:
    """A state in the store, and when a publisher confirmed it."""

    version: int
    payload: Payload
    seen: int
    history: int


class Store:
    """The store as the gateway asks it; it answers at once."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.kept: dict[str, Kept] = {}
        self.saved: dict[str, Kept] = {}
        self.history = 0
        """Another one after each loss of what was written last."""
        self.published: list[tuple[str, Kept]] = []
        """What was published because it was lifted, and has not reached the gateway yet."""

    async def states(self, ids: Iterable[str], /) -> Mapping[str, LastState]:
        return {
            i: LastState(
                kept.version, kept.payload.to_json(), b"%d" % kept.seen, b"%d" % kept.history
            )
            for i in ids
            if (kept := self.kept.get(i)) is not None
        }

    async def caught_up(self) -> None:
        """Messages arrive at once or are lost here."""

    async def in_present_history(self, histories: Mapping[str, bytes], /) -> set[str]:
        return {i for i, history in histories.items() if history == b"%d" % self.history}

    async def lift(self, lifts: Sequence[Lift], /) -> Sequence[Lifted]:
        return [self._lift(each) for each in lifts]

    def _lift(self, lift: Lift) -> Lifted:
        kept = self.kept[lift.contract_id]
        assert kept.version == lift.version
        age = self.clock() - kept.seen
        if age >= lift.age:
            return Lifted(confirmed=age)
        version = max(self.clock(), lift.above + 1)
        self.kept[lift.contract_id] = lifted = replace(kept, version=version)
        self.published.append((lift.contract_id, lifted))
        return Lifted(version)


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of what waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")


@dataclass
class Contract:
    """The test's own account of an open contract in the hub."""

    opened: int
    loaded: bool = False
    taken: int = 0
    """When its state came."""
    held: tuple[int | None, Payload, int] | None = None
    newest: int = 0
    """Of the versions that publishers gave."""
    sent_version: int = 0
    """Of the versions that clients were given."""
    state: tuple[int, Payload] | None = None
    parts: dict[tuple[str, ...], View | None] = field(default_factory=dict)
    """What some want only sections of: when those changed last, and what they are."""
    born: dict[tuple[str, ...], int] = field(default_factory=dict)
    """By sections: how many states there were when the present one came."""

    def view(self, sections: tuple[str, ...]) -> View | None:
        return self.parts.get(sections) if sections else self.state

    def renew(self, version: int, new: Payload, number: int) -> set[tuple[str, ...]]:
        """Take a new state; which views of it have changed."""
        changed: set[tuple[str, ...]] = {()}
        self.state = (version, new)
        self.born[()] = number
        for wanted, seen in self.parts.items():
            part = sections_of(new, wanted)
            if seen is None or seen[1] != part:
                self.parts[wanted] = (version, part)
                self.born[wanted] = number
                changed.add(wanted)
        return changed


@dataclass(eq=False)
class Consumer(FakeSocket):
    """A client: its transport, what it has read, and what it must have read in the end."""

    hub: Hub
    selection: dict[str, ContractRef]
    options: DeliveryOptions
    by_name: bool
    since: dict[str, int]
    """Contract → version; of the others it has asked for no states."""
    room: int
    reader: Reader
    timers: Timers
    note_again: Callable[[str], None]
    client: Subscriber = field(init=False)
    follows: bool = False
    """Whether its selection is a live one."""
    paused: bool = False
    failing: bool = False
    failed: bool = False
    writes: list[bytes] = field(default_factory=list)
    """Of this tick."""
    half_taken: tuple[bytes, int] = (b"", 0)
    """The last write of which not all was taken, and how much was."""
    received: dict[str, Message] = field(default_factory=dict)
    claimed: dict[str, Payload | PayloadSections] = field(default_factory=dict)
    """What it has by its own word, ``since``."""
    due: set[str] = field(default_factory=set)
    """Contracts whose newest state it must have in the end."""
    watches: bool = False
    status: Status | None = None
    """The last one."""
    floor: dict[str, int] = field(default_factory=dict)
    """The newest version of each contract that came while it was paused, or throttled."""
    coming: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Versions of each contract's states that it was to get since its last message."""
    sent: dict[str, float] = field(default_factory=dict)
    """When each contract was sent last."""
    joined: int = 0
    """How many states there were when it came."""
    again: dict[str, int] = field(default_factory=dict)
    """Contracts whose state it is to be sent under a newer version than others; that version."""
    unsure: dict[str, View] = field(default_factory=dict)
    """States that it was not sent when they were read, since it came with newer ones."""
    truth: dict[str, Payload | PayloadSections] = field(default_factory=dict)
    """Its true states, if the gateway that it was at before was never wrong."""
    provable: bool = True
    """Whether it did not come with a version of the future."""
    settled: set[str] = field(default_factory=set)
    """Contracts that were compared since it came, while the store had lost nothing."""
    has_again: dict[str, View] = field(default_factory=dict)
    """States that it was sent so."""

    @property
    def contract_of(self) -> dict[str, str]:
        """By the name or id under which its messages come."""
        return {self.name(i): i for i in self.selection}

    def name(self, contract_id: str) -> str:
        return f"سکه{contract_id}" if self.by_name else contract_id

    def ref(self, contract_id: str) -> ContractRef:
        return ContractRef.of(By.NAME if self.by_name else By.ID, self.name(contract_id))

    @property
    def group(self) -> object:
        return self.options, self.follows, frozenset(self.selection.items())

    def changed(self, contract_id: str, version: int) -> None:
        """There is a new state that it is to get."""
        self.due.add(contract_id)
        self.coming[contract_id].append(version)
        if self.paused or self.options.interval:
            self.floor[contract_id] = version

    def forget(self, contract_id: str) -> None:
        """It wants the contract no more."""
        del self.selection[contract_id]
        self.due.discard(contract_id)
        self.settled.discard(contract_id)
        kept: Any
        for kept in (
            *(self.coming, self.since, self.received, self.claimed, self.floor, self.sent),
            *(self.again, self.has_again, self.unsure, self.truth),
        ):
            kept.pop(contract_id, None)

    def may_have_another(self, contract_id: str, view: View, born: int) -> bool:
        """Whether it came with something newer than a state that it was not sent."""
        return (
            contract_id not in self.settled
            and view[0] < self.since.get(contract_id, 0)
            and (born <= self.joined or self.unsure.get(contract_id) == view)
            and contract_id not in self.again
            and self.has_again.get(contract_id) != view
        )

    def is_given_again(self, contract_id: str, version: int) -> None:
        """It is to get the present state, under this version."""
        self.again[contract_id] = version
        self.changed(contract_id, version)

    @property
    def is_alone(self) -> bool:
        """Whether its messages depend on what it got before, so that they come in slices."""
        return bool(self.options.interval or self.options.skips)

    def has(self, contract_id: str) -> Payload | PayloadSections | None:
        if contract_id in self.received:
            return self.received[contract_id].payload
        return self.claimed.get(contract_id)

    def write(self, data: bytes, /) -> int:
        assert not self.paused, "written to while paused"
        assert not self.failed, "written to after it failed"
        if self.failing:
            self.failed = True
            raise BrokenPipeError(errno.EPIPE, "gone")
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
            if last is not None or self.since.get(self.contract_of[name]) == 0:
                assert named == (last and last.version), "not what the client holds"
        self.status = status

    def _take(self, contract_id: str, message: Message) -> None:
        assert contract_id in self.due, "sent although nothing has changed"
        last = self.received.get(contract_id)
        assert last is None or message.version > last.version, "versions do not grow"
        assert message.payload != self.has(contract_id), "an equal state twice"
        assert message.version >= self.floor.get(contract_id, 0), "replaced while paused"
        coming = self.coming[contract_id]
        skipped = sum(version < message.version for version in coming)
        coming[:] = [version for version in coming if version > message.version]
        assert message.skipped == (skipped if self.options.skips else None), "another count"
        if self.again.pop(contract_id, None) == message.version:
            self.note_again(contract_id)
        self.received[contract_id] = message
        now = self.timers.now
        before = self.sent.get(contract_id, -EVERYTHING)
        assert now - before >= self.options.interval * (1 - 1e-9), "faster than its `max_rate`"
        self.sent[contract_id] = now


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


class Silent:
    """A logger; its lines are tested elsewhere."""

    def warning(self, event: str, **fields: object) -> None:
        pass


class Events:
    """A sink that counts nothing."""

    def __init__(self) -> None:
        self.failures: list[Subscriber] = []

    def delivered(self, messages: int, oldest_version: int) -> None:
        assert messages > 0

    def conflated(self, messages: int) -> None:
        assert messages > 0

    def throttled(self, messages: int) -> None:
        assert messages > 0

    def dropped(self, reason: str) -> None:
        assert reason in ("equal", "stale")

    def failed(self, subscriber: Subscriber, error: Exception) -> None:
        if not isinstance(error, BrokenPipeError):
            raise error
        self.failures.append(subscriber)


class HubMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        # So that catching up takes several writes.
        self.patch.setattr(delivery, "CATCH_UP_BYTES", 1000)
        self.patch.setattr(reconciler, "log", Silent())
        self.encoded = 0
        self.make_message = wire.message
        self.patch.setattr(wire, "message", self.message)
        self.now = 1_780_000_000_000_000
        self.loop = Loop()
        self.events = Events()
        self.timers = Timers()
        clock = GivenClock(lambda: self.now, self.timers.monotonic)
        self.table = StateTable(
            zone=UTC,
            clock=clock,
            events=self.events,
        )
        self.hub = Hub(
            self.table,
            send=send,
            clock=clock,
            call_soon=self.loop.call_soon,
            call_later=self.timers.call_later,
            events=self.events,
        )
        self.status_messages = StatusMessages(
            self.hub,
            zone=UTC,
            clock=GivenClock(lambda: self.now),
            feed=lambda: None,
            on_sent=lambda: None,
        )
        self.store = Store(lambda: self.now)
        self.reconciler = Reconciler(
            self.table,
            self.store,
            caught_up=self.store.caught_up,
            clock=GivenClock(monotonic=self.timers.monotonic),
        )
        self.published_states: dict[str, list[Kept]] = {
            contract_id: [] for contract_id in CONTRACTS
        }
        """All states that the store has published, also those that it has lost since."""
        self.past: dict[str, list[Kept]] = {contract_id: [] for contract_id in CONTRACTS}
        self.known: dict[str, Contract] = {}
        self.consumers: list[Consumer] = []
        self.listed: set[str] = set()
        """Contracts of the live selections."""
        self.live = {by_name: object() for by_name in (False, True)}
        self.states = 0
        """How many states there were, of all contracts."""
        self.highest = 0
        """Of all versions that clients were given."""
        self.late: set[int] = set()
        """Versions that were given after higher ones, of other contracts."""
        self.catching_up: set[Consumer] = set()
        """Those who get what was loaded in this tick."""

    def message(self, *parts: Any) -> bytes:  # noqa: ANN401 - passed on
        self.encoded += 1
        return self.make_message(*parts)

    def wait(self, microseconds: int = 7) -> None:
        """Let the clocks go on a little."""
        self.now += microseconds
        self.timers.now += microseconds / MICROSECONDS

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
            contract.held = (version, new, self.now)

    def accepted(
        self,
        contract_id: str,
        contract: Contract,
        version: int | None,
        new: Payload,
        came: int | None = None,
    ) -> None:
        if version is None:
            version = self.now
        elif version <= contract.newest:
            return
        else:
            contract.newest = version
        contract.taken = self.now if came is None else came
        if contract.state is not None and contract.state[1] == new:
            for sections in ((), *contract.parts):
                self.reissue(contract_id, contract, sections, version)
            return
        contract.sent_version = max(version, contract.sent_version + 1)
        self.states += 1
        changed = contract.renew(contract.sent_version, new, self.states)
        self.note_order(contract.sent_version)
        for sections in contract.parts.keys() - changed:
            self.reissue(contract_id, contract, sections, contract.sent_version)
        for consumer in self.consumers:
            if contract_id in consumer.selection and consumer.options.sections in changed:
                consumer.changed(contract_id, contract.sent_version)

    def compare(self, ids: Iterable[str]) -> list[str]:
        """Compare open contracts with the store, here and in the gateway; which are current."""
        self.wait()
        kept = self.store.kept
        ids = sorted(ids, key=lambda i: kept[i].version if i in kept else 0)
        for contract_id in ids:
            self.load(contract_id)
        lifted = {i: version for i in ids if (version := self.lifted_to(i))}
        for contract_id in ids:
            self.reconciler.doubt(contract_id)
        published = len(self.store.published)
        for contract_id in ids:
            if self.is_confirmed(contract_id) and contract_id not in lifted:
                self.settle_for_all(contract_id)
        current = finished(self.reconciler.current(ids))
        for contract_id, version in lifted.items():
            assert kept[contract_id].version == version
            self.published_states[contract_id].append(kept[contract_id])
            self.accepted(contract_id, self.known[contract_id], version, kept[contract_id].payload)
        assert {i for i, _ in self.store.published[published:]} == set(lifted)
        assert set(current) == {i for i in ids if self.is_current(i)}
        return list(current)

    def load(self, contract_id: str) -> None:
        contract, last = self.known[contract_id], self.store.kept.get(contract_id)
        if contract.loaded:
            if last is not None:
                self.accepted(contract_id, contract, last.version, last.payload)
            return
        contract.loaded = True
        if last is not None:
            contract.newest = contract.sent_version = last.version
            contract.taken = self.now
            if last.version > contract.opened:
                self.states += 1
            number = self.states if last.version > contract.opened else 0
            contract.renew(last.version, last.payload, number)
            self.note_order(last.version)
            for consumer in self.consumers:
                if contract_id in consumer.selection:
                    self.loaded_for(consumer, contract_id, contract, last)
        if contract.held is not None:
            self.accepted(contract_id, contract, *contract.held)

    def is_current(self, contract_id: str) -> bool:
        """Whether the gateway has just what is in the store."""
        contract, kept = self.known[contract_id], self.store.kept.get(contract_id)
        if kept is None or contract.state is None:
            return kept is None and contract.state is None
        return kept.version == contract.newest and kept.payload == contract.state[1]

    def is_confirmed(self, contract_id: str) -> bool:
        """Whether that was confirmed since the store may have lost something."""
        kept = self.store.kept.get(contract_id)
        same = kept is None or kept.history == self.store.history
        return same and self.is_current(contract_id)

    def settle_for_all(self, contract_id: str) -> None:
        for consumer in self.consumers:
            if contract_id in consumer.selection and consumer.provable:
                view = self.known[contract_id].view(consumer.options.sections)
                if view is not None and self.may_have_another(consumer, contract_id):
                    consumer.claimed[contract_id] = view[1]  # so it has just this one
                consumer.settled.add(contract_id)

    def may_have_another(self, consumer: Consumer, contract_id: str) -> bool:
        contract, sections = self.known[contract_id], consumer.options.sections
        view = contract.view(sections)
        return view is not None and consumer.may_have_another(
            contract_id, view, contract.born[sections]
        )

    def has_newest(self, consumer: Consumer, contract_id: str) -> bool:
        """Whether it has what the store has, as far as is known what it came with."""
        kept, last = self.store.kept.get(contract_id), consumer.received.get(contract_id)
        has = consumer.truth.get(contract_id) if last is None else last.payload
        if has is None or kept is None:
            return True
        sections = consumer.options.sections
        return has == (sections_of(kept.payload, sections) if sections else kept.payload)

    def lifted_to(self, contract_id: str) -> int:
        """The version to which the stored state is lifted now; 0 if it is not."""
        contract, kept = self.known[contract_id], self.store.kept.get(contract_id)
        if kept is None or self.is_current(contract_id) or kept.seen <= contract.taken:
            return 0
        return max(self.now, max(contract.newest, contract.sent_version) + 1)

    def loaded_for(
        self, consumer: Consumer, contract_id: str, contract: Contract, last: Kept
    ) -> None:
        since = consumer.since.get(contract_id)
        if last.version > (contract.opened if since is None else since):
            consumer.changed(contract_id, last.version)
            self.catching_up.add(consumer)
        elif since is not None:
            self.claim(consumer, contract_id)

    def reissue(
        self, contract_id: str, contract: Contract, sections: tuple[str, ...], version: int
    ) -> None:
        """An equal state has come; it is news to those who may have had another one."""
        view = contract.view(sections)
        if view is None:
            return
        version = max(version, contract.sent_version)
        for consumer in self.consumers:
            if consumer.failed or consumer.options.sections != sections:
                continue
            unsure = contract_id in consumer.selection and consumer.may_have_another(
                contract_id, view, contract.born[sections]
            )
            if unsure and consumer.since[contract_id] < version:
                consumer.is_given_again(contract_id, version)
                self.catching_up.add(consumer)
                contract.sent_version = version
                self.note_order(version)

    def note_again(self, consumer: Consumer, contract_id: str) -> None:
        view = self.known[contract_id].view(consumer.options.sections)
        assert view is not None
        consumer.has_again[contract_id] = view

    def note_order(self, version: int) -> None:
        if version <= self.highest:
            self.late.add(version)
        self.highest = max(self.highest, version)

    def claim(self, consumer: Consumer, contract_id: str) -> None:
        """It has the present state by its own word, unless it has something newer."""
        view = self.known[contract_id].view(consumer.options.sections)
        assert view is not None
        if view[0] == consumer.since[contract_id]:
            consumer.claimed[contract_id] = view[1]
        else:
            consumer.unsure[contract_id] = view

    # Rules of publishers

    @rule(
        contract_id=contracts,
        prices=st.lists(payloads, min_size=1, max_size=3),
        ahead=st.sampled_from([0, 0, 2_000_000]),
        lost=st.sampled_from([False, False, True]),
        apart=st.booleans(),
    )
    def publish(
        self, contract_id: str, prices: list[int], ahead: int, lost: bool, apart: bool
    ) -> None:
        """Our publisher: stores and publishes what is a change; the messages may be lost."""
        for price in prices:
            last, new = self.store.kept.get(contract_id), PAYLOADS[price]
            if apart:
                self.tick()
            self.wait()
            history = self.store.history
            if last is not None and last.payload == new and last.history == history:
                self.store.kept[contract_id] = replace(last, seen=self.now)
                continue
            version = max(self.now + ahead, last.version + 1 if last is not None else 0)
            self.store.kept[contract_id] = kept = Kept(version, new, self.now, history)
            self.published_states[contract_id].append(kept)
            self.past[contract_id].append(kept)
            if not lost:
                self.send(contract_id, version, new)

    def send(self, contract_id: str, version: int | None, payload: Payload) -> None:
        """A message comes by the channel."""
        self.arrived(contract_id, version, payload)
        self.table.publish(contract_id, version, payload)

    @rule(contract_id=contracts, price=payloads, apart=st.booleans())
    def go_and_come_back(self, contract_id: str, price: int, apart: bool) -> None:
        """Another state, and the last one again."""
        last = self.store.kept.get(contract_id)
        if last is not None:
            self.publish(
                contract_id, [price, PAYLOADS.index(last.payload)], 0, lost=False, apart=apart
            )

    @rule(contract_id=contracts, price=payloads)
    def publish_without_version(self, contract_id: str, price: int) -> None:
        """A publisher that is not ours, and stores nothing."""
        self.wait()
        self.send(contract_id, None, PAYLOADS[price])

    @rule(contract_id=contracts, price=payloads, ahead=st.sampled_from([0, 2_000_000, 10**9]))
    def publish_without_storing(self, contract_id: str, price: int, ahead: int) -> None:
        """Another one, that gives versions, maybe far ahead."""
        self.wait()
        self.send(contract_id, self.now + ahead, PAYLOADS[price])

    @rule(contract_id=contracts, later=st.booleans())
    def repeat(self, contract_id: str, later: bool) -> None:
        """One that sends the same again, under a later version or the very same message."""
        if (last := self.store.kept.get(contract_id)) is not None:
            self.wait()
            version = max(self.now, last.version + 1) if later else last.version
            self.send(contract_id, version, last.payload)

    @rule(contract_id=contracts, number=which)
    def publish_late(self, contract_id: str, number: int) -> None:
        """A message that others have overtaken."""
        if past := self.past[contract_id]:
            kept = past[number % len(past)]
            self.send(contract_id, kept.version, kept.payload)

    @rule(contract_id=contracts)
    def confirm(self, contract_id: str) -> None:
        """Our publisher says what is stored already."""
        if (last := self.store.kept.get(contract_id)) is not None:
            self.publish(contract_id, [PAYLOADS.index(last.payload)], 0, lost=False, apart=False)

    # Rules of the store

    @rule()
    def save(self) -> None:
        self.store.saved = dict(self.store.kept)

    @rule()
    def go_back(self) -> None:
        """It crashed, and is back with what it had saved."""
        self.store.kept = dict(self.store.saved)
        self.store.history += 1

    @rule()
    def flush(self) -> None:
        self.store.kept = {}

    @rule(contract_id=contracts, price=payloads, confirmed=st.booleans())
    def overwrite(self, contract_id: str, price: int, confirmed: bool) -> None:
        """Another program replaces the data and leaves the version as it is."""
        if (last := self.store.kept.get(contract_id)) is not None:
            self.wait()
            seen = self.now if confirmed else last.seen
            self.store.kept[contract_id] = replace(last, payload=PAYLOADS[price], seen=seen)
            # The states of that version at other gateways are not known.
            self.published_states[contract_id].clear()
            for consumer in self.consumers:
                consumer.truth.pop(contract_id, None)

    @rule()
    def deliver(self) -> None:
        """A lifted state comes by the channel as well."""
        published, self.store.published = self.store.published, []
        for contract_id, kept in published:
            self.send(contract_id, kept.version, kept.payload)

    # Rules of the event loop and the store

    @rule()
    def tick(self) -> None:
        ready = [consumer for consumer in self.consumers if not consumer.paused]
        self.forget_writes()
        self.encoded = 0
        self.loop.run()
        assert ready or not self.encoded, "encoded for nobody"
        shared: dict[object, set[int]] = {}
        for consumer in self.consumers:
            if consumer.writes and consumer not in self.catching_up and not consumer.is_alone:
                assert len(consumer.writes) == 1, "several writes in a tick"
                shared.setdefault(consumer.group, set()).add(id(consumer.writes[0]))
        assert all(len(buffers) == 1 for buffers in shared.values()), "a buffer not shared"
        self.catching_up.clear()

    def forget_writes(self) -> None:
        for consumer in self.consumers:
            consumer.writes.clear()

    @rule(contract_id=contracts)
    def compare_one(self, contract_id: str) -> None:
        if contract_id in self.known:
            self.compare([contract_id])

    @rule()
    def reload(self) -> None:
        """The connection to the store was broken and is back."""
        self.compare(self.known)

    # Rules of clients

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
        if join.follows:
            join = replace(join, wanted=tuple(sorted(self.listed)))
        self.open(join.wanted, store_away=join.store_away)
        since = None if join.states is None else join.states
        if since:
            since = self.since(join.wanted, since) if join.wanted else self.now
        consumer = Consumer(
            self.hub,
            {},
            join.options,
            join.by_name,
            {} if since is None else dict.fromkeys(join.wanted, since),
            join.room,
            Reader(
                compressed=join.options.format is wire.Format.DEFLATE,
                events=join.options.format is wire.Format.EVENT,
            ),
            self.timers,
            lambda contract_id: self.note_again(consumer, contract_id),
            watches=join.watches,
            follows=join.follows,
        )
        self.forget_writes()
        self.hub.flush()
        self.want(consumer, join.wanted)
        consumer.joined = self.states
        consumer.client = self.hub.join(
            dict(consumer.selection), consumer, join.options, self.live_of(consumer)
        )
        assert all(len(other.writes) <= 1 or other.is_alone for other in self.consumers)
        self.consumers.append(consumer)
        if since is not None:
            consumer.provable = since <= self.now + MICROSECONDS
            for contract_id in join.wanted:
                had = [kept for kept in self.published_states[contract_id] if kept.version <= since]
                present = self.known[contract_id].state
                if present is not None and present[0] == since:
                    # A timestamp belongs to one state, so it was sent this one.
                    had.insert(0, Kept(since, present[1], self.now, self.store.history))
                if had:
                    state = max(had, key=lambda kept: kept.version).payload
                    sections = join.options.sections
                    consumer.truth[contract_id] = (
                        sections_of(state, sections) if sections else state
                    )
            self.note_states(consumer, join.wanted)
            self.hub.send_states(consumer.client, since)
        if consumer.watches:
            self.status_messages.add(consumer.client, current=False)
            if not consumer.paused and not consumer.failed:
                assert consumer.status is not None

    def live_of(self, consumer: Consumer) -> object | None:
        return self.live[consumer.by_name] if consumer.follows else None

    @rule(contract_id=contracts, store_away=st.booleans())
    def list_contract(self, contract_id: str, store_away: bool) -> None:
        """A contract joins the live selections."""
        if contract_id in self.listed:
            return
        self.forget_writes()
        self.listed.add(contract_id)
        followers = [each for each in self.consumers if each.follows]
        if followers:
            self.open((contract_id,), store_away=store_away)
        self.hub.flush()
        for consumer in followers:
            if consumer.failed:
                consumer.selection[contract_id] = consumer.ref(contract_id)
                continue
            self.want(consumer, (contract_id,))
            consumer.since[contract_id] = 0
            self.note_states(consumer, (contract_id,))
            # A reader of events may come back with the id of a later state of another.
            self.late.update(consumer.coming.get(contract_id, ()))
        for by_name, live in self.live.items():
            name = f"سکه{contract_id}" if by_name else contract_id
            ref = ContractRef.of(By.NAME if by_name else By.ID, name)
            self.hub.revise(live, {contract_id: ref})
        self.let_go((contract_id,))

    @rule(contract_id=contracts)
    def delist_contract(self, contract_id: str) -> None:
        """A contract leaves the live selections."""
        if contract_id not in self.listed:
            return
        self.forget_writes()
        self.hub.flush()
        self.listed.remove(contract_id)
        for consumer in self.consumers:
            if consumer.follows and not consumer.failed and contract_id in consumer.selection:
                consumer.forget(contract_id)
        for live in self.live.values():
            self.hub.revise(live, {}, (contract_id,))
        self.let_go((contract_id,))

    def open(self, wanted: tuple[str, ...], *, store_away: bool) -> None:
        for contract_id in wanted:
            if contract_id not in self.known:
                self.known[contract_id] = Contract(self.now)
                self.table.open(contract_id)
                if not store_away:
                    self.compare([contract_id])

    def want(self, consumer: Consumer, wanted: Iterable[str]) -> None:
        """Add contracts to its selection; the first who wants some sections begins to keep them."""
        sections = consumer.options.sections
        for contract_id in wanted:
            contract = self.known[contract_id]
            others = (
                other
                for other in self.consumers
                if other.options.sections == sections
                and contract_id in other.selection
                and not other.failed
            )
            if sections and next(others, None) is None:
                state = contract.state
                contract.parts[sections] = state and (state[0], sections_of(state[1], sections))
                contract.born[sections] = contract.born.get((), 0)
            consumer.selection[contract_id] = consumer.ref(contract_id)

    def note_states(self, consumer: Consumer, wanted: Iterable[str]) -> None:
        for contract_id in wanted:
            contract = self.known[contract_id]
            view = contract.view(consumer.options.sections)
            if contract.loaded and view is not None:
                since = consumer.since[contract_id]
                whole = contract.view(())
                assert whole is not None
                if view[0] > since:
                    consumer.changed(contract_id, view[0])
                elif consumer.may_have_another(
                    contract_id, view, contract.born[consumer.options.sections]
                ) and contract.newest > max(since, whole[0]):
                    contract.sent_version = max(contract.newest, contract.sent_version)
                    consumer.is_given_again(contract_id, contract.sent_version)
                    self.note_order(contract.sent_version)
                else:
                    self.claim(consumer, contract_id)

    @precondition(lambda self: self.consumers)
    @rule(
        number=which,
        wanted=st.lists(contracts, unique=True).map(tuple),
        snapshot=st.booleans(),
        store_away=st.booleans(),
        follow=st.booleans(),
    )
    def select(
        self,
        number: int,
        wanted: tuple[str, ...],
        snapshot: bool,
        store_away: bool,
        follow: bool,
    ) -> None:
        """A client changes what it wants while its stream runs."""
        consumer = self.consumers[number % len(self.consumers)]
        self.forget_writes()
        self.hub.flush()
        if consumer.failed or consumer.options.format is wire.Format.EVENT:
            return  # an event stream takes no commands
        if follow:
            wanted = tuple(sorted(self.listed))
        added = tuple(i for i in wanted if i not in consumer.selection)
        removed = [i for i in consumer.selection if i not in wanted]
        self.open(added, store_away=store_away)
        self.hub.flush()
        watched = self.status_messages.remove(consumer.client)
        assert watched == consumer.watches
        for contract_id in removed:
            consumer.forget(contract_id)
        consumer.follows = follow
        self.want(consumer, added)
        self.hub.select(consumer.client, dict(consumer.selection), self.live_of(consumer))
        if snapshot:
            consumer.since.update(dict.fromkeys(added, 0))
            self.note_states(consumer, added)
            self.hub.send_states(consumer.client, 0, added)
        if watched:
            self.status_messages.add(consumer.client, current=False)
        self.let_go(removed)

    def let_go(self, contract_ids: Iterable[str]) -> None:
        for contract_id in contract_ids:
            if not any(contract_id in other.selection for other in self.consumers):
                self.known.pop(contract_id, None)
                self.table.close(contract_id)

    def since(self, wanted: tuple[str, ...], number: int) -> int:
        """A timestamp that a client may have seen last."""
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
        self.status_messages.remove(consumer.client)
        self.let_go(consumer.selection)

    @rule(contract_id=contracts)
    def close(self, contract_id: str) -> None:
        """A contract with subscribers stays open."""
        if any(contract_id in c.selection and not c.failed for c in self.consumers):
            self.table.close(contract_id)

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
            assert len(other.writes) <= 1 or other is consumer or other.is_alone

    def make_writable(self, consumer: Consumer, room: int) -> None:
        consumer.room, consumer.paused = room, False
        self.hub.resume(consumer.client)

    @rule(seconds=st.sampled_from([0.001, 0.1, 0.3, 0.6]))
    def pass_time(self, seconds: float) -> None:
        """Those who asked for a `max_rate` may get more."""
        self.forget_writes()
        self.now += round(seconds * MICROSECONDS)
        self.timers.pass_time(seconds)

    @rule()
    def tell(self) -> None:
        """Send status messages, after a comparison with the store."""
        self.forget_writes()
        for consumer in self.consumers:
            consumer.status = None
        groups = self.status_messages.groups
        watched = {channel.contract_id for group in groups for channel in group.channels}
        for _ in self.status_messages.send(groups, self.compare(watched)):
            pass
        for consumer in self.consumers:
            catches_up = consumer in self.catching_up
            if not consumer.paused and not consumer.failed and not catches_up:
                assert (consumer.status is not None) == consumer.watches
            if consumer.status is not None:
                truth = all(
                    self.is_current(i)
                    and not (
                        self.may_have_another(consumer, i)
                        and not (self.is_confirmed(i) and consumer.provable)
                    )
                    for i in consumer.selection
                )
                assert consumer.status.current == truth, "not what the store has"
                if truth and not (consumer.paused or consumer.options.interval):
                    for contract_id in consumer.selection:
                        assert self.has_newest(consumer, contract_id), "current, and has another"
            assert len(consumer.writes) <= 1 or catches_up or consumer.is_alone, (
                "several writes at once"
            )

    @precondition(lambda self: self.consumers)
    @rule(number=which)
    def fail(self, number: int) -> None:
        """From now on its transport raises."""
        self.consumers[number % len(self.consumers)].failing = True

    # Invariants

    @invariant()
    def bounded(self) -> None:
        for consumer in self.consumers:
            sizes = sizes_of(consumer.client)
            assert sizes.keys() >= {"_missed"}
            for name, size in sizes.items():
                # Of the other messages, here are those about the status only.
                most = 1 if name == "_messages" else len(consumer.selection)
                assert size <= most, f"too many {name}"

    @invariant()
    def resumable(self) -> None:
        """Each state that is not delivered yet is newer than what its reader comes back with."""
        for consumer in self.consumers:
            if consumer.failed or not consumer.reader.last_id:
                continue
            last = version_of(consumer.reader.last_id, UTC)
            for contract_id, coming in consumer.coming.items():
                view = self.known[contract_id].view(consumer.options.sections)
                assert view is not None
                if coming and view[1] != consumer.has(contract_id):
                    version = max(view[0], consumer.again.get(contract_id, 0))
                    assert version > last or version in self.late, "it would be lost"

    @rule()
    def settle(self) -> None:
        """All is confirmed, compared, written and read: everybody has what the store has."""
        for contract_id in CONTRACTS:
            self.confirm(contract_id)
        self.reload()
        for contract_id in self.known.keys() & self.store.kept.keys():
            assert self.is_current(contract_id), "another state than the store's"
        self.tick()
        for consumer in self.consumers:
            if consumer.paused or consumer.room < EVERYTHING:
                self.make_writable(consumer, 2 * EVERYTHING)
        self.tick()
        self.pass_time(2 * MOST)
        self.tell()
        assert set(self.events.failures) >= {c.client for c in self.consumers if c.failed}
        for consumer in self.consumers:
            if consumer.failed:
                continue
            for contract_id in consumer.selection:
                if consumer.provable:
                    assert self.has_newest(consumer, contract_id), "a lost state"
                view = self.known[contract_id].view(consumer.options.sections)
                if contract_id in consumer.due:
                    assert view is not None
                    assert consumer.has(contract_id) == view[1], "not the newest state"
                else:
                    assert contract_id not in consumer.received


TestHub = pytest.mark.timeout(300)(HubMachine.TestCase)
TestHub.settings = settings(
    max_examples=3 * settings().max_examples,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_status_round_in_the_tick_of_a_catch_up() -> None:
    """Hypothesis found that a client gets two writes then; missed states come in slices."""
    machine = HubMachine()
    watching = Join(("1", "2", "3"), False, 0, EVERYTHING, True, True, DeliveryOptions())
    plain = Join(("1",), False, None, EVERYTHING, True, False, DeliveryOptions())
    machine.begin([watching, plain], stored=True)
    machine.reload()
    machine.tell()
    first, second = machine.consumers[0].writes
    assert len(first) > delivery.CATCH_UP_BYTES > len(first) - len(second)
    assert machine.consumers[0].status is not None
    machine.teardown()
