"""What the hub keeps: states of contracts, who wants them, and what each client has missed.

Records with hardly any behaviour; the hub and its parts alone change them. A state makes its
frames itself, each once, when the first client needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import tzinfo

from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.delivery_options import DeliveryOptions
from ime_live.market import Part, Payload, timestamp_of


class State:
    """One state of one contract, and its frames, each made once when the first client needs it."""

    __slots__ = ("_frames", "_text_data", "number", "payload", "timestamp", "version")

    def __init__(self, version: int, payload: Payload | Part, number: int, zone: tzinfo) -> None:
        self.version = version
        self.payload = payload
        self.number = number
        """Counts the states this hub has sent on: which of two came later, of any contract.

        0 for one that nobody was sent, except those who asked for states.
        """
        self.timestamp = timestamp_of(version, zone).encode()
        """The version as clients see it."""
        self._text_data = b""
        self._frames: tuple[dict[object, bytes], ...] = ({}, {}, {})
        """By the number of a `wire.Format`, then by envelope and what was skipped."""

    def frame(
        self,
        envelope: bytes,
        wrapping: wire.Format,
        skipped: int | None = None,
        *,
        named: bool = True,
    ) -> bytes:
        """The frame of this state under ``envelope``.

        Args:
            envelope: the beginning of its message.
            wrapping: in what it is wrapped.
            skipped: how many states were left out before it, if that is to be told.
            named: whether an event has an id.
        """
        frames = self._frames[wrapping]
        key: object = envelope if skipped is None and named else (envelope, skipped, named)
        frame = frames.get(key)
        if frame is None:
            data = self._text_data
            if not data:
                data = self._text_data = self.payload.to_json()
            text = wire.message(envelope, self.timestamp, data, skipped)
            event_id = self.timestamp if named else b""
            frame = frames[key] = wire.framed(text, wrapping, event_id)
        return frame


class Channel:
    """A contract that somebody wants, or some sections of its payload."""

    __slots__ = (
        "claimed",
        "claimed_at",
        "compared",
        "confirmed",
        "contract_id",
        "groups",
        "held",
        "loaded",
        "newest",
        "opened",
        "parts",
        "read",
        "sections",
        "stamp",
        "state",
        "taken",
        "unversioned",
        "waiting",
    )

    def __init__(self, contract_id: str, opened: int, sections: tuple[str, ...] = ()) -> None:
        self.contract_id = contract_id
        self.opened = opened
        """When it was opened, in microseconds since the epoch."""
        self.sections = sections
        """Which sections its states hold; empty for whole payloads."""
        self.state: State | None = None
        self.newest = 0
        """The newest version that a publisher gave, also to a state that was equal and dropped."""
        self.stamp = 0
        """The version that clients know its state by; above `newest` after one stamped here."""
        self.taken = -math.inf
        """When that state, or an equal one, came; in seconds of a clock that only goes on."""
        self.unversioned = False
        """Whether the last update came without a version, so that it is stamped here."""
        self.read = -math.inf
        """When the last one that was read from the store came, and not by the channel."""
        self.groups: dict[SubscriberGroup, bytes] = {}
        """Who wants it, and under which envelope."""
        self.loaded = False
        """Whether its last state was read from the store."""
        self.held: tuple[int | None, Payload, float] | None = None
        """The newest update that came before that: its version if it has one, and when it came."""
        self.waiting: dict[Client, int] = {}
        """Clients that came before that; they get its last state if it is newer than this."""
        self.claimed = 0
        """The newest version that clients came with who may have another state, see `Client`."""
        self.claimed_at = -math.inf
        """When the last of those came, see `Client.came`."""
        self.confirmed: bool | None = None
        """Whether its state was confirmed since the store may have lost writes; None if the last
        comparison did not ask for that."""
        self.compared = -math.inf
        """When the last comparison began that found it confirmed, on the clock of `taken`."""
        self.parts: dict[tuple[str, ...], Channel] = {}
        """Of a whole contract: what some want only sections of, each with states of its own."""

    def claim(self, since: int, came: float) -> None:
        """A client comes that may have another state; see `Client`."""
        self.claimed = max(self.claimed, since)
        self.claimed_at = max(self.claimed_at, came)


Change = tuple[Channel, State, State | None]
"""A contract, its new state, and the one that it had before."""


class SubscriberGroup:
    """Clients with the same selection and mode, who get the same bytes in one joined buffer."""

    __slots__ = ("channels", "individual", "key", "mode", "paused", "ready", "wrapping")

    def __init__(
        self, key: object, channels: Mapping[Channel, bytes], mode: DeliveryOptions
    ) -> None:
        self.key = key
        self.channels = channels
        self.mode = mode
        self.wrapping = mode.wrapping
        self.individual = mode.individual
        self.ready: dict[Client, Callable[[bytes], int]] = {}
        self.paused: dict[Client, None] = {}


class Client:
    """A client as the hub sees it."""

    __slots__ = (
        "came",
        "closed",
        "group",
        "joined",
        "keep",
        "known_from",
        "known_later",
        "missed",
        "reissued",
        "since",
        "skipped",
        "told",
        "unsent",
        "unsure",
        "wakes",
        "write",
    )

    def __init__(
        self,
        group: SubscriberGroup,
        write: Callable[[bytes], int],
        keep: Callable[[bytes], None],
        known_from: int,
    ) -> None:
        self.group = group
        self.write = write
        self.keep = keep
        self.known_from = known_from
        """States numbered above this were sent to it, or noted in `missed`; -1 if it has, or
        said that it has, whatever is not noted there."""
        self.joined = known_from
        """The number of the last state from before it came."""
        self.since = 0
        """The version up to which it has everything, by its own word; 0 if it said nothing."""
        self.came = math.inf
        """When it said so, on the clock of `Channel.compared`; never, if that cannot be settled."""
        self.known_later: dict[Channel, int] | None = None
        """The same for contracts that it has added since it joined."""
        self.missed: dict[Channel, State | None] = {}
        """What it has not got while it was paused: contract → the last state it did get."""
        self.told: dict[object, Callable[[], bytes]] | None = None
        """What makes the frames that it gets after that, see `Hub.tell`."""
        self.unsent: dict[Channel, tuple[State, bytes]] | None = None
        """States that it has under another time stamp: contract → that state, and its time stamp.
        It was not sent them since it has equal ones, or they were reissued."""
        self.unsure: dict[Channel, State] | None = None
        """States that it was not sent when they were read, since it said that it has newer ones."""
        self.reissued: dict[Channel, State] | None = None
        """States that it gets under a newer version than others have them: see
        `may_have_another`."""
        mode = group.mode
        self.skipped: dict[Channel, int] | None = {} if mode.skips else None
        """States that were left out since the last message, for those who want to know."""
        self.closed: dict[Channel, tuple[float, bytes]] | None = {} if mode.interval else None
        """Contracts that it may not be sent yet: until when, and the time stamp of the message
        that it was sent last; the earliest first. See `ime_live.gateway.hub.throttle`."""
        self.wakes: int | None = None
        """When `ime_live.gateway.hub.throttle` looks after it."""

    def knows(self, channel: Channel, state: State) -> bool:
        """Whether it was sent this state, which was the last one before those in `missed`."""
        if self.may_have_another(channel, state):
            return False
        known_from = self.known_from
        if self.known_later is not None:
            known_from = self.known_later.get(channel, known_from)
        return state.number > known_from

    def may_have_another(self, channel: Channel, state: State) -> bool:
        """Whether it came with something newer than this state, so that it may not have this.

        It was told that by another gateway, or before the store went back. Once a comparison
        has shown that the store knows nothing newer and has lost nothing, it has this.
        """
        if channel.compared > self.came:
            return False
        unsure = self.unsure is not None and self.unsure.get(channel) is state
        if not unsure and (state.version >= self.since or state.number > self.joined):
            return False
        for settled in (self.known_later, self.reissued):
            if settled is not None and channel in settled:
                return False
        return self.unsent is None or self.unsent.get(channel, (None,))[0] is not state

    def doubt(self, channel: Channel, state: State) -> None:
        """It is not sent this state, which has been read now, since it has a newer one."""
        if self.unsure is None:
            self.unsure = {}
        self.unsure[channel] = state

    def reissue(self, channel: Channel, state: State) -> None:
        """Let it get the present state under a newer version, once it is sent it."""
        if self.reissued is None:
            self.reissued = {}
        self.reissued[channel] = state

    def note_unsent(self, channel: Channel, state: State, timestamp: bytes) -> None:
        """It has this state, or an equal one, under another time stamp."""
        if self.unsent is None:
            self.unsent = {}
        self.unsent[channel] = state, timestamp

    def forget(self, channel: Channel) -> None:
        """Drop what is kept of a contract that it wants no more."""
        channel.waiting.pop(self, None)
        self.missed.pop(channel, None)
        for kept in (
            *(self.known_later, self.unsent, self.unsure, self.reissued),
            *(self.skipped, self.closed),
        ):
            if kept is not None:
                kept.pop(channel, None)
