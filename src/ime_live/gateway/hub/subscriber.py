"""Subscriber: its transport, the states that it has and has missed, and its next frames.

A subscriber misses changes while it is paused, or while its `max_rate` keeps a contract back.
Every message carries the complete state, so a newer state replaces an older one that it has not
got (conflation). This needs one slot per contract and no queue. No I/O.
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
    """A client as the hub sees it. Only its own methods change it."""

    __slots__ = (
        "_doubted",
        "_entered",
        "_joined",
        "_known_as",
        "_messages",
        "_missed",
        "_reissued",
        "_sent",
        "_sent_from",
        "_sent_from_of",
        "claimed",
        "claimed_at",
        "descriptor",
        "group",
        "keep",
        "skipped",
        "throttle",
    )

    def __init__(self, group: SubscriberGroup, writer: TransportWriter, newest: int) -> None:
        """Join a group: it gets every change from now on.

        Args:
            group: has the contracts and the options.
            writer: writes to its socket.
            newest: number of the newest state.
        """
        self.descriptor = writer.descriptor
        self.keep = writer.keep
        self._sent = 0
        """Messages that it was sent, less what its group had sent when it came in last, while it is
        ready: so the group counts for all. See `messages`."""
        self._joined = newest
        self._entered = newest
        """Number of the newest state when it came into its group."""
        self._sent_from = newest
        """States with a higher number were sent to it, or noted in `_missed`. -1 if it has
        everything that is not noted there, or said so."""
        self._sent_from_of: dict[Channel, int] | None = None
        """The same for contracts that it has added since it joined."""
        self.claimed = 0
        """The version up to which it says it has everything; 0 if it said nothing."""
        self.claimed_at = math.inf
        """When it said so, on the clock of `Channel.compared`; infinity if no comparison can
        settle it."""
        self._missed: dict[Channel, State | None] = {}
        """Contracts whose changes it missed, each with the last state it got before."""
        self._messages: dict[object, Callable[[], bytes]] | None = None
        """Functions that make the frames it gets after `_missed`; see `Hub.send`."""
        self._known_as: dict[Channel, tuple[State, bytes]] | None = None
        """States that it knows by another timestamp: contract → state and that timestamp.
        It was not sent them because it has equal ones, or because they were reissued."""
        self._doubted: dict[Channel, State] | None = None
        """States that it was not sent when they were read, because it says it has newer ones."""
        self._reissued: dict[Channel, State] | None = None
        """States that it gets with a newer version than others; see `may_have_another`."""
        options = group.options
        self.skipped: dict[Channel, int] | None = {} if options.skips else None
        """States left out since the last message, per contract; None if it did not ask."""
        self.throttle = Throttle(options.interval) if options.interval else None
        """Its `max_rate`, if it has one."""
        self._enter(group)
        for channel in group.still_unloaded():
            channel.await_state(self, channel.opened)

    # Its place in a group

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
        """Whether it takes data."""
        return self in self.group.ready

    @property
    def messages(self) -> int:
        """Updates that it was sent."""
        return self._sent + self.group.sent if self.is_ready else self._sent

    @property
    def has_left(self) -> bool:
        """Whether it has left its group."""
        return self not in self.group

    def pause(self) -> None:
        """Stop writing to it, and note the changes that it misses."""
        if self.is_ready:
            self._exit()
            self._enter(self.group, paused=True)

    def resume(self) -> bool:
        """Write to it again, first the missed frames; see `take_frames`.

        Returns:
            Whether it was paused.
        """
        if self not in self.group.paused:
            return False
        self._exit()
        self._enter(self.group)
        return True

    def move(self, group: SubscriberGroup, newest: int) -> None:
        """Change its selection; it gets every change of the contracts that are new in it.

        Args:
            group: has the new selection, and the same options.
            newest: number of the newest state.
        """
        before, paused = self.group, self in self.group.paused
        self._exit()
        self._enter(group, paused=paused)
        self.forget(before.channels.keys() - group.channels.keys())
        if self._sent_from_of is None:
            self._sent_from_of = {}
        for channel in before.announced or ():
            if channel in group.channels and self._was_announced(before, channel):
                self._sent_from_of[channel] = -1
        self._entered = newest
        for channel in group.channels:
            if channel not in before.channels:
                self._sent_from_of[channel] = newest
                if not channel.loaded:
                    channel.await_state(self, channel.opened)

    def leave(self) -> None:
        """Leave its group, and drop its missed frames."""
        self._exit()
        for channel in self.group.still_unloaded():
            channel.forget(self)
        self._missed.clear()
        self._messages = None

    def forget(self, channels: Collection[Channel]) -> None:
        """Drop all data about contracts that it no longer wants."""
        for channel in channels:
            channel.forget(self)
        for kept in (
            *(self._missed, self._sent_from_of, self._known_as, self._doubted, self._reissued),
            self.skipped,
        ):
            if kept:
                for channel in channels:
                    kept.pop(channel, None)
        if self.throttle is not None:
            for channel in channels:
                self.throttle.forget(channel)

    # What it has

    def claim(self, version: int, moment: float) -> None:
        """Note that it claims to have everything up to a version, and wants newer states.

        Args:
            version: 0 if it wants all present states.
            moment: see `claimed_at`.
        """
        self._sent_from = -1
        self.claimed = version
        self.claimed_at = moment

    def want(self, channels: Iterable[Channel]) -> None:
        """Note that it wants the present states of contracts that it has just added."""
        if self._sent_from_of is None:
            self._sent_from_of = {}
        self._sent_from_of.update((channel, -1) for channel in channels)

    def may_have_another(self, channel: Channel, state: State) -> bool:
        """Return whether it may have something newer than this state, and not this one.

        It got that from another gateway, or before the store went back. Once a comparison has
        shown that the store has nothing newer and has lost nothing, it has this state.
        """
        if channel.compared > self.claimed_at:
            return False
        doubted = self._doubted is not None and self._doubted.get(channel) is state
        if not doubted and (state.version >= self.claimed or state.number > self._joined):
            return False
        for settled in (self._sent_from_of, self._reissued):
            if settled is not None and channel in settled:
                return False
        if self._was_announced(self.group, channel):
            return False
        return self._known_as is None or self._known_as.get(channel, (None,))[0] is not state

    def doubt(self, channel: Channel, state: State) -> None:
        """Note that it is not sent this state, just read, because it has a newer one."""
        if self._doubted is None:
            self._doubted = {}
        self._doubted[channel] = state

    def reissue(self, channel: Channel, state: State) -> None:
        """Give it the present state with a newer version when it is sent next."""
        if self._reissued is None:
            self._reissued = {}
        self._reissued[channel] = state

    def other_timestamps(self) -> dict[Channel, bytes]:
        """Return the contracts whose present state it knows by another timestamp, with it.

        Either it has an equal state, or it has a `max_rate` and is sent the present state later.
        """
        others: dict[Channel, bytes] = {}
        if self._known_as is not None:
            present = {
                channel: known
                for channel, known in self._known_as.items()
                if known[0] is channel.state
            }
            # The others were sent a newer state meanwhile.
            self._known_as = present or None
            others = {channel: timestamp for channel, (_, timestamp) in present.items()}
        if self.throttle is not None:
            others.update(self.throttle.timestamps(self._missed))
        return others

    def _was_sent(self, channel: Channel, state: State) -> bool:
        """Return whether it was sent this state, the last one before those in `_missed`."""
        if self.may_have_another(channel, state):
            return False
        if self._sent_from_of is not None and channel in self._sent_from_of:
            return state.number > self._sent_from_of[channel]
        return self._was_announced(self.group, channel) or state.number > self._sent_from

    def _was_announced(self, group: SubscriberGroup, channel: Channel) -> bool:
        """Return whether it got the state of a contract when that was added for its whole group.

        The group notes this once for all: an entry per subscriber would make a market that lists
        its contracts in the morning as large as a selection by names.
        """
        announced = group.announced
        return announced is not None and self._entered < announced.get(channel, -1)

    # What it has missed

    def miss(self, channel: Channel) -> None:
        """Note that it gets the present state of a contract, whatever it has."""
        self._missed[channel] = None

    @staticmethod
    def miss_changes(subscribers: Iterable[Subscriber], changes: Iterable[Change]) -> int:
        """Note that subscribers do not get these changes now.

        Of many at once: a call for each took an eighth longer.

        Returns:
            How many messages the changes replace that had not been got either.
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
        """Return the frames of all these changes, each with what it skipped before."""
        group, skipped = self.group, self.skipped or {}
        return b"".join(
            state.frame(group.channels[channel].envelope, group.format, skipped.pop(channel, 0))
            for channel, state, _ in changes
        )

    def take_frames(
        self, limit: int, now: float = 0.0, among: Iterable[Channel] | None = None
    ) -> list[bytes]:
        """Take the frames that it gets next, in the order in which it missed them.

        Args:
            limit: bytes after which no further frame is added; the next call returns the rest.
            now: the time in seconds, if it has a `max_rate`.
            among: contracts to look at; None for all that it misses.
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
                # The state is what it has already, whatever came between: no change for it.
                self._note_equal(channel, state, known)
                continue
            shown = state if self._reissued is None else self._shown(channel, state)
            frame = shown.frame(
                group.channels[channel].envelope,
                group.format,
                None if skipped is None else skipped.pop(channel, 0),
                named=oldest is None or oldest.left() > shown.version,
            )
            frames.append(frame)
            size += len(frame)
            if throttle is not None:
                throttle.close(channel, now, shown.timestamp)
        self._sent += len(frames)
        return frames

    def _note_equal(self, channel: Channel, state: State, known: State) -> None:
        before = self._known_as.get(channel) if self._known_as else None
        # The state that it knew may be one that it was not sent either.
        chained = before is not None and before[0] is known
        self._know_as(channel, state, before[1] if before and chained else known.timestamp)
        if self.skipped is not None:
            self.skipped[channel] = self.skipped.get(channel, 0) + 1

    def _shown(self, channel: Channel, state: State) -> State:
        """Return the state as it gets it: with a newer version if it was reissued."""
        again = None if self._reissued is None else self._reissued.pop(channel, None)
        if again is None or again.version <= state.version:
            return state
        self._know_as(channel, state, again.timestamp)
        return again

    def _know_as(self, channel: Channel, state: State, timestamp: bytes) -> None:
        """Note that it has this state, or an equal one, under another timestamp."""
        if self._known_as is None:
            self._known_as = {}
        self._known_as[channel] = state, timestamp

    def due(self, among: Iterable[Channel] | None = None) -> float | None:
        """Return when it may be sent the first contract that its `max_rate` keeps back now.

        Args:
            among: contracts that it has begun to miss; None for all that it misses.

        Returns:
            Seconds; None if nothing is kept back.
        """
        missed = self._missed
        if self.throttle is None or not missed:
            return None
        return self.throttle.due(missed if among is None else [t for t in among if t in missed])

    # Messages that are no updates

    def add_message(self, key: object, make: Callable[[], bytes]) -> None:
        """Send it a frame after what it misses; see `Hub.send`."""
        if self._messages is None:
            self._messages = {}
        self._messages[key] = make

    def take_message(self) -> bytes | None:
        """Make the next of those frames; None if there is none."""
        if not self._messages:
            return None
        return self._messages.pop(next(iter(self._messages)))()
