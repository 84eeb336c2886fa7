"""Write the frames of changed states to clients, one write per client and tick.

A client whose socket is not writable, or whose `max_rate` does not allow a message yet, catches up
later. All shared frames of a tick are written in one call of `Send`, which is a loop in C where the
C module could be built.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ime_live.gateway.hub.channel import Change, Channel
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.hub.subscriber_group import SubscriberGroup
from ime_live.gateway.hub.timer_wheel import TimerWheel
from ime_live.gateway.hub.transport import Batch, Events, Send

if TYPE_CHECKING:
    from ime_live.clock import Clock

# Bytes per write to a client that catches up. Newer states can still replace data that has not been
# handed to the kernel.
CATCH_UP_BYTES: Final = 65_536


class Delivery:
    """Writes changes to the subscribers of their channels. Use it on the hub's thread only."""

    def __init__(
        self,
        *,
        send: Send,
        take_changes: Callable[[], Sequence[Change]],
        clock: Clock,
        call_later: Callable[[float, Callable[[], None]], Any],
        events: Events,
        on_failure: Callable[[Subscriber], None],
    ) -> None:
        """Start with nothing to deliver.

        Args:
            send: sends frames to sockets.
            take_changes: returns the changes since its last call, in order.
            clock: the machine's clock, for durations.
            call_later: runs a callable after a delay [s].
            events: counts deliveries and failures.
            on_failure: called with a subscriber whose connection is broken; nothing more is
                written to it.
        """
        self._send = send
        self._take_changes = take_changes
        self._events = events
        self._on_failure = on_failure
        self._monotonic = clock.monotonic
        self.timers = TimerWheel(clock=clock, call_later=call_later, wake=self._wake)
        """Wakes subscribers that have a `max_rate`."""

    def flush(self) -> None:
        """Write all changes since the last call, in one write per subscriber."""
        pending = self._take_changes()
        if not pending:
            return
        if len(pending) == 1:
            messages = self._deliver_one(pending[0])
        else:
            messages = self._deliver_many(pending)
        if messages:
            self._events.delivered(messages, pending[0][1].version)

    def _deliver_one(self, change: Change) -> int:
        # Most ticks have one update, and then there is nothing to join.
        channel, state, _ = change
        changes = (change,)
        for group in channel.behind:
            self._note_missed(group, changes)
        messages = 0
        batches: list[Batch] = []
        for (envelope, format_), groups in channel.shared.items():
            if subscribers := sum(map(len, groups.values())):
                frame = state.frame(envelope, format_)
                for group, ready in groups.items():
                    group.sent += 1
                    batches.append((ready, frame))
                messages += subscribers
        self._write(batches)
        # A copy: a subscriber that fails is removed, and its group may be removed with it.
        for group in list(channel.per_subscriber):
            messages += self._deliver_each(group, changes)
        return messages

    def _deliver_many(self, pending: Sequence[Change]) -> int:
        missed: defaultdict[SubscriberGroup, list[Change]] = defaultdict(list)
        per_subscriber: defaultdict[SubscriberGroup, list[Change]] = defaultdict(list)
        frames: defaultdict[SubscriberGroup, list[bytes]] = defaultdict(list)
        messages = 0
        for change in pending:
            channel, state, _ = change
            for group in channel.behind:
                missed[group].append(change)
            for group in channel.per_subscriber:
                per_subscriber[group].append(change)
            for (envelope, format_), groups in channel.shared.items():
                if any(groups.values()):
                    frame = state.frame(envelope, format_)
                    for group in groups:
                        frames[group].append(frame)
        for group, changes in missed.items():
            self._note_missed(group, changes)
        batches: list[Batch] = []
        for group, group_frames in frames.items():
            subscribers = len(group.ready)
            messages += subscribers * len(group_frames)
            group.sent += len(group_frames)
            # For one socket, C sends the frames without joining them.
            data = group_frames if subscribers == 1 else b"".join(group_frames)
            batches.append((group.ready, data))
        self._write(batches)
        for group, changes in per_subscriber.items():
            messages += self._deliver_each(group, changes)
        return messages

    def deliver_to(self, group: SubscriberGroup, changes: Sequence[Change]) -> None:
        """Deliver changes to one group only; each contract must occur at most once."""
        if group.paused:
            self._note_missed(group, changes)
        if group.per_subscriber:
            messages = self._deliver_each(group, changes)
        else:
            messages = len(group.ready) * len(changes)
            group.sent += len(changes)
            frames = [
                state.frame(group.channels[channel].envelope, group.format)
                for channel, state, _ in changes
            ]
            self._write([(group.ready, b"".join(frames))])
        if messages:
            self._events.delivered(messages, 0)

    def _deliver_each(self, group: SubscriberGroup, changes: Sequence[Change]) -> int:
        """Deliver to subscribers whose messages depend on their earlier messages."""
        if group.options.interval:
            self._deliver_throttled(group, changes)
            return 0
        subscribers = list(group.ready)
        shared = b""
        for subscriber in subscribers:
            if subscriber.skipped:
                self.send(subscriber, subscriber.frames_of(changes))
            else:
                shared = shared or subscriber.frames_of(changes)
                self.send(subscriber, shared)
        group.sent += len(changes)
        return len(subscribers) * len(changes)

    def _deliver_throttled(self, group: SubscriberGroup, changes: Sequence[Change]) -> None:
        """Deliver the changes that `max_rate` allows now; note the others as missed."""
        channels = list(dict.fromkeys(channel for channel, _, _ in changes))
        for subscriber in list(group.ready):
            if throttled := Subscriber.miss_changes((subscriber,), changes):
                self._events.throttled(throttled)
            self.catch_up(subscriber, channels)

    def _write(self, batches: list[Batch]) -> None:
        for subscriber, data, sent, error in self._send(batches):
            if error:
                self._fail(subscriber, OSError(error, os.strerror(error)))
            else:
                frames = data if isinstance(data, bytes) else b"".join(data)
                self._keep(subscriber, frames[sent:])

    def _keep(self, subscriber: Subscriber, rest: bytes) -> None:
        try:
            subscriber.keep(rest)
        except Exception as error:  # noqa: BLE001 - it must not affect other subscribers
            self._fail(subscriber, error)

    def _note_missed(self, group: SubscriberGroup, changes: Sequence[Change]) -> None:
        if conflated := Subscriber.miss_changes(group.paused, changes):
            self._events.conflated(conflated)

    def catch_up(self, subscriber: Subscriber, among: Iterable[Channel] | None = None) -> None:
        """Send the states that a subscriber has missed, then its messages that are no updates.

        It stops when the socket is not writable; the rest follows on `Hub.resume`.

        Args:
            subscriber: the subscriber; nothing is sent if it is paused.
            among: channels to consider; None for all that the subscriber misses.
        """
        ready = subscriber.group.ready
        now = 0.0 if subscriber.throttle is None else self._monotonic()
        while subscriber in ready:
            frames = subscriber.take_frames(CATCH_UP_BYTES, now, among)
            if not frames:
                break
            self._events.delivered(len(frames), 0)
            self.send(subscriber, b"".join(frames))
        if subscriber in ready and (moment := subscriber.due(among)) is not None:
            self.timers.add(subscriber, moment)
        while subscriber in ready and (message := subscriber.take_message()) is not None:
            self.send(subscriber, message)

    def _wake(self, subscriber: Subscriber) -> None:
        # A paused subscriber catches up when it is resumed.
        if subscriber.is_ready:
            self.flush()
            self.catch_up(subscriber)

    def send(self, subscriber: Subscriber, data: bytes) -> None:
        """Write complete frames to one subscriber, which must be ready."""
        self._write([({subscriber: subscriber.descriptor}, data)])

    def _fail(self, subscriber: Subscriber, error: Exception) -> None:
        self._on_failure(subscriber)
        self._events.failed(subscriber, error)
