"""Records of the hub: states, channels, groups of subscribers, and clients.

Only the modules of this folder change them. A state makes each of its frames once, when the first
client needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import tzinfo

from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.delivery_options import DeliveryOptions
from ime_live.market import Part, Payload, timestamp_of


class State:
    """One state of a contract, with its frames, each made once when the first client needs it."""

    __slots__ = ("_frames", "_text_data", "number", "payload", "timestamp", "version")

    def __init__(self, version: int, payload: Payload | Part, number: int, zone: tzinfo) -> None:
        self.version = version
        self.payload = payload
        self.number = number
        """Order in which this hub sent states on, across all contracts.

        0 for a state that was only sent to clients that asked for present states.
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
        """Return the frame of this state under ``envelope``.

        Args:
            envelope: the beginning of its message.
            wrapping: format of the frame.
            skipped: how many states were left out before it; None if the message does not say so.
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
    """A contract, or some sections of it, that at least one client wants."""

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
        """Sections that its states hold; empty for whole payloads."""
        self.state: State | None = None
        self.newest = 0
        """The newest version that a publisher gave, also to a state dropped as equal."""
        self.stamp = 0
        """The version that clients know its state by; above `newest` after one stamped here."""
        self.taken = -math.inf
        """When that state, or an equal one, arrived; in seconds of a monotonic clock."""
        self.unversioned = False
        """Whether the last update came without a version, so that it is stamped here."""
        self.read = -math.inf
        """When the last state arrived that was read from the store, not received by Pub/Sub."""
        self.groups: dict[SubscriberGroup, bytes] = {}
        """The groups that want it, each with the envelope of its messages."""
        self.loaded = False
        """Whether its last state was read from the store."""
        self.held: tuple[int | None, Payload, float] | None = None
        """The newest update that arrived before `loaded`: version, if any, payload, and when."""
        self.waiting: dict[Client, int] = {}
        """Clients that joined before `loaded`; they get its last state if newer than this."""
        self.claimed = 0
        """The newest version claimed by clients that may have another state; see `Client`."""
        self.claimed_at = -math.inf
        """When the last of those claims was made; see `Client.came`."""
        self.confirmed: bool | None = None
        """Whether its state was confirmed since the store may have lost writes; None if the last
        comparison did not check that."""
        self.compared = -math.inf
        """When the last comparison that confirmed it began, on the clock of `taken`."""
        self.parts: dict[tuple[str, ...], Channel] = {}
        """For a whole contract: channels of the sections that clients want, with own states."""

    def claim(self, since: int, came: float) -> None:
        """Note that a client joins that may have another state; see `Client`."""
        self.claimed = max(self.claimed, since)
        self.claimed_at = max(self.claimed_at, came)


Change = tuple[Channel, State, State | None]
"""A contract, its new state, and the one that it had before."""


class SubscriberGroup:
    """Clients with the same selection and options; they get the same bytes in one buffer."""

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
    """A client as the hub sees it: how to write to it, and what it has and has missed."""

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
        """States with a higher number were sent to it, or noted in `missed`. -1 if it has
        everything that is not noted there, or said so."""
        self.joined = known_from
        """The number of the last state before it joined."""
        self.since = 0
        """The version up to which it says it has everything; 0 if it said nothing."""
        self.came = math.inf
        """When it said so, on the clock of `Channel.compared`; infinity if no comparison can
        settle it."""
        self.known_later: dict[Channel, int] | None = None
        """Like `known_from`, for contracts that it has added since it joined."""
        self.missed: dict[Channel, State | None] = {}
        """Contracts whose changes it missed, each with the last state it got before."""
        self.told: dict[object, Callable[[], bytes]] | None = None
        """Functions that make the frames it gets after `missed`; see `Hub.tell`."""
        self.unsent: dict[Channel, tuple[State, bytes]] | None = None
        """States that it knows by another timestamp: contract → state and that timestamp.
        It was not sent them because it has equal ones, or because they were reissued."""
        self.unsure: dict[Channel, State] | None = None
        """States that it was not sent when they were read, because it says it has newer ones."""
        self.reissued: dict[Channel, State] | None = None
        """States that it gets with a newer version than other clients; see `may_have_another`."""
        mode = group.mode
        self.skipped: dict[Channel, int] | None = {} if mode.skips else None
        """States left out since the last message, per contract; None if it did not ask."""
        self.closed: dict[Channel, tuple[float, bytes]] | None = {} if mode.interval else None
        """Contracts that it must not be sent yet: until when, and the timestamp of the last
        message, the earliest first. See `ime_live.gateway.hub.throttle`."""
        self.wakes: int | None = None
        """The slot in which `ime_live.gateway.hub.throttle` wakes it."""

    def knows(self, channel: Channel, state: State) -> bool:
        """Return whether it was sent this state, the last one before those in `missed`."""
        if self.may_have_another(channel, state):
            return False
        known_from = self.known_from
        if self.known_later is not None:
            known_from = self.known_later.get(channel, known_from)
        return state.number > known_from

    def may_have_another(self, channel: Channel, state: State) -> bool:
        """Return whether it may have something newer than this state, and not this one.

        It got that from another gateway, or before the store went back. Once a comparison has
        shown that the store has nothing newer and has lost nothing, the client has this state.
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
        """Note that it is not sent this state, just read, because it has a newer one."""
        if self.unsure is None:
            self.unsure = {}
        self.unsure[channel] = state

    def reissue(self, channel: Channel, state: State) -> None:
        """Give it the present state with a newer version when it is sent next."""
        if self.reissued is None:
            self.reissued = {}
        self.reissued[channel] = state

    def note_unsent(self, channel: Channel, state: State, timestamp: bytes) -> None:
        """Note that it has this state, or an equal one, under another timestamp."""
        if self.unsent is None:
            self.unsent = {}
        self.unsent[channel] = state, timestamp

    def forget(self, channel: Channel) -> None:
        """Drop what is kept for a contract that it does not want any more."""
        channel.waiting.pop(self, None)
        self.missed.pop(channel, None)
        for kept in (
            *(self.known_later, self.unsent, self.unsure, self.reissued),
            *(self.skipped, self.closed),
        ):
            if kept is not None:
                kept.pop(channel, None)
