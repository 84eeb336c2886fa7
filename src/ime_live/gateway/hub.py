"""The hub: who wants which contract, what each contract's last state is, and who gets what.

Updates and clients come in; ready bytes go out through each client's ``write``. Everything that
arrived in one tick of the event loop leaves in one write per client. It does no I/O: the loop's
``call_soon`` and the clock are passed in, and a client is whatever has a ``write``
(`Outlet`). It knows neither sessions nor sockets nor Redis.

Every message carries the complete state, so the newest one replaces all older ones. That is why
a client that cannot take data needs one slot per contract instead of a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from typing import Any, Final, Protocol

from ime_live.gateway import wire
from ime_live.market import Payload, Update, timestamp_of

# A client that catches up gets this much in one write, then as much as it takes: what has not
# been handed to the kernel can still be replaced by something newer.
CATCH_UP_BYTES: Final = 65_536


class Outlet(Protocol):
    """The way to a client."""

    def write(self, data: bytes, /) -> None:
        """Send whole frames; may call `Hub.pause` before it returns."""


class State:
    """One state of one contract, and its frames, each made once when the first client needs it."""

    __slots__ = (
        "_compressed",
        "_plain",
        "_text_data",
        "_timestamp",
        "number",
        "payload",
        "version",
    )

    def __init__(self, version: int, payload: Payload, number: int, zone: tzinfo) -> None:
        self.version = version
        self.payload = payload
        self.number = number
        """Counts the states this hub has accepted: which of two came later, of any contract."""
        self._timestamp = timestamp_of(version, zone).encode()
        self._text_data = b""
        self._plain: dict[bytes, bytes] = {}
        self._compressed: dict[bytes, bytes] = {}

    def frame(self, envelope: bytes, compressed: bool) -> bytes:
        """The frame of this state under ``envelope``."""
        frames = self._compressed if compressed else self._plain
        frame = frames.get(envelope)
        if frame is None:
            data = self._text_data
            if not data:
                data = self._text_data = self.payload.to_json()
            text = wire.message(envelope, self._timestamp, data)
            frame = wire.compressed_frame(text) if compressed else wire.text_frame(text)
            frames[envelope] = frame
        return frame


class Topic:
    """A contract that somebody wants."""

    __slots__ = ("audiences", "contract_id", "held", "newest", "opened", "state", "waiting")

    def __init__(self, contract_id: str, opened: int) -> None:
        self.contract_id = contract_id
        self.opened = opened
        """When it was opened, in microseconds since the epoch."""
        self.state: State | None = None
        self.newest = 0
        """The newest version seen, also of a state that was equal and so was dropped."""
        self.audiences: dict[Audience, bytes] = {}
        """Who wants it, and under which envelope."""
        self.held: list[tuple[int | None, Payload]] | None = []
        """Updates that came before the last state was read from the store; None afterwards."""
        self.waiting: dict[Client, int] = {}
        """Clients that asked for its state, if newer than that version, before it was known."""


class Audience:
    """Clients with the same selection, who get the same bytes in one joined buffer."""

    __slots__ = ("batch", "changed", "compressed", "key", "paused", "ready", "topics")

    def __init__(self, key: object, topics: Mapping[Topic, bytes], compressed: bool) -> None:
        self.key = key
        self.topics = topics
        self.compressed = compressed
        self.ready: dict[Client, Callable[[bytes], None]] = {}
        self.paused: dict[Client, None] = {}
        self.batch: list[bytes] = []
        self.changed: list[tuple[Topic, State | None]] = []


class Client:
    """A client as the hub sees it."""

    __slots__ = ("audience", "known_from", "missed", "write")

    def __init__(self, audience: Audience, write: Callable[[bytes], None], known_from: int) -> None:
        self.audience = audience
        self.write = write
        self.known_from = known_from
        """States numbered above this were sent to it, or noted in `missed`."""
        self.missed: dict[Topic, State | None] = {}
        """What it has not got while it was paused: contract → the last state it did get."""


class Events(Protocol):
    """Who wants to know what the hub does; counts only, called at most once a tick or update."""

    def delivered(self, messages: int, oldest_version: int) -> None:
        """A tick's messages were written; ``oldest_version`` is of the oldest among them."""

    def conflated(self, messages: int) -> None:
        """So many messages were replaced by newer ones before a slow client could take them."""

    def dropped(self, reason: str) -> None:
        """An update was not forwarded: ``equal`` or ``stale``."""

    def failed(self, client: Client, error: Exception) -> None:
        """Writing to ``client`` raised; it gets nothing more."""


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
        self._scheduled = False
        self._accepted = 0

    # Contracts

    def open(self, contract_id: str) -> None:
        """Begin to keep a contract. Its updates are held until `load` tells its last state."""
        if contract_id not in self._topics:
            self._topics[contract_id] = Topic(contract_id, self._clock())

    def close(self, contract_id: str) -> None:
        """Forget a contract that nobody wants any more."""
        topic = self._topics.get(contract_id)
        if topic is not None and not topic.audiences:
            del self._topics[contract_id]

    def reload(self) -> None:
        """Hold all updates until `load` has told the last states again: some may be lost."""
        for topic in self._topics.values():
            if topic.held is None:
                topic.held = []

    def load(self, contract_id: str, last: Update | None) -> None:
        """Tell a contract's last state as the store has it, None if it has none.

        If it is news to the clients, they get it. When the contract was opened just now it is
        not: nothing is sent until the next change. Clients that joined while the store was away
        get what has changed since they came.
        """
        topic = self._topics.get(contract_id)
        if topic is None:
            return
        held, topic.held = topic.held, None
        news = len(self._pending)
        if last is not None and last.version > topic.newest:
            if topic.state is None and last.version <= topic.opened:
                topic.newest = last.version
                topic.state = self._state(last.version, last.payload)
            else:
                self._accept(topic, last.version, last.payload)
        for version, payload in held or ():
            self._accept(topic, version, payload)
        waiting, topic.waiting = topic.waiting, {}
        if len(self._pending) == news and topic.state is not None:
            for client, newer_than in waiting.items():
                self._send_states(client, (topic,), newer_than)

    def publish(self, contract_id: str, version: int | None, payload: Payload) -> None:
        """An update has come. Without a version it is stamped now."""
        topic = self._topics.get(contract_id)
        if topic is None:
            return
        if topic.held is not None:
            topic.held.append((version, payload))
        else:
            self._accept(topic, version, payload)

    def _accept(self, topic: Topic, version: int | None, payload: Payload) -> None:
        previous = topic.state
        if version is None:
            version = max(self._clock(), topic.newest + 1)
        elif version <= topic.newest:
            self._events.dropped("stale")
            return
        topic.newest = version
        if previous is not None and payload == previous.payload:
            self._events.dropped("equal")
            return
        topic.state = state = self._state(version, payload)
        self._pending.append((topic, state, previous))
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._end_of_tick)

    def _state(self, version: int, payload: Payload) -> State:
        self._accepted += 1
        return State(version, payload, self._accepted, self._zone)

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
        client = Client(audience, outlet.write, self._accepted)
        audience.ready[client] = client.write
        return client

    def send_states(self, client: Client, newer_than: int = 0) -> None:
        """Send the present state of each contract of ``client`` that has a newer version.

        To be called right after `join`, at most once. States that are not known yet follow when
        they are.
        """
        client.known_from = 0
        known = []
        for topic in client.audience.topics:
            if topic.state is not None:
                known.append(topic)
            elif topic.held is not None:
                topic.waiting[client] = newer_than
        self._send_states(client, known, newer_than)

    def _send_states(self, client: Client, topics: Iterable[Topic], newer_than: int) -> None:
        for topic in topics:
            if topic.state is not None and topic.state.version > newer_than:
                client.missed[topic] = None
        if client in client.audience.ready:
            self._catch_up(client)

    def leave(self, client: Client) -> None:
        """Remove a client."""
        audience = client.audience
        audience.ready.pop(client, None)
        audience.paused.pop(client, None)
        for topic in audience.topics:
            topic.waiting.pop(client, None)
        client.missed.clear()
        if not audience.ready and not audience.paused:
            self._audiences.pop(audience.key, None)
            for topic in audience.topics:
                topic.audiences.pop(audience, None)

    def pause(self, client: Client) -> None:
        """The client's transport is not writable."""
        if client.audience.ready.pop(client, None) is not None:
            client.audience.paused[client] = None

    def resume(self, client: Client) -> None:
        """It is writable again: it gets the newest message of each contract that it missed."""
        self.flush()
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

    def flush(self) -> None:
        """Write what has arrived since the last time, once to each client."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        touched: dict[Audience, None] = {}
        for topic, state, previous in pending:
            for audience, envelope in topic.audiences.items():
                touched[audience] = None
                if audience.ready:
                    audience.batch.append(state.frame(envelope, audience.compressed))
                if audience.paused:
                    audience.changed.append((topic, previous))
        messages = sum(self._deliver(audience) for audience in touched)
        self._events.delivered(messages, pending[0][1].version)

    def _deliver(self, audience: Audience) -> int:
        if audience.changed:
            self._note_missed(audience.paused, audience.changed)
            audience.changed = []
        frames = audience.batch
        if not frames:
            return 0
        audience.batch = []
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        # A copy: a write may pause its client, which takes it out of `ready`.
        writes = list(audience.ready.items())
        for client, write in writes:
            try:
                write(data)
            except Exception as error:  # noqa: BLE001 - one client's failure is its own
                self._fail(client, error)
        return len(frames) * len(writes)

    def _note_missed(
        self, clients: Iterable[Client], changed: list[tuple[Topic, State | None]]
    ) -> None:
        conflated = 0
        for client in clients:
            missed = client.missed
            for topic, previous in changed:
                if topic in missed:
                    conflated += 1
                elif previous is not None and previous.number > client.known_from:
                    missed[topic] = previous
                else:
                    missed[topic] = None
        if conflated:
            self._events.conflated(conflated)

    def _catch_up(self, client: Client) -> None:
        audience, missed = client.audience, client.missed
        while missed and client in audience.ready:
            frames = []
            size = 0
            while missed and size < CATCH_UP_BYTES:
                topic = next(iter(missed))
                known = missed.pop(topic)
                state = topic.state
                # Back where it was: no change for this client, whatever came between.
                if state is None or (known is not None and state.payload == known.payload):
                    continue
                frame = state.frame(audience.topics[topic], audience.compressed)
                frames.append(frame)
                size += len(frame)
            if frames:
                self._events.delivered(len(frames), 0)
                try:
                    client.write(b"".join(frames))
                except Exception as error:  # noqa: BLE001 - one client's failure is its own
                    self._fail(client, error)

    def _fail(self, client: Client, error: Exception) -> None:
        self.leave(client)
        self._events.failed(client, error)
