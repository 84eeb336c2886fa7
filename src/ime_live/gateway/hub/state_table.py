"""Keep the last state of each contract, and list what has changed.

The table compares updates and states read from the store with its own. The hub takes its list of
changes once per tick. Where some clients want only sections of a contract, the table keeps the
states of those sections as well. No I/O.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import tzinfo
from typing import TYPE_CHECKING, Final

from ime_live.gateway.hub.channel import Change, Channel, Present, State
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.hub.transport import Events
from ime_live.market import MICROSECONDS, Payload, PayloadSections, Update, sections_of

if TYPE_CHECKING:
    from ime_live.clock import Clock

_IN_FLIGHT: Final = 5
"""Seconds for which messages may be on their way while newer states are read from the store."""

_CLOCKS_DIFFER: Final = 1
"""Seconds by which Redis's clock may be ahead of this one."""


class StateTable:
    """The last state per contract. All methods must be called on the hub's thread."""

    def __init__(
        self,
        *,
        zone: tzinfo,
        clock: Clock,
        events: Events,
    ) -> None:
        """Make a table without contracts.

        Args:
            zone: time zone of the timestamps.
            clock: stamps updates that come without a version, and measures ages.
            events: told which updates are dropped.
        """
        self._zone = zone
        self._time_us = clock.time_us
        self._monotonic = clock.monotonic
        self._events = events
        self._changed: Callable[[], None]
        self._late: Callable[[Subscriber, Channel], None]
        self._channels: dict[str, Channel] = {}
        self._pending: list[Change] = []
        self.accepted = 0
        """How many updates were accepted so far; the number of the last one."""

    def listen(
        self, *, changed: Callable[[], None], late: Callable[[Subscriber, Channel], None]
    ) -> None:
        """Set the callbacks of the hub; it does so before a contract is opened.

        Args:
            changed: called once when `take` has something to return, not for each change.
            late: called for a subscriber that must get a state which is not a change for others.
        """
        self._changed = changed
        self._late = late

    def open(self, contract_id: str) -> None:
        """Begin to keep a contract. The newest update is held until `load` gives its last state."""
        if contract_id not in self._channels:
            self._channels[contract_id] = Channel(contract_id, self._time_us())

    def close(self, contract_id: str) -> None:
        """Forget a contract without clients."""
        channel = self._channels.get(contract_id)
        if channel is not None and not channel.is_wanted and not channel.parts:
            del self._channels[contract_id]

    def channel(self, contract_id: str, sections: tuple[str, ...]) -> Channel:
        """Return the channel of an open contract, or of some of its sections if any are given."""
        channel = self._channels[contract_id]
        if not sections:
            return channel
        part = channel.parts.get(sections)
        if part is None:
            part = channel.parts[sections] = Channel(contract_id, channel.opened, sections)
            part.loaded = channel.loaded
            part.confirmed, part.compared = channel.confirmed, channel.compared
            if channel.state is not None:
                state = channel.state
                part.state = self._part(
                    state.version, channel.state.payload, state.number, sections
                )
        return part

    def unwanted(self, channel: Channel) -> None:
        """Drop the channel of some sections when no client wants it."""
        if channel.sections:
            self._channels[channel.contract_id].parts.pop(channel.sections, None)

    def load(self, contract_id: str, last: Update | None) -> None:
        """Set a contract's last state as the store has it, None if it has none.

        Call it after `open`, and again whenever updates may have been lost: subscribers get the
        state if it is new to them. Right after `open` it is not: nothing is sent until the next
        change. Those that joined before the first call, because the store was away, get what has
        changed meanwhile.
        """
        channel = self._channels.get(contract_id)
        if channel is None:
            return
        if channel.loaded:
            if last is not None and last.version > channel.newest:
                self._accept(channel, last.version, last.payload)
                channel.read = channel.taken
            return
        held, channel.held = channel.held, None
        number = 0
        if last is not None:
            channel.newest = channel.sent_version = last.version
            channel.taken = channel.read = self._monotonic()
            number = self._next_number(quiet=last.version <= channel.opened)
        for each in (channel, *channel.parts.values()):
            each.loaded = True
            waiting, each.waiting = each.waiting, {}
            if last is not None:
                each.state = self._part(last.version, last.payload, number, each.sections)
                for subscriber, newer_than in waiting.items():
                    if last.version > newer_than:
                        self._late(subscriber, each)
                    elif subscriber.claimed > last.version:
                        each.claim(subscriber.claimed, subscriber.claimed_at)
                        subscriber.doubt(each, each.state)
        if held is not None:
            self._accept(channel, *held)

    def expect(self, ids: Iterable[str], since: int) -> None:
        """Note that a client that claims to have everything up to a version will join.

        The next comparison then checks whether it may have states that the store has lost.
        """
        came = self.moment_of(since)
        for contract_id in ids:
            channel = self._channels.get(contract_id)
            if channel is not None:
                channel.claim(since, came)

    def moment_of(self, since: int) -> float:
        """Return the time from which a client with this version can be checked: now, if plausible.

        A version of the future may be above those of states that are published later. So a store
        that has lost nothing proves nothing to such a client, and the time is infinite; see
        `Subscriber.claimed_at`.
        """
        ahead = since - self._time_us() > _CLOCKS_DIFFER * MICROSECONDS
        return math.inf if ahead else self._monotonic()

    def present(self, contract_id: str) -> Present | None:
        """Return the state that a contract has; None if it is not open."""
        channel = self._channels.get(contract_id)
        return None if channel is None else channel.present()

    def is_behind(self, contract_id: str, last: Update | None) -> bool:
        """Return whether `load` would give a contract's clients a newer state."""
        channel = self._channels.get(contract_id)
        if channel is None or not channel.loaded or last is None:
            return False
        return last.version > channel.newest

    def equals(self, contract_id: str, last: Update | None) -> bool:
        """Return whether a contract has this state, or no state if ``last`` is None."""
        channel = self._channels.get(contract_id)
        if channel is None or not channel.loaded:
            return False
        if last is None or channel.state is None:
            return last is None and channel.state is None
        return last.version == channel.newest and last.payload == channel.state.payload

    def confirm(self, contract_id: str, begun: float, *, confirmed: bool | None) -> None:
        """Note the result of a comparison for a contract whose state equals the store's.

        Args:
            contract_id: the contract.
            begun: when the comparison began.
            confirmed: whether the store has lost no write since the state was confirmed there. If
                so, clients that joined before the comparison have no other state. None if the
                comparison did not check it.
        """
        channel = self._channels.get(contract_id)
        if channel is None:
            return
        for each in (channel, *channel.parts.values()):
            each.confirmed = confirmed
            if confirmed:
                each.compared = begun
                if each.claimed_at < begun:
                    each.claimed = 0

    def publish(self, contract_id: str, version: int | None, payload: Payload) -> int:
        """Accept an update. Without a version, it gets the present one.

        Returns:
            The newest version, if the update was dropped as stale although it was not on its way
            while the store was read; else 0.
        """
        channel = self._channels.get(contract_id)
        if channel is None:
            return 0
        if channel.loaded:
            return self._accept(channel, version, payload)
        if channel.held is None or _is_newer(version, channel.held[0]):
            channel.held = (version, payload, self._monotonic())
        else:
            self._events.dropped("stale")
        return 0

    def state_for(self, subscriber: Subscriber, channel: Channel) -> State | None:
        """Return the present state to send to a subscriber that asks for it.

        Returns:
            None if there is none, or if it may have another one, see `Subscriber.claim`. If an
            equal state has arrived after what it has, it gets that one, with its newer version.
        """
        state, whole = channel.state, self._channels[channel.contract_id]
        if state is None or not subscriber.may_have_another(channel, state):
            return state
        if whole.state is not None and whole.newest > max(subscriber.claimed, whole.state.version):
            again = self._again(channel, state, max(whole.newest, whole.sent_version))
            subscriber.reissue(channel, again)
            return again
        channel.claim(subscriber.claimed, subscriber.claimed_at)
        return None

    def next_moment(self) -> int:
        """Return a number above those of all states so far, and below those of all later ones."""
        return self._next_number()

    def take(self) -> list[Change]:
        """Return what has changed since the last call, in order."""
        pending, self._pending = self._pending, []
        return pending

    def _accept(
        self, channel: Channel, version: int | None, payload: Payload, came: float | None = None
    ) -> int:
        """Accept or drop an update that arrived now or earlier; return the result as `publish`."""
        previous = channel.state
        if version is None:
            version = self._time_us()
            channel.unversioned = True
        elif version <= channel.newest:
            self._events.dropped("stale")
            return 0 if self._is_overtaken(channel, version, payload) else channel.newest
        else:
            channel.newest = version
            channel.unversioned = False
        channel.taken = self._monotonic() if came is None else came
        if previous is not None and payload == previous.payload:
            self._events.dropped("equal")
            for each in (channel, *channel.parts.values()):
                self._reissue(each, version)
            return 0
        # A channel keeps its order. So an update that follows one stamped here is not older, even
        # if its publisher's clock says so, or if we stamped that one late.
        channel.sent_version = version = max(version, channel.sent_version + 1)
        number = self._next_number()
        channel.state = state = State(version, payload, number, self._zone)
        if not self._pending:
            self._changed()
        self._pending.append((channel, state, previous))
        if channel.parts:
            self._accept_parts(channel, state)
        return 0

    def _is_overtaken(self, channel: Channel, version: int, payload: Payload) -> bool:
        """Return whether a stale message was in flight while the store was read."""
        if version == channel.newest:
            return channel.state is not None and payload == channel.state.payload
        return (
            channel.newest - version < _IN_FLIGHT * MICROSECONDS
            and self._monotonic() - channel.read < _IN_FLIGHT
        )

    def _accept_parts(self, channel: Channel, whole: State) -> None:
        for sections, part in channel.parts.items():
            state = self._part(whole.version, whole.payload, whole.number, sections)
            previous = part.state
            if previous is None or state.payload != previous.payload:
                part.state = state
                self._pending.append((part, state, previous))
            else:
                self._reissue(part, whole.version)

    def _reissue(self, channel: Channel, version: int) -> None:
        """Send an equal state with a newer version to clients that may have another one."""
        state = channel.state
        if state is None or channel.claimed <= state.version:
            return
        version = max(version, self._channels[channel.contract_id].sent_version)
        unsure = [
            subscriber
            for group in channel.groups
            for subscriber in group.members
            if subscriber.may_have_another(channel, state)
        ]
        due = [each for each in unsure if each.claimed < version]
        channel.claimed = max((s.claimed for s in unsure if s.claimed >= version), default=0)
        if due:
            again = self._again(channel, state, version)
            for subscriber in due:
                subscriber.reissue(channel, again)
                self._late(subscriber, channel)

    def _again(self, channel: Channel, state: State, version: int) -> State:
        # Later states need a newer version than this one, for all clients.
        self._channels[channel.contract_id].sent_version = version
        return State(version, state.payload, state.number, self._zone)

    def _part(
        self,
        version: int,
        payload: Payload | PayloadSections,
        number: int,
        sections: tuple[str, ...],
    ) -> State:
        if sections:
            payload = sections_of(payload, sections)
        return State(version, payload, number, self._zone)

    def _next_number(self, *, quiet: bool = False) -> int:
        # A quiet state is not news to any client.
        if quiet:
            return 0
        self.accepted += 1
        return self.accepted


def _is_newer(version: int | None, other: int | None) -> bool:
    # An update without a version is newer than all before it, and older than all after it.
    return version is None or other is None or version > other
