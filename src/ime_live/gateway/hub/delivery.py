"""Write the frames of changed states to clients, one write per client and tick.

A client that cannot take data, or must not be sent it yet, catches up later. The only I/O is the
``write`` of the clients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ime_live.gateway.hub import conflation as missed
from ime_live.gateway.hub.subscribers import Change, Channel, Client, SubscriberGroup
from ime_live.gateway.hub.throttle import Throttle
from ime_live.gateway.hub.transport import Events

# A client that catches up gets this much per write, as long as it takes it: data that has not
# been handed to the kernel can still be replaced by something newer.
CATCH_UP_BYTES: Final = 65_536


class Delivery:
    """Writes changes to all groups that want them. Use it on the hub's thread only."""

    def __init__(
        self,
        *,
        take: Callable[[], Sequence[Change]],
        monotonic: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Any],
        events: Events,
        failed: Callable[[Client], None],
    ) -> None:
        """Start with nothing to deliver.

        Args:
            take: returns what has changed since its last call, in order.
            monotonic: seconds.
            call_later: runs a callable after so many seconds.
            events: counts what happens.
            failed: called with a client whose ``write`` raised; it gets nothing more.
        """
        self._take = take
        self._events = events
        self._failed = failed
        self.pace = Throttle(monotonic=monotonic, call_later=call_later, wake=self._wake)
        """Wakes clients that have a `max_rate`."""

    def flush(self) -> None:
        """Write what has arrived since the last time, once to each client."""
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
        messages = 0
        # A copy: a client that fails is removed, and its group may be removed with it.
        for group, envelope in list(channel.groups.items()):
            if group.paused:
                self._note_missed(group, (change,))
            if group.individual:
                messages += self._deliver_each(group, (change,))
            elif group.ready:
                messages += self._write(group, state.frame(envelope, group.wrapping))
        return messages

    def _deliver_many(self, pending: Sequence[Change]) -> int:
        batches: defaultdict[SubscriberGroup, list[bytes]] = defaultdict(list)
        changed: defaultdict[SubscriberGroup, list[Change]] = defaultdict(list)
        for change in pending:
            channel, state, _ = change
            for group, envelope in channel.groups.items():
                if group.paused or group.individual:
                    changed[group].append(change)
                if group.ready and not group.individual:
                    batches[group].append(state.frame(envelope, group.wrapping))
        messages = 0
        for group, changes in changed.items():
            if group.paused:
                self._note_missed(group, changes)
            if group.individual:
                messages += self._deliver_each(group, changes)
        return messages + sum(
            len(frames) * self._write(group, frames[0] if len(frames) == 1 else b"".join(frames))
            for group, frames in batches.items()
        )

    def _deliver_each(self, group: SubscriberGroup, changed: Sequence[Change]) -> int:
        """Deliver to clients whose messages depend on what each of them got before."""
        if group.mode.interval:
            self._deliver_paced(group, changed)
            return 0
        clients = list(group.ready)
        shared = b""
        for client in clients:
            if client.skipped:
                self.send(client, _frames_for(client, changed))
            else:
                shared = shared or _frames_for(client, changed)
                self.send(client, shared)
        return len(clients) * len(changed)

    def _deliver_paced(self, group: SubscriberGroup, changed: Sequence[Change]) -> None:
        """Deliver what may be sent now; each client misses the rest, as if it were slow."""
        channels = list(dict.fromkeys(channel for channel, _, _ in changed))
        for client in list(group.ready):
            if thinned := missed.note((client,), changed):
                self._events.thinned(thinned)
            self.catch_up(client, channels)

    def _write(self, group: SubscriberGroup, data: bytes) -> int:
        size = len(data)
        # A copy: a client that cannot take all of it is paused, which removes it from `ready`.
        writes = list(group.ready.items())
        for client, write in writes:
            try:
                taken = write(data)
            except BlockingIOError:
                taken = 0
            except Exception as error:  # noqa: BLE001 - one client's failure is its own
                self._fail(client, error)
                continue
            if taken != size:
                self._keep(client, data[taken:])
        return len(writes)

    def _keep(self, client: Client, rest: bytes) -> None:
        try:
            client.keep(rest)
        except Exception as error:  # noqa: BLE001 - one client's failure is its own
            self._fail(client, error)

    def _note_missed(self, group: SubscriberGroup, changed: Sequence[Change]) -> None:
        if conflated := missed.note(group.paused, changed):
            self._events.conflated(conflated)

    def catch_up(self, client: Client, among: Iterable[Channel] | None = None) -> None:
        """Send what a client has missed, as much as it takes, then its frames from `Hub.tell`.

        Args:
            client: nothing is sent to one that is paused.
            among: contracts to look at; None for all that it misses.
        """
        ready = client.group.ready
        until = self.pace.open(client) if client.closed is not None else 0.0
        while client.missed and client in ready:
            frames = missed.next_frames(client, CATCH_UP_BYTES, until, among)
            if not frames:
                break
            self._events.delivered(len(frames), 0)
            self.send(client, b"".join(frames))
        if client.closed and client.missed and client in ready:
            self.pace.wait(client, among)
        while client.told and client in ready:
            make = client.told.pop(next(iter(client.told)))
            self.send(client, make())

    def _wake(self, client: Client) -> None:
        # A paused client catches up when it takes data again.
        if client in client.group.ready:
            self.flush()
            self.catch_up(client)

    def send(self, client: Client, data: bytes) -> None:
        """Write whole frames to one client, which must be ready."""
        try:
            taken = client.write(data)
        except BlockingIOError:
            taken = 0
        except Exception as error:  # noqa: BLE001 - one client's failure is its own
            self._fail(client, error)
            return
        if taken != len(data):
            self._keep(client, data[taken:])

    def _fail(self, client: Client, error: Exception) -> None:
        self._failed(client)
        self._events.failed(client, error)


def _frames_for(client: Client, changed: Sequence[Change]) -> bytes:
    """Return the frames of all these changes, each with what the client skipped before it."""
    group, skipped = client.group, client.skipped or {}
    return b"".join(
        state.frame(group.channels[channel], group.wrapping, skipped.pop(channel, 0))
        for channel, state, _ in changed
    )
