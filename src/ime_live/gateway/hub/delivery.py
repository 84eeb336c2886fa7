"""Write the frames of changed states to clients, one write per client and tick.

A client that cannot take data, or must not be sent it yet, catches up later. All that is written in
a tick goes through one call of `Send`, which is a loop in C where that could be built.
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

# A client that catches up gets this much per write, as long as it takes it: data that has not
# been handed to the kernel can still be replaced by something newer.
CATCH_UP_BYTES: Final = 65_536


class Delivery:
    """Writes changes to all groups that want them. Use it on the hub's thread only."""

    def __init__(
        self,
        *,
        send: Send,
        take: Callable[[], Sequence[Change]],
        clock: Clock,
        call_later: Callable[[float, Callable[[], None]], Any],
        events: Events,
        failed: Callable[[Subscriber], None],
    ) -> None:
        """Start with nothing to deliver.

        Args:
            send: sends frames to sockets.
            take: returns what has changed since its last call, in order.
            clock: measures time.
            call_later: runs a callable after so many seconds.
            events: counts what happens.
            failed: called with a subscriber whose connection is broken; it gets nothing more.
        """
        self._send = send
        self._take = take
        self._events = events
        self._failed = failed
        self._monotonic = clock.monotonic
        self.timers = TimerWheel(clock=clock, call_later=call_later, wake=self._wake)
        """Wakes subscribers that have a `max_rate`."""

    def flush(self) -> None:
        """Write what has arrived since the last time, once to each subscriber."""
        pending = self._take()
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
        for group in list(channel.individual):
            messages += self._deliver_each(group, changes)
        return messages

    def _deliver_many(self, pending: Sequence[Change]) -> int:
        missed: defaultdict[SubscriberGroup, list[Change]] = defaultdict(list)
        individual: defaultdict[SubscriberGroup, list[Change]] = defaultdict(list)
        frames: defaultdict[SubscriberGroup, list[bytes]] = defaultdict(list)
        messages = 0
        for change in pending:
            channel, state, _ = change
            for group in channel.behind:
                missed[group].append(change)
            for group in channel.individual:
                individual[group].append(change)
            for (envelope, format_), groups in channel.shared.items():
                if any(groups.values()):
                    frame = state.frame(envelope, format_)
                    for group in groups:
                        frames[group].append(frame)
        for group, changes in missed.items():
            self._note_missed(group, changes)
        batches: list[Batch] = []
        for group, each in frames.items():
            subscribers = len(group.ready)
            messages += subscribers * len(each)
            group.sent += len(each)
            # For one socket, C sends the frames without joining them.
            batches.append((group.ready, each if subscribers == 1 else b"".join(each)))
        self._write(batches)
        for group, changes in individual.items():
            messages += self._deliver_each(group, changes)
        return messages

    def deliver_to(self, group: SubscriberGroup, changes: Sequence[Change]) -> None:
        """Deliver changes to one group only; each contract is in them at most once."""
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
        """Deliver what may be sent now; each subscriber misses the rest, as if it were slow."""
        channels = list(dict.fromkeys(channel for channel, _, _ in changes))
        for subscriber in list(group.ready):
            if throttled := Subscriber.miss_changes((subscriber,), changes):
                self._events.throttled(throttled)
            self.catch_up(subscriber, channels)

    def _write(self, batches: list[Batch]) -> None:
        for subscriber, data, taken, error in self._send(batches):
            if error:
                self._fail(subscriber, OSError(error, os.strerror(error)))
            else:
                frames = data if isinstance(data, bytes) else b"".join(data)
                self._keep(subscriber, frames[taken:])

    def _keep(self, subscriber: Subscriber, rest: bytes) -> None:
        try:
            subscriber.keep(rest)
        except Exception as error:  # noqa: BLE001 - one subscriber's failure is its own
            self._fail(subscriber, error)

    def _note_missed(self, group: SubscriberGroup, changes: Sequence[Change]) -> None:
        if conflated := Subscriber.miss_changes(group.paused, changes):
            self._events.conflated(conflated)

    def catch_up(self, subscriber: Subscriber, among: Iterable[Channel] | None = None) -> None:
        """Send what a subscriber has missed, as much as it takes, then its other messages.

        Args:
            subscriber: nothing is sent to one that is paused.
            among: contracts to look at; None for all that it misses.
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
        # A paused subscriber catches up when it takes data again.
        if subscriber.is_ready:
            self.flush()
            self.catch_up(subscriber)

    def send(self, subscriber: Subscriber, data: bytes) -> None:
        """Write whole frames to one subscriber, which must be ready."""
        self._write([({subscriber: subscriber.descriptor}, data)])

    def _fail(self, subscriber: Subscriber, error: Exception) -> None:
        self._failed(subscriber)
        self._events.failed(subscriber, error)
