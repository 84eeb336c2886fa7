"""Delivery: changes of states become bytes, and go out through each client's ``write``.

What has changed comes in once a tick of the event loop, and leaves in one write per client. Who
cannot take it, or may not be sent it yet, catches up later. No I/O but the clients' own; who wants
what is the hub's matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ime_live.gateway.hub import conflation as missed
from ime_live.gateway.hub.subscribers import Audience, Change, Client, Topic
from ime_live.gateway.hub.throttle import Pace
from ime_live.gateway.hub.transport import Events

# A client that catches up gets this much in one write, then as much as it takes: what has not
# been handed to the kernel can still be replaced by something newer.
CATCH_UP_BYTES: Final = 65_536


class Delivery:
    """See the module's text. All methods belong to the hub's thread."""

    def __init__(
        self,
        *,
        take: Callable[[], Sequence[Change]],
        monotonic: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Any],
        events: Events,
        failed: Callable[[Client], None],
    ) -> None:
        """Deliver nothing yet.

        Args:
            take: what has changed since it was asked last, in order.
            monotonic: seconds.
            call_later: runs a callable after so many seconds.
            events: is told what happens.
            failed: called with a client whose ``write`` raised; it gets nothing more.
        """
        self._take = take
        self._events = events
        self._failed = failed
        self.pace = Pace(monotonic=monotonic, call_later=call_later, wake=self._wake)
        """When clients that asked for a pace are looked after again."""

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
        # One update a tick is the rule, and then there is nothing to join.
        topic, state, _ = change
        messages = 0
        # A copy: a client that fails is taken out, and its audience with it.
        for audience, envelope in list(topic.audiences.items()):
            if audience.paused:
                self._note_missed(audience, (change,))
            if audience.individual:
                messages += self._deliver_each(audience, (change,))
            elif audience.ready:
                messages += self._write(audience, state.frame(envelope, audience.wrapping))
        return messages

    def _deliver_many(self, pending: Sequence[Change]) -> int:
        batches: defaultdict[Audience, list[bytes]] = defaultdict(list)
        changed: defaultdict[Audience, list[Change]] = defaultdict(list)
        for change in pending:
            topic, state, _ = change
            for audience, envelope in topic.audiences.items():
                if audience.paused or audience.individual:
                    changed[audience].append(change)
                if audience.ready and not audience.individual:
                    batches[audience].append(state.frame(envelope, audience.wrapping))
        messages = 0
        for audience, changes in changed.items():
            if audience.paused:
                self._note_missed(audience, changes)
            if audience.individual:
                messages += self._deliver_each(audience, changes)
        return messages + sum(
            len(frames) * self._write(audience, frames[0] if len(frames) == 1 else b"".join(frames))
            for audience, frames in batches.items()
        )

    def _deliver_each(self, audience: Audience, changed: Sequence[Change]) -> int:
        """Deliver to clients of whom what they got before decides what they get."""
        if audience.mode.interval:
            self._deliver_paced(audience, changed)
            return 0
        clients = list(audience.ready)
        shared = b""
        for client in clients:
            if client.skipped:
                self.send(client, _frames_for(client, changed))
            else:
                shared = shared or _frames_for(client, changed)
                self.send(client, shared)
        return len(clients) * len(changed)

    def _deliver_paced(self, audience: Audience, changed: Sequence[Change]) -> None:
        """Deliver what may be sent now; the rest they miss for a while, as if they were slow."""
        topics = list(dict.fromkeys(topic for topic, _, _ in changed))
        for client in list(audience.ready):
            if thinned := missed.note((client,), changed):
                self._events.thinned(thinned)
            self.catch_up(client, topics)

    def _write(self, audience: Audience, data: bytes) -> int:
        size = len(data)
        # A copy: a client that cannot take it all is paused, which takes it out of `ready`.
        writes = list(audience.ready.items())
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

    def _note_missed(self, audience: Audience, changed: Sequence[Change]) -> None:
        if conflated := missed.note(audience.paused, changed):
            self._events.conflated(conflated)

    def catch_up(self, client: Client, among: Iterable[Topic] | None = None) -> None:
        """Send what a client has missed, as much of it as it takes, and what it was told.

        Args:
            client: nothing is sent to one that is paused.
            among: contracts to look at; None for all that it misses.
        """
        ready = client.audience.ready
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
        # A paused one catches up when it takes data again.
        if client in client.audience.ready:
            self.flush()
            self.catch_up(client)

    def send(self, client: Client, data: bytes) -> None:
        """Write whole frames to one client, which is ready."""
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
    """The frames of all these changes, each with what the client skipped before it."""
    audience, skipped = client.audience, client.skipped or {}
    return b"".join(
        state.frame(audience.topics[topic], audience.wrapping, skipped.pop(topic, 0))
        for topic, state, _ in changed
    )
