"""Subscriber: the states that a client has and has missed, and its next frames.

A subscriber misses changes while it is paused, or while its `max_rate` delays a contract. Every
message carries the complete state, so a newer state replaces one that was not sent (conflation).
This needs one slot per contract and no queue. No I/O.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Container, Iterable
from typing import TYPE_CHECKING

from ime_live.gateway.hub.channel import Change, Channel, OldestMissed, State
from ime_live.gateway.hub.frames import Format
from ime_live.gateway.hub.throttle import Throttle

if TYPE_CHECKING:
    from ime_live.gateway.hub.subscriber_group import SubscriberGroup
    from ime_live.gateway.hub.transport import TransportWriter


class Subscriber:
    """A client as the hub sees it."""

    __slots__ = (
        "_doubted",
        "_entered_number",
        "_joined_number",
        "_known_as",
        "_messages",
        "_missed",
        "_reissued",
        "_sent",
        "_sent_from_number",
        "_sent_from_number_of",
        "claimed_at",
        "claimed_version",
        "descriptor",
        "group",
        "keep",
        "skipped",
        "throttle",
    )

    def __init__(self, group: SubscriberGroup, writer: TransportWriter, newest: int) -> None:
        """Make a subscriber in a group; it gets every change from now on.

        Args:
            group: the group for its contracts and options.
            writer: writes to the client's socket.
            newest: number of the newest state.
        """
        self.descriptor = writer.descriptor
        self.keep = writer.keep
        self._sent = 0
        """Number of messages that were written to this subscriber. While it is ready, the count of
        its group at its entry is subtracted, so shared messages are counted once per group. See
        `messages`."""
        self._joined_number = newest
        """Number of the newest state when the subscriber joined the hub."""
        self._entered_number = newest
        """Number of the newest state when the subscriber entered its present group."""
        self._sent_from_number = newest
        """States with a higher number were sent, or are noted in `_missed`. -1 if the subscriber
        has, or claims to have, everything that is not noted there."""
        self._sent_from_number_of: dict[Channel, int] | None = None
        """The same, for contracts that were added since the subscriber joined."""
        self.claimed_version = 0
        """The version up to which the client claims to have everything; 0 without a claim."""
        self.claimed_at = math.inf
        """When the client made this claim, on the clock of `Channel.compared_at`; infinity if no
        comparison can settle it."""
        self._missed: dict[Channel, State | None] = {}
        """Contracts whose changes were missed, each with the last state that was sent before."""
        self._messages: dict[object, Callable[[], bytes]] | None = None
        """Functions that make frames to be sent after `_missed`; see `Hub.send`."""
        self._known_as: dict[Channel, tuple[State, bytes]] | None = None
        """Present states that the client has under another timestamp: contract → state and that
        timestamp. The client has an equal state, or the state was reissued."""
        self._doubted: dict[Channel, State] | None = None
        """States that were not sent when they were loaded, because the client claims to have
        newer ones."""
        self._reissued: dict[Channel, State] | None = None
        """States that are sent with a newer version than to others; see `may_have_another`."""
        options = group.options
        self.skipped: dict[Channel, int] | None = {} if options.skips else None
        """Number of states left out since the last message, per contract; None if the messages do
        not contain it."""
        self.throttle = Throttle(options.interval) if options.interval else None
        """Applies `max_rate`; None without one."""
        self._enter(group)
        for channel in group.still_unloaded():
            channel.await_state(self, channel.opened_at)

    # Membership of a group

    def _enter(self, group: SubscriberGroup, *, paused: bool = False) -> None:
        self.group = group
        group.add(self, paused=paused)
        if not paused:
            self._sent -= group.sent

    def _exit(self) -> None:
        if self.is_ready:
            self._sent += self.group.sent
        self.group.remove(self)

    @property
    def is_ready(self) -> bool:
        """Whether the subscriber is in its group and not paused."""
        return self in self.group.ready

    @property
    def messages(self) -> int:
        """Number of updates that were sent to the subscriber."""
        return self._sent + self.group.sent if self.is_ready else self._sent

    @property
    def has_left(self) -> bool:
        """Whether the subscriber has left its group."""
        return self not in self.group

    def pause(self) -> None:
        """Stop writing to the subscriber; changes are noted as missed from now on."""
        if self.is_ready:
            self._exit()
            self._enter(self.group, paused=True)

    def resume(self) -> bool:
        """Allow writes to the subscriber again; the caller then sends what `take_frames` returns.

        Returns:
            Whether the subscriber was paused.
        """
        if self not in self.group.paused:
            return False
        self._exit()
        self._enter(self.group)
        return True

    def move(self, group: SubscriberGroup, newest: int) -> None:
        """Move to the group of another selection; every change of added contracts is sent.

        Args:
            group: the group of the new selection, with the same options.
            newest: number of the newest state.
        """
        before, paused = self.group, self in self.group.paused
        self._exit()
        self._enter(group, paused=paused)
        self.forget(before.channels.keys() - group.channels.keys())
        if self._sent_from_number_of is None:
            self._sent_from_number_of = {}
        for channel in before.announced or ():
            if channel in group.channels and self._was_announced(before, channel):
                self._sent_from_number_of[channel] = -1
        self._entered_number = newest
        for channel in group.channels:
            if channel not in before.channels:
                self._sent_from_number_of[channel] = newest
                if not channel.loaded:
                    channel.await_state(self, channel.opened_at)

    def leave(self) -> None:
        """Leave the group, and drop missed states and messages."""
        self._exit()
        for channel in self.group.still_unloaded():
            channel.forget(self)
        self._missed.clear()
        self._messages = None

    def forget(self, channels: Collection[Channel]) -> None:
        """Drop all data about contracts that the client no longer wants."""
        for channel in channels:
            channel.forget(self)
        for kept in (
            *(
                self._missed,
                self._sent_from_number_of,
                self._known_as,
                self._doubted,
                self._reissued,
            ),
            self.skipped,
        ):
            if kept:
                for channel in channels:
                    kept.pop(channel, None)
        if self.throttle is not None:
            for channel in channels:
                self.throttle.forget(channel)

    # States that the client has

    def claim(self, version: int, moment: float) -> None:
        """Note that the client claims to have everything up to a version, and wants newer states.

        Args:
            version: the version; 0 if the client wants all present states.
            moment: see `claimed_at`.
        """
        self._sent_from_number = -1
        self.claimed_version = version
        self.claimed_at = moment

    def want(self, channels: Iterable[Channel]) -> None:
        """Note that the client wants the present states of contracts that were just added."""
        if self._sent_from_number_of is None:
            self._sent_from_number_of = {}
        self._sent_from_number_of.update((channel, -1) for channel in channels)

    def may_have_another(self, channel: Channel, state: State) -> bool:
        """Return whether the client may have a newer state instead of this one.

        It may have got a newer state from another gateway, or before the store lost data. Once a
        comparison has shown that the store has no newer state and has lost nothing, the client has
        this state.
        """
        if channel.compared_at > self.claimed_at:
            return False
        doubted = self._doubted is not None and self._doubted.get(channel) is state
        if not doubted and (
            state.version >= self.claimed_version or state.number > self._joined_number
        ):
            return False
        for settled in (self._sent_from_number_of, self._reissued):
            if settled is not None and channel in settled:
                return False
        if self._was_announced(self.group, channel):
            return False
        return self._known_as is None or self._known_as.get(channel, (None,))[0] is not state

    def doubt(self, channel: Channel, state: State) -> None:
        """Note that a loaded state is not sent, because the client claims to have a newer one."""
        if self._doubted is None:
            self._doubted = {}
        self._doubted[channel] = state

    def reissue(self, channel: Channel, state: State) -> None:
        """Send the present state with a newer version, the next time that it is sent."""
        if self._reissued is None:
            self._reissued = {}
        self._reissued[channel] = state

    def other_timestamps(self) -> dict[Channel, bytes]:
        """Return the timestamps of states that differ from those of the contracts' present states.

        Either the client has an equal state, or `max_rate` delays the present state.
        """
        timestamps: dict[Channel, bytes] = {}
        if self._known_as is not None:
            present = {
                channel: known
                for channel, known in self._known_as.items()
                if known[0] is channel.state
            }
            # For the other contracts, a newer state was sent meanwhile.
            self._known_as = present or None
            timestamps = {channel: timestamp for channel, (_, timestamp) in present.items()}
        if self.throttle is not None:
            timestamps.update(self.throttle.timestamps(self._missed))
        return timestamps

    def _was_sent(self, channel: Channel, state: State) -> bool:
        """Return whether a state was sent; it must be the last one before those in `_missed`."""
        if self.may_have_another(channel, state):
            return False
        if self._sent_from_number_of is not None and channel in self._sent_from_number_of:
            return state.number > self._sent_from_number_of[channel]
        return self._was_announced(self.group, channel) or state.number > self._sent_from_number

    def _was_announced(self, group: SubscriberGroup, channel: Channel) -> bool:
        """Return whether a contract was added for the whole group while this one was a member.

        Then it got the contract's state. The group notes this once for all its members: with an
        entry per subscriber, a live selection would use as much memory as a selection by names.
        """
        announced = group.announced
        return announced is not None and self._entered_number < announced.get(channel, -1)

    # Missed states

    def miss(self, channel: Channel) -> None:
        """Note that the present state of a contract must be sent, even if the client has it."""
        self._missed[channel] = None

    @staticmethod
    def miss_changes(subscribers: Iterable[Subscriber], changes: Iterable[Change]) -> int:
        """Note that changes are not sent to subscribers now.

        This takes all subscribers at once, because a call for each of them took an eighth longer.

        Returns:
            The number of earlier changes that were not sent either, and are replaced.
        """
        conflated = 0
        for subscriber in subscribers:
            missed, skipped = subscriber._missed, subscriber.skipped
            for channel, _, previous in changes:
                if channel in missed:
                    conflated += 1
                    if skipped is not None:
                        skipped[channel] = skipped.get(channel, 0) + 1
                elif previous is not None and subscriber._was_sent(channel, previous):
                    missed[channel] = previous
                else:
                    missed[channel] = None
        return conflated

    def frames_of(self, changes: Iterable[Change]) -> bytes:
        """Return the frames of changes, each with the number of states skipped before it."""
        group, skipped = self.group, self.skipped or {}
        return b"".join(
            state.frame(group.channels[channel].envelope, group.format, skipped.pop(channel, 0))
            for channel, state, _ in changes
        )

    def take_frames(
        self, limit: int, now: float = 0.0, among: Iterable[Channel] | None = None
    ) -> list[bytes]:
        """Remove missed states and return their frames, in the order in which they were missed.

        Args:
            limit: size after which no further frame is added [bytes]; the next call returns the
                rest.
            now: the time of a monotonic clock [s]; only used with a `max_rate`.
            among: contracts to consider; None for all.
        """
        missed = self._missed
        if not missed:
            return []
        group, throttle, skipped = self.group, self.throttle, self.skipped
        closed: Container[Channel] = ()
        if throttle is not None:
            throttle.open_due(now)
            closed = throttle.closed
        oldest = OldestMissed(missed) if group.format is Format.EVENT else None
        frames: list[bytes] = []
        size = 0
        for channel in list(missed) if among is None else among:
            if size >= limit:
                break
            if channel not in missed or channel in closed:
                continue
            known = missed.pop(channel)
            state = channel.state
            if state is None:
                continue
            if known is not None and state.payload == known.payload:
                # The contract went back to the state that the client has.
                self._note_equal(channel, state, known)
                continue
            shown = state if self._reissued is None else self._shown(channel, state)
            frame = shown.frame(
                group.channels[channel].envelope,
                group.format,
                None if skipped is None else skipped.pop(channel, 0),
                with_id=oldest is None or oldest.version() > shown.version,
            )
            frames.append(frame)
            size += len(frame)
            if throttle is not None:
                throttle.close(channel, now, shown.timestamp)
        self._sent += len(frames)
        return frames

    def _note_equal(self, channel: Channel, state: State, known: State) -> None:
        before = self._known_as.get(channel) if self._known_as else None
        # The known state may itself be one that was not sent because it was equal.
        chained = before is not None and before[0] is known
        self._know_as(channel, state, before[1] if before and chained else known.timestamp)
        if self.skipped is not None:
            self.skipped[channel] = self.skipped.get(channel, 0) + 1

    def _shown(self, channel: Channel, state: State) -> State:
        """Return the state to send: with a newer version if it was reissued."""
        reissued = None if self._reissued is None else self._reissued.pop(channel, None)
        if reissued is None or reissued.version <= state.version:
            return state
        self._know_as(channel, state, reissued.timestamp)
        return reissued

    def _know_as(self, channel: Channel, state: State, timestamp: bytes) -> None:
        """Note that the client has this state, or an equal one, under another timestamp."""
        if self._known_as is None:
            self._known_as = {}
        self._known_as[channel] = state, timestamp

    def due(self, among: Iterable[Channel] | None = None) -> float | None:
        """Return when the next missed state may be sent that `max_rate` delays now.

        Args:
            among: contracts to consider; None for all.

        Returns:
            The time of a monotonic clock [s]; None if nothing is delayed.
        """
        missed = self._missed
        if self.throttle is None or not missed:
            return None
        channels = missed if among is None else [each for each in among if each in missed]
        return self.throttle.due(channels)

    # Messages that are no updates

    def add_message(self, key: object, make: Callable[[], bytes]) -> None:
        """Add a frame to be sent after the missed states; see `Hub.send`."""
        if self._messages is None:
            self._messages = {}
        self._messages[key] = make

    def take_message(self) -> bytes | None:
        """Remove and return the next of those frames; None if there is none."""
        if not self._messages:
            return None
        return self._messages.pop(next(iter(self._messages)))()
