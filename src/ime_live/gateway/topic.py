"""What the hub keeps: states of contracts, who wants them, and what each client has missed.

Records with hardly any behaviour; the hub alone changes them. A state makes its frames itself,
each once, when the first client needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo

from ime_live.gateway import wire
from ime_live.market import Payload, timestamp_of


class State:
    """One state of one contract, and its frames, each made once when the first client needs it."""

    __slots__ = (
        "_compressed",
        "_plain",
        "_text_data",
        "number",
        "payload",
        "timestamp",
        "version",
    )

    def __init__(self, version: int, payload: Payload, number: int, zone: tzinfo) -> None:
        self.version = version
        self.payload = payload
        self.number = number
        """Counts the states this hub has sent on: which of two came later, of any contract.

        0 for one that nobody was sent, except those who asked for states.
        """
        self.timestamp = timestamp_of(version, zone).encode()
        """The version as clients see it."""
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
            text = wire.message(envelope, self.timestamp, data)
            frame = wire.compressed_frame(text) if compressed else wire.text_frame(text)
            frames[envelope] = frame
        return frame


class Topic:
    """A contract that somebody wants."""

    __slots__ = (
        "audiences",
        "contract_id",
        "held",
        "loaded",
        "newest",
        "opened",
        "stamp",
        "state",
        "waiting",
    )

    def __init__(self, contract_id: str, opened: int) -> None:
        self.contract_id = contract_id
        self.opened = opened
        """When it was opened, in microseconds since the epoch."""
        self.state: State | None = None
        self.newest = 0
        """The newest version that a publisher gave, also to a state that was equal and dropped."""
        self.stamp = 0
        """The version that clients know its state by; above `newest` after one stamped here."""
        self.audiences: dict[Audience, bytes] = {}
        """Who wants it, and under which envelope."""
        self.loaded = False
        """Whether its last state was read from the store."""
        self.held: tuple[int | None, Payload] | None = None
        """The newest update that came before that, and its version if it has one."""
        self.waiting: dict[Client, int] = {}
        """Clients that came before that; they get its last state if it is newer than this."""


class Audience:
    """Clients with the same selection, who get the same bytes in one joined buffer."""

    __slots__ = ("compressed", "key", "paused", "ready", "topics")

    def __init__(self, key: object, topics: Mapping[Topic, bytes], compressed: bool) -> None:
        self.key = key
        self.topics = topics
        self.compressed = compressed
        self.ready: dict[Client, Callable[[bytes], int]] = {}
        self.paused: dict[Client, None] = {}


class Client:
    """A client as the hub sees it."""

    __slots__ = ("audience", "keep", "known_from", "missed", "told", "unsent", "write")

    def __init__(
        self,
        audience: Audience,
        write: Callable[[bytes], int],
        keep: Callable[[bytes], None],
        known_from: int,
    ) -> None:
        self.audience = audience
        self.write = write
        self.keep = keep
        self.known_from = known_from
        """States numbered above this were sent to it, or noted in `missed`; -1 if it has, or
        said that it has, whatever is not noted there."""
        self.missed: dict[Topic, State | None] = {}
        """What it has not got while it was paused: contract → the last state it did get."""
        self.told: Callable[[], bytes] | None = None
        """Makes the frame that it gets after that, see `Hub.tell`."""
        self.unsent: dict[Topic, tuple[State, bytes]] | None = None
        """States that it was not sent since it has equal ones: contract → that state, and the
        time stamp under which the client has it. See `ime_live.gateway.missed`."""
