"""States: what each contract's last state is, whoever tells it.

Updates and last states come in; what has changed goes out as a list that the hub empties once a
tick. Of contracts that some want only sections of, it keeps those as well. No I/O; it knows no
client but those that wait for a last state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import tzinfo
from typing import Final

from msgspec import Struct

from ime_live.gateway.hub.subscribers import Change, Client, State, Topic
from ime_live.gateway.hub.transport import Events
from ime_live.market import MICROSECONDS, Part, Payload, Update, part_of

_IN_FLIGHT: Final = 5
"""Seconds for which messages may be on their way while newer states are read from the store."""

_CLOCKS_DIFFER: Final = 1
"""Seconds by which Redis's clock may be ahead of this one."""


class Present(Struct, frozen=True):
    """The state that a contract has now.

    Attributes:
        version: the newest that publishers gave it, or that clients know it by if that is newer;
            0 if it has no state.
        taken: when it came, in seconds of the `States`' monotonic clock.
        unversioned: whether the last update came without a version.
        doubted: whether clients have come who may have another state.
        confirmed: see `Topic.confirmed`.
    """

    version: int
    taken: float
    unversioned: bool
    doubted: bool
    confirmed: bool | None


class States:
    """See the module's text. All methods belong to the hub's thread."""

    def __init__(
        self,
        *,
        zone: tzinfo,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        events: Events,
        changed: Callable[[], None],
        late: Callable[[Client, Topic], None],
    ) -> None:
        """Know no contract yet.

        Args:
            zone: whose wall clock the time stamps show.
            clock: microseconds since the epoch; stamps updates that come without a version.
            monotonic: seconds.
            events: is told what is dropped.
            changed: called when `take` has something.
            late: called for a client that is to get a state which is no change to others.
        """
        self._zone = zone
        self._clock = clock
        self._monotonic = monotonic
        self._events = events
        self._changed = changed
        self._late = late
        self._topics: dict[str, Topic] = {}
        self._pending: list[Change] = []
        self.accepted = 0
        """How many were accepted so far; the number of the last one."""

    def open(self, contract_id: str) -> None:
        """Begin to keep a contract. The newest update is held until `load` tells its last state."""
        if contract_id not in self._topics:
            self._topics[contract_id] = Topic(contract_id, self._clock())

    def close(self, contract_id: str) -> None:
        """Forget a contract that nobody wants any more."""
        topic = self._topics.get(contract_id)
        if topic is not None and not topic.audiences and not topic.parts:
            del self._topics[contract_id]

    def topic(self, contract_id: str, sections: tuple[str, ...]) -> Topic:
        """An open contract, or these sections of it, if there are any."""
        topic = self._topics[contract_id]
        if not sections:
            return topic
        part = topic.parts.get(sections)
        if part is None:
            part = topic.parts[sections] = Topic(contract_id, topic.opened, sections)
            part.loaded = topic.loaded
            part.confirmed, part.compared = topic.confirmed, topic.compared
            if topic.state is not None:
                state = topic.state
                part.state = self._part(state.version, topic.state.payload, state.number, sections)
        return part

    def unwanted(self, topic: Topic) -> None:
        """Nobody wants these sections of it any more."""
        if topic.sections:
            self._topics[topic.contract_id].parts.pop(topic.sections, None)

    def load(self, contract_id: str, last: Update | None) -> None:
        """Tell a contract's last state as the store has it; see `Hub.load`."""
        topic = self._topics.get(contract_id)
        if topic is None:
            return
        if topic.loaded:
            if last is not None and last.version > topic.newest:
                self._accept(topic, last.version, last.payload)
                topic.read = topic.taken
            return
        held, topic.held = topic.held, None
        number = 0
        if last is not None:
            topic.newest = topic.stamp = last.version
            topic.taken = topic.read = self._monotonic()
            number = self._next_number(quiet=last.version <= topic.opened)
        for each in (topic, *topic.parts.values()):
            each.loaded = True
            waiting, each.waiting = each.waiting, {}
            if last is not None:
                each.state = self._part(last.version, last.payload, number, each.sections)
                for client, newer_than in waiting.items():
                    if last.version > newer_than:
                        self._late(client, each)
                    elif client.since > last.version:
                        each.claim(client.since, client.came)
                        client.doubt(each, each.state)
        if held is not None:
            self._accept(topic, *held)

    def expect(self, ids: Iterable[str], since: int) -> None:
        """A client is about to come that has everything up to a version, by its own word.

        The next comparison asks then whether it may have states that the store has lost.
        """
        came = self.moment_of(since)
        for contract_id in ids:
            topic = self._topics.get(contract_id)
            if topic is not None:
                topic.claim(since, came)

    def moment_of(self, since: int) -> float:
        """When a client comes with this version, see `Client.came`: now, if it can have been.

        A version of the future may be above those of states that are published later. So a store
        that has lost nothing proves nothing to its client.
        """
        ahead = since - self._clock() > _CLOCKS_DIFFER * MICROSECONDS
        return math.inf if ahead else self._monotonic()

    def present(self, contract_id: str) -> Present | None:
        """The state that a contract has; None if it is not open."""
        topic = self._topics.get(contract_id)
        if topic is None:
            return None
        doubted = any(
            each.state is not None and each.claimed > each.state.version
            for each in (topic, *topic.parts.values())
        )
        version = max(topic.newest, topic.stamp)
        return Present(version, topic.taken, topic.unversioned, doubted, topic.confirmed)

    def equals(self, contract_id: str, last: Update | None) -> bool:
        """Whether a contract has just this state, or none for None, as the store has it."""
        topic = self._topics.get(contract_id)
        if topic is None or not topic.loaded:
            return False
        if last is None or topic.state is None:
            return last is None and topic.state is None
        return last.version == topic.newest and last.payload == topic.state.payload

    def confirm(self, contract_id: str, begun: float, *, confirmed: bool | None) -> None:
        """Tell what a comparison has found of a contract that is equal in the store.

        Args:
            contract_id: the contract.
            begun: when the comparison began.
            confirmed: whether the store has lost no write since the state was confirmed there.
                Who came before the comparison has no other state then. None if it was not asked.
        """
        topic = self._topics.get(contract_id)
        if topic is None:
            return
        for each in (topic, *topic.parts.values()):
            each.confirmed = confirmed
            if confirmed:
                each.compared = begun
                if each.claimed_at < begun:
                    each.claimed = 0

    def publish(self, contract_id: str, version: int | None, payload: Payload) -> int:
        """An update has come. Without a version it is stamped now.

        Returns:
            The version than which it is not newer, if it was dropped for that reason and nothing
            explains that; else 0.
        """
        topic = self._topics.get(contract_id)
        if topic is None:
            return 0
        if topic.loaded:
            return self._accept(topic, version, payload)
        if topic.held is None or _is_newer(version, topic.held[0]):
            topic.held = (version, payload, self._monotonic())
        else:
            self._events.dropped("stale")
        return 0

    def again(self, topic: Topic, client: Client) -> State | None:
        """The state for a client that comes and may have another one, see `Client`.

        Returns:
            An equal state of a newer version, if one has come after what the client has. Else None;
            it gets that when it comes.
        """
        state, whole = topic.state, self._topics[topic.contract_id]
        if state is None or whole.state is None:
            return None
        if whole.newest > max(client.since, whole.state.version):
            return self._again(topic, state, max(whole.newest, whole.stamp))
        topic.claim(client.since, client.came)
        return None

    def take(self) -> list[Change]:
        """What has changed since it was asked last, in order."""
        pending, self._pending = self._pending, []
        return pending

    def _accept(
        self, topic: Topic, version: int | None, payload: Payload, came: float | None = None
    ) -> int:
        """Take an update that came now, or before; or drop it. Returns what `publish` does."""
        previous = topic.state
        if version is None:
            version = self._clock()
            topic.unversioned = True
        elif version <= topic.newest:
            self._events.dropped("stale")
            return 0 if self._is_overtaken(topic, version, payload) else topic.newest
        else:
            topic.newest = version
            topic.unversioned = False
        topic.taken = self._monotonic() if came is None else came
        if previous is not None and payload == previous.payload:
            self._events.dropped("equal")
            for each in (topic, *topic.parts.values()):
                self._reissue(each, version)
            return 0
        # A channel keeps its order. So an update that follows one stamped here is not older, even
        # if its publisher's clock says so, or ours was late.
        topic.stamp = version = max(version, topic.stamp + 1)
        number = self._next_number()
        topic.state = state = State(version, payload, number, self._zone)
        self._pending.append((topic, state, previous))
        if topic.parts:
            self._accept_parts(topic, state)
        self._changed()
        return 0

    def _is_overtaken(self, topic: Topic, version: int, payload: Payload) -> bool:
        """Whether a stale message is one that was on its way while the store was read."""
        if version == topic.newest:
            return topic.state is not None and payload == topic.state.payload
        return (
            topic.newest - version < _IN_FLIGHT * MICROSECONDS
            and self._monotonic() - topic.read < _IN_FLIGHT
        )

    def _accept_parts(self, topic: Topic, whole: State) -> None:
        for sections, part in topic.parts.items():
            state = self._part(whole.version, whole.payload, whole.number, sections)
            previous = part.state
            if previous is None or state.payload != previous.payload:
                part.state = state
                self._pending.append((part, state, previous))
            else:
                self._reissue(part, whole.version)

    def _reissue(self, topic: Topic, version: int) -> None:
        """An equal state has come: it is news to those who may have another one."""
        state = topic.state
        if state is None or topic.claimed <= state.version:
            return
        version = max(version, self._topics[topic.contract_id].stamp)
        unsure = [
            client
            for audience in topic.audiences
            for client in (*audience.ready, *audience.paused)
            if client.may_have_another(topic, state)
        ]
        due = [client for client in unsure if client.since < version]
        topic.claimed = max((c.since for c in unsure if c.since >= version), default=0)
        if due:
            again = self._again(topic, state, version)
            for client in due:
                client.reissue(topic, again)
                self._late(client, topic)

    def _again(self, topic: Topic, state: State, version: int) -> State:
        # What follows it has to be newer than that for all clients.
        self._topics[topic.contract_id].stamp = version
        return State(version, state.payload, state.number, self._zone)

    def _part(
        self, version: int, payload: Payload | Part, number: int, sections: tuple[str, ...]
    ) -> State:
        if sections:
            payload = part_of(payload, sections)
        return State(version, payload, number, self._zone)

    def _next_number(self, *, quiet: bool = False) -> int:
        # A quiet one is no news to anybody.
        if quiet:
            return 0
        self.accepted += 1
        return self.accepted


def _is_newer(version: int | None, other: int | None) -> bool:
    # What has no version is newer than all that came before it, and older than all that follows.
    return version is None or other is None or version > other
