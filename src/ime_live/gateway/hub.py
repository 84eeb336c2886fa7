"""The hub: who wants which contract, what each contract's last state is, and who gets what.

Updates and clients come in; ready bytes go out through each client's ``write``. Everything that
arrived in one tick of the event loop leaves in one write per client. It does no I/O: the loop's
``call_soon`` and the clock are passed in, and a client is whatever has a ``write``
(`Outlet`). It knows neither sessions nor sockets nor Redis.

Every message carries the complete state, so the newest one replaces all older ones. That is why
a client that cannot take data needs one slot per contract instead of a queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from operator import itemgetter
from typing import Any, Final

from ime_live.gateway import missed
from ime_live.gateway.outlet import Events, Outlet
from ime_live.gateway.topic import Audience, Client, State, Topic
from ime_live.market import Payload, Update

# A client that catches up gets this much in one write, then as much as it takes: what has not
# been handed to the kernel can still be replaced by something newer.
CATCH_UP_BYTES: Final = 65_536


class Hub:
    """See the module's text. All methods belong to one thread and one event loop."""

    def __init__(
        self,
        *,
        zone: tzinfo,
        clock: Callable[[], int],
        call_soon: Callable[[Callable[[], None]], Any],
        events: Events,
    ) -> None:
        """Make an empty hub.

        Args:
            zone: whose wall clock the time stamps show.
            clock: microseconds since the epoch; stamps updates that come without a version.
            call_soon: runs a callable at the end of the event loop's tick.
            events: is told what happens.
        """
        self._zone = zone
        self._clock = clock
        self._call_soon = call_soon
        self._events = events
        self._topics: dict[str, Topic] = {}
        self._audiences: dict[object, Audience] = {}
        self._pending: list[tuple[Topic, State, State | None]] = []
        self._behind: dict[Client, None] = {}
        """Clients that catch up at the end of this tick; paused until then."""
        self._scheduled = False
        self._accepted = 0

    # Contracts

    def open(self, contract_id: str) -> None:
        """Begin to keep a contract. The newest update is held until `load` tells its last state."""
        if contract_id not in self._topics:
            self._topics[contract_id] = Topic(contract_id, self._clock())

    def close(self, contract_id: str) -> None:
        """Forget a contract that nobody wants any more."""
        topic = self._topics.get(contract_id)
        if topic is not None and not topic.audiences:
            del self._topics[contract_id]

    def load(self, contract_id: str, last: Update | None) -> None:
        """Tell a contract's last state as the store has it, None if it has none.

        To be called after `open`, and again whenever updates may have been lost: if it is news
        to the clients, they get it. When the contract was opened just now it is not: nothing is
        sent until the next change. Clients that joined before the first call, since the store
        was away, get what has changed meanwhile.
        """
        topic = self._topics.get(contract_id)
        if topic is None:
            return
        if topic.loaded:
            if last is not None and last.version > topic.newest:
                self._accept(topic, last.version, last.payload)
            return
        topic.loaded = True
        held, topic.held = topic.held, None
        waiting, topic.waiting = topic.waiting, {}
        if last is not None:
            topic.newest = topic.stamp = last.version
            topic.state = self._state(
                last.version, last.payload, quiet=last.version <= topic.opened
            )
            for client, newer_than in waiting.items():
                if last.version > newer_than:
                    self._fall_behind(client, topic)
        if held is not None:
            self._accept(topic, *held)

    def newest(self, contract_id: str) -> int | None:
        """The newest version that publishers gave it, 0 if none yet; None if it is not open."""
        topic = self._topics.get(contract_id)
        return None if topic is None else topic.newest

    def publish(self, contract_id: str, version: int | None, payload: Payload) -> None:
        """An update has come. Without a version it is stamped now."""
        topic = self._topics.get(contract_id)
        if topic is None:
            return
        if topic.loaded:
            self._accept(topic, version, payload)
        elif topic.held is None or _is_newer(version, topic.held[0]):
            topic.held = (version, payload)
        else:
            self._events.dropped("stale")

    def _accept(self, topic: Topic, version: int | None, payload: Payload) -> None:
        previous = topic.state
        if version is None:
            version = self._clock()
        elif version <= topic.newest:
            self._events.dropped("stale")
            return
        else:
            topic.newest = version
        if previous is not None and payload == previous.payload:
            self._events.dropped("equal")
            return
        # A channel keeps its order. So an update that follows one stamped here is not older, even
        # if its publisher's clock says so, or ours was late.
        topic.stamp = version = max(version, topic.stamp + 1)
        topic.state = state = self._state(version, payload)
        self._pending.append((topic, state, previous))
        self._schedule()

    def _state(self, version: int, payload: Payload, *, quiet: bool = False) -> State:
        self._accepted += not quiet
        return State(version, payload, 0 if quiet else self._accepted, self._zone)

    def _fall_behind(self, client: Client, topic: Topic) -> None:
        # As if it were paused until the end of the tick: one write for all that is loaded in it.
        client.missed[topic] = None
        if client in client.audience.ready:
            self.pause(client)
            self._behind[client] = None
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._end_of_tick)

    # Clients

    def join(
        self, selection: Mapping[str, bytes], outlet: Outlet, *, compressed: bool = False
    ) -> Client:
        """Add a client; it gets every change from now on.

        Args:
            selection: contract id → envelope of its messages; every contract is open.
            outlet: the way to it.
            compressed: whether it takes compressed frames.
        """
        # What is on its way was published before the client came.
        self.flush()
        audience = self._audience(selection, compressed)
        client = Client(audience, outlet.write, outlet.keep, self._accepted)
        audience.ready[client] = client.write
        for topic in audience.topics:
            if not topic.loaded:
                topic.waiting[client] = topic.opened
        return client

    def send_states(self, client: Client, newer_than: int = 0) -> None:
        """Send the present state of each contract of ``client`` that has a newer version.

        To be called right after `join`, at most once. States that are not known yet follow when
        they are.
        """
        client.known_from = -1
        due: list[tuple[int, Topic]] = []
        for topic in client.audience.topics:
            if not topic.loaded:
                topic.waiting[client] = newer_than
            elif topic.state is not None and topic.state.version > newer_than:
                due.append((topic.state.version, topic))
        # Oldest first: a client whose connection breaks on the way and that comes back with the
        # newest time stamp it has seen has not skipped those that were still to come.
        due.sort(key=itemgetter(0))
        client.missed.update((topic, None) for _, topic in due)
        if client in client.audience.ready:
            self._catch_up(client)

    def tell(self, client: Client, make: Callable[[], bytes]) -> None:
        """Send a frame that is not an update, after all that the client was to get before.

        Args:
            client: nothing happens if it has left.
            make: makes the frame when it is written: now, or when a paused client has caught up.
                The newest one replaces one that is still to be made.
        """
        self.flush()
        if client in client.audience.ready:
            self._send(client, make())
        elif client in client.audience.paused:
            client.told = make

    def leave(self, client: Client) -> None:
        """Remove a client; nothing happens if it was removed before."""
        audience = client.audience
        if client not in audience.ready and client not in audience.paused:
            # It failed before its connection ended, and others may have come in its place.
            return
        audience.ready.pop(client, None)
        audience.paused.pop(client, None)
        self._behind.pop(client, None)
        for topic in audience.topics:
            topic.waiting.pop(client, None)
        client.missed.clear()
        client.told = None
        if not audience.ready and not audience.paused:
            self._audiences.pop(audience.key, None)
            for topic in audience.topics:
                topic.audiences.pop(audience, None)

    def pause(self, client: Client) -> None:
        """The client's transport is not writable."""
        self._behind.pop(client, None)
        if client.audience.ready.pop(client, None) is not None:
            client.audience.paused[client] = None

    def resume(self, client: Client) -> None:
        """It is writable again: it gets the newest message of each contract that it missed."""
        self.flush()
        self._behind.pop(client, None)
        audience = client.audience
        if client in audience.paused:
            del audience.paused[client]
            audience.ready[client] = client.write
            self._catch_up(client)

    def _audience(self, selection: Mapping[str, bytes], compressed: bool) -> Audience:
        key = (compressed, frozenset(selection.items()))
        audience = self._audiences.get(key)
        if audience is None:
            topics = {
                self._topics[contract_id]: envelope for contract_id, envelope in selection.items()
            }
            audience = self._audiences[key] = Audience(key, topics, compressed)
            for topic, envelope in topics.items():
                topic.audiences[audience] = envelope
        return audience

    # Delivery

    def _end_of_tick(self) -> None:
        self._scheduled = False
        self.flush()
        while self._behind:
            self.resume(next(iter(self._behind)))

    def flush(self) -> None:
        """Write what has arrived since the last time, once to each client."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        if len(pending) == 1:
            messages = self._deliver_one(*pending[0])
        else:
            messages = self._deliver_many(pending)
        if messages:
            self._events.delivered(messages, pending[0][1].version)

    def _deliver_one(self, topic: Topic, state: State, previous: State | None) -> int:
        # One update a tick is the rule, and then there is nothing to join.
        messages = 0
        # A copy: a client that fails is taken out, and its audience with it.
        for audience, envelope in list(topic.audiences.items()):
            if audience.paused:
                self._note_missed(audience, ((topic, previous),))
            if audience.ready:
                messages += self._write(audience, state.frame(envelope, audience.compressed))
        return messages

    def _deliver_many(self, pending: Sequence[tuple[Topic, State, State | None]]) -> int:
        batches: defaultdict[Audience, list[bytes]] = defaultdict(list)
        changed: defaultdict[Audience, list[tuple[Topic, State | None]]] = defaultdict(list)
        for topic, state, previous in pending:
            for audience, envelope in topic.audiences.items():
                if audience.ready:
                    batches[audience].append(state.frame(envelope, audience.compressed))
                if audience.paused:
                    changed[audience].append((topic, previous))
        for audience, changes in changed.items():
            self._note_missed(audience, changes)
        return sum(
            len(frames) * self._write(audience, frames[0] if len(frames) == 1 else b"".join(frames))
            for audience, frames in batches.items()
        )

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

    def _note_missed(
        self, audience: Audience, changed: Sequence[tuple[Topic, State | None]]
    ) -> None:
        if conflated := missed.note(audience.paused, changed):
            self._events.conflated(conflated)

    def _catch_up(self, client: Client) -> None:
        ready = client.audience.ready
        while client.missed and client in ready:
            if frames := missed.next_frames(client, CATCH_UP_BYTES):
                self._events.delivered(len(frames), 0)
                self._send(client, b"".join(frames))
        if client.told is not None and client in ready:
            make, client.told = client.told, None
            self._send(client, make())

    def _send(self, client: Client, data: bytes) -> None:
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
        self.leave(client)
        self._events.failed(client, error)


def _is_newer(version: int | None, other: int | None) -> bool:
    # What has no version is newer than all that came before it, and older than all that follows.
    return version is None or other is None or version > other
