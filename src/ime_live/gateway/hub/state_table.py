"""Keep the last state of each contract, and list what has changed.

The table compares updates, and states read from the store, with its own states. The hub takes the
list of changes once per tick. If some clients want only sections of a contract, the table keeps the
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
"""Seconds for which a message may be in flight while a newer state is read from the store."""

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
            clock: assigns the versions of updates without one, and measures durations.
            events: counts dropped updates.
        """
        self._zone = zone
        self._time_us = clock.time_us
        self._monotonic = clock.monotonic
        self._events = events
        self._on_change: Callable[[], None]
        self._on_late_state: Callable[[Subscriber, Channel], None]
        self._channels: dict[str, Channel] = {}
        self._pending: list[Change] = []
        self.newest_number = 0
        """Number of the newest state; accepted states are numbered in order."""

    def set_callbacks(
        self,
        *,
        on_change: Callable[[], None],
        on_late_state: Callable[[Subscriber, Channel], None],
    ) -> None:
        """Set the callbacks of the hub; call this before any contract is opened.

        Args:
            on_change: called when `take_changes` has something to return, not for each change.
            on_late_state: called for a subscriber that must get a state which is not a change for
                other subscribers.
        """
        self._on_change = on_change
        self._on_late_state = on_late_state

    def open(self, contract_id: str) -> None:
        """Begin to keep the state of a contract; the newest update waits for `load`."""
        if contract_id not in self._channels:
            self._channels[contract_id] = Channel(contract_id, self._time_us())

    def close(self, contract_id: str) -> None:
        """Remove a contract; nothing happens if it has subscribers."""
        channel = self._channels.get(contract_id)
        if channel is not None and not channel.has_groups and not channel.section_channels:
            del self._channels[contract_id]

    def channel(self, contract_id: str, sections: tuple[str, ...]) -> Channel:
        """Return the channel of an open contract, or of some of its sections.

        Args:
            contract_id: id of the contract.
            sections: names of sections; empty for the whole contract.
        """
        channel = self._channels[contract_id]
        if not sections:
            return channel
        section_channel = channel.section_channels.get(sections)
        if section_channel is None:
            section_channel = Channel(contract_id, channel.opened_at, sections)
            channel.section_channels[sections] = section_channel
            section_channel.loaded = channel.loaded
            section_channel.confirmed = channel.confirmed
            section_channel.compared_at = channel.compared_at
            if (state := channel.state) is not None:
                section_channel.state = self._state_of(
                    state.version, state.payload, state.number, sections
                )
        return section_channel

    def drop_sections(self, channel: Channel) -> None:
        """Remove a channel of sections; nothing happens for that of a whole contract."""
        if channel.sections:
            whole = self._channels[channel.contract_id]
            whole.section_channels.pop(channel.sections, None)

    def load(self, contract_id: str, last: Update | None) -> None:
        """Set a contract's last state from the store.

        Call this after `open`, and again whenever updates may have been lost: subscribers get the
        state if it is new to them. After the first call, nothing is sent before the next change.
        But subscribers that joined before that call, because the store could not be reached, get
        the state if it has changed since the contract was opened.

        Args:
            contract_id: id of the contract; nothing happens if it is not open.
            last: the last state; None if the store has no state.
        """
        channel = self._channels.get(contract_id)
        if channel is None:
            return
        if channel.loaded:
            if last is not None and last.version > channel.newest_version:
                self._accept(channel, last.version, last.payload)
                channel.read_at = channel.arrived_at
            return
        held_update, channel.held_update = channel.held_update, None
        number = 0
        if last is not None:
            channel.newest_version = channel.sent_version = last.version
            channel.arrived_at = channel.read_at = self._monotonic()
            if last.version > channel.opened_at:  # an older state is no change for any client
                number = self.next_number()
        for each in (channel, *channel.section_channels.values()):
            each.loaded = True
            waiting, each.waiting = each.waiting, {}
            if last is not None:
                each.state = self._state_of(last.version, last.payload, number, each.sections)
                for subscriber, newer_than in waiting.items():
                    if last.version > newer_than:
                        self._on_late_state(subscriber, each)
                    elif subscriber.claimed_version > last.version:
                        each.claim(subscriber.claimed_version, subscriber.claimed_at)
                        subscriber.doubt(each, each.state)
        if held_update is not None:
            self._accept(channel, *held_update)

    def expect(self, ids: Iterable[str], since: int) -> None:
        """Note that a client will join that claims to have everything up to a version.

        The next comparison then checks whether the client may have states that the store has lost.

        Args:
            ids: ids of the client's contracts.
            since: the version.
        """
        claimed_at = self.claim_time(since)
        for contract_id in ids:
            channel = self._channels.get(contract_id)
            if channel is not None:
                channel.claim(since, claimed_at)

    def claim_time(self, since: int) -> float:
        """Return the time from which comparisons can settle a client's claim [s].

        That is now, unless the version is in the future. Such a version may be above those of
        states that are published later, so no comparison can settle the claim, and the time is
        infinite; see `Subscriber.claimed_at`.

        Args:
            since: the version up to which the client claims to have everything.
        """
        is_in_future = since - self._time_us() > _CLOCKS_DIFFER * MICROSECONDS
        return math.inf if is_in_future else self._monotonic()

    def present(self, contract_id: str) -> Present | None:
        """Return a summary of a contract's present state; None if the contract is not open."""
        channel = self._channels.get(contract_id)
        return None if channel is None else channel.present()

    def is_behind(self, contract_id: str, last: Update | None) -> bool:
        """Return whether a state from the store is newer than the contract's state."""
        channel = self._channels.get(contract_id)
        if channel is None or not channel.loaded or last is None:
            return False
        return last.version > channel.newest_version

    def equals(self, contract_id: str, last: Update | None) -> bool:
        """Return whether a contract has the state ``last``, or no state if it is None."""
        channel = self._channels.get(contract_id)
        if channel is None or not channel.loaded:
            return False
        if last is None or channel.state is None:
            return last is None and channel.state is None
        return last.version == channel.newest_version and last.payload == channel.state.payload

    def confirm(self, contract_id: str, begun: float, *, confirmed: bool | None) -> None:
        """Note the result of a comparison for a contract whose state equals that in the store.

        Args:
            contract_id: id of the contract.
            begun: when the comparison began [s].
            confirmed: whether the store has lost no write since a publisher confirmed the state.
                Then clients that joined before the comparison have no other state. None if the
                comparison did not check it.
        """
        channel = self._channels.get(contract_id)
        if channel is None:
            return
        for each in (channel, *channel.section_channels.values()):
            each.confirmed = confirmed
            if confirmed:
                each.compared_at = begun
                if each.claimed_at < begun:
                    each.claimed_version = 0

    def publish(self, contract_id: str, version: int | None, payload: Payload) -> int:
        """Accept an update, or drop it as equal or stale.

        Args:
            contract_id: id of the contract; nothing happens if it is not open.
            version: version of the update; None for the present time.
            payload: the new payload.

        Returns:
            The newest version, if the update was dropped as stale and was not in flight while the
            store was read; else 0.
        """
        channel = self._channels.get(contract_id)
        if channel is None:
            return 0
        if channel.loaded:
            return self._accept(channel, version, payload)
        if channel.held_update is None or _is_newer(version, channel.held_update[0]):
            channel.held_update = (version, payload, self._monotonic())
        else:
            self._events.dropped("stale")
        return 0

    def state_for(self, subscriber: Subscriber, channel: Channel) -> State | None:
        """Return the present state to send to a subscriber.

        Returns:
            The state, with a newer version if an equal state arrived after the one that the
            subscriber claims to have. None if there is no state, or if the subscriber may have
            another one; see `Subscriber.may_have_another`.
        """
        state, whole = channel.state, self._channels[channel.contract_id]
        if state is None or not subscriber.may_have_another(channel, state):
            return state
        if whole.state is not None and whole.newest_version > max(
            subscriber.claimed_version, whole.state.version
        ):
            reissued = self._with_version(
                channel, state, max(whole.newest_version, whole.sent_version)
            )
            subscriber.reissue(channel, reissued)
            return reissued
        channel.claim(subscriber.claimed_version, subscriber.claimed_at)
        return None

    def next_number(self) -> int:
        """Return a number above those of all present states, and below those of all later ones."""
        self.newest_number += 1
        return self.newest_number

    def take_changes(self) -> list[Change]:
        """Return the changes since the last call, in order."""
        pending, self._pending = self._pending, []
        return pending

    def _accept(
        self,
        channel: Channel,
        version: int | None,
        payload: Payload,
        arrived_at: float | None = None,
    ) -> int:
        """Accept or drop an update that arrived now or earlier; the result is that of `publish`."""
        previous = channel.state
        if version is None:
            version = self._time_us()
            channel.unversioned = True
        elif version <= channel.newest_version:
            self._events.dropped("stale")
            return 0 if self._is_overtaken(channel, version, payload) else channel.newest_version
        else:
            channel.newest_version = version
            channel.unversioned = False
        channel.arrived_at = self._monotonic() if arrived_at is None else arrived_at
        if previous is not None and payload == previous.payload:
            self._events.dropped("equal")
            for each in (channel, *channel.section_channels.values()):
                self._reissue(each, version)
            return 0
        # Versions must grow in the order of arrival. The gateway gives an update without a version
        # one by its own clock, which may be ahead of the publisher's.
        channel.sent_version = version = max(version, channel.sent_version + 1)
        number = self.next_number()
        channel.state = state = State(version, payload, number, self._zone)
        if not self._pending:
            self._on_change()
        self._pending.append((channel, state, previous))
        if channel.section_channels:
            self._accept_sections(channel, state)
        return 0

    def _is_overtaken(self, channel: Channel, version: int, payload: Payload) -> bool:
        """Return whether a stale message was in flight while the store was read."""
        if version == channel.newest_version:
            return channel.state is not None and payload == channel.state.payload
        return (
            channel.newest_version - version < _IN_FLIGHT * MICROSECONDS
            and self._monotonic() - channel.read_at < _IN_FLIGHT
        )

    def _accept_sections(self, channel: Channel, whole: State) -> None:
        for sections, section_channel in channel.section_channels.items():
            state = self._state_of(whole.version, whole.payload, whole.number, sections)
            previous = section_channel.state
            if previous is None or state.payload != previous.payload:
                section_channel.state = state
                self._pending.append((section_channel, state, previous))
            else:
                self._reissue(section_channel, whole.version)

    def _reissue(self, channel: Channel, version: int) -> None:
        """Send an equal state with a newer version to clients that may have another one."""
        state = channel.state
        if state is None or channel.claimed_version <= state.version:
            return
        version = max(version, self._channels[channel.contract_id].sent_version)
        doubtful = [
            subscriber
            for group in channel.groups
            for subscriber in group.members
            if subscriber.may_have_another(channel, state)
        ]
        older = [each for each in doubtful if each.claimed_version < version]
        channel.claimed_version = max(
            (each.claimed_version for each in doubtful if each.claimed_version >= version),
            default=0,
        )
        if older:
            reissued = self._with_version(channel, state, version)
            for subscriber in older:
                subscriber.reissue(channel, reissued)
                self._on_late_state(subscriber, channel)

    def _with_version(self, channel: Channel, state: State, version: int) -> State:
        # Later states need a newer version than this one, for all clients.
        self._channels[channel.contract_id].sent_version = version
        return State(version, state.payload, state.number, self._zone)

    def _state_of(
        self,
        version: int,
        payload: Payload | PayloadSections,
        number: int,
        sections: tuple[str, ...],
    ) -> State:
        if sections:
            payload = sections_of(payload, sections)
        return State(version, payload, number, self._zone)


def _is_newer(version: int | None, other: int | None) -> bool:
    # An update without a version is newer than all before it, and older than all after it.
    return version is None or other is None or version > other
