"""Channels: the states of a contract, and the subscribers that wait for them.

A state makes each of its frames once, when the first subscriber needs it. Only the state table
changes what a channel knows of its contract.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING

from msgspec import Struct

from ime_live.gateway.hub import frames as wire
from ime_live.market import Payload, PayloadSections, timestamp_of

if TYPE_CHECKING:
    from ime_live.gateway.hub.subscriber import Subscriber
    from ime_live.gateway.hub.subscriber_group import SubscriberGroup

FrameKind = tuple[bytes, wire.Format]
"""The envelope and the format of frames; one state has one frame of a kind."""


class State:
    """One state of a contract, with its frames, each made once for all subscribers."""

    __slots__ = ("_frames", "_text_data", "number", "payload", "timestamp", "version")

    def __init__(
        self, version: int, payload: Payload | PayloadSections, number: int, zone: tzinfo
    ) -> None:
        self.version = version
        self.payload = payload
        self.number = number
        """Order in which this hub sent states on, across all contracts.

        0 for a state that was only sent to subscribers that asked for present states.
        """
        self.timestamp = timestamp_of(version, zone).encode()
        """The version as clients see it."""
        self._text_data = b""
        self._frames: tuple[dict[object, bytes], ...] = ({}, {}, {})
        """By the number of a `wire.Format`, then by envelope and what was skipped."""

    def frame(
        self,
        envelope: bytes,
        format_: wire.Format,
        skipped: int | None = None,
        *,
        named: bool = True,
    ) -> bytes:
        """Return the frame of this state under ``envelope``.

        Args:
            envelope: the beginning of its message.
            format_: format of the frame.
            skipped: how many states were left out before it; None if the message does not say so.
            named: whether an event has an id.
        """
        frames = self._frames[format_]
        key: object = envelope if skipped is None and named else (envelope, skipped, named)
        frame = frames.get(key)
        if frame is None:
            data = self._text_data
            if not data:
                data = self._text_data = self.payload.to_json()
            text = wire.message(envelope, self.timestamp, data, skipped)
            event_id = self.timestamp if named else b""
            frame = frames[key] = wire.framed(text, format_, event_id)
        return frame


class Present(Struct, frozen=True):
    """The state that a contract has now.

    Attributes:
        version: the newest that publishers gave it, or the one that clients know it by if that is
            newer; 0 if it has no state.
        taken: when it arrived, in seconds of a monotonic clock.
        unversioned: whether the last update came without a version.
        doubted: whether clients have joined that may have another state.
        confirmed: see `Channel.confirmed`.
    """

    version: int
    taken: float
    unversioned: bool
    doubted: bool
    confirmed: bool | None


class Channel:
    """A contract, or some sections of it, that at least one subscriber wants."""

    __slots__ = (
        "behind",
        "claimed",
        "claimed_at",
        "compared",
        "confirmed",
        "contract_id",
        "held",
        "individual",
        "loaded",
        "newest",
        "opened",
        "parts",
        "read",
        "sections",
        "sent_version",
        "shared",
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
        self.sent_version = 0
        """The version that clients know its state by; above `newest` after one stamped here."""
        self.taken = -math.inf
        """When that state, or an equal one, arrived; in seconds of a monotonic clock."""
        self.unversioned = False
        """Whether the last update came without a version, so that it is stamped here."""
        self.read = -math.inf
        """When the last state arrived that was read from the store, not received by Pub/Sub."""
        self.shared: dict[FrameKind, dict[SubscriberGroup, dict[Subscriber, int]]] = {}
        """The groups whose subscribers all get the same bytes, by what distinguishes its frames;
        each with its subscribers that take data."""
        self.individual: dict[SubscriberGroup, bytes] = {}
        """The other groups that want it, each with the envelope of its messages."""
        self.behind: dict[SubscriberGroup, None] = {}
        """Those of all groups that have paused subscribers; kept by the groups."""
        self.loaded = False
        """Whether its last state was read from the store."""
        self.held: tuple[int | None, Payload, float] | None = None
        """The newest update that arrived before `loaded`: version, if any, payload, and when."""
        self.waiting: dict[Subscriber, int] = {}
        """Subscribers that joined before `loaded`; they get its last state if newer than this."""
        self.claimed = 0
        """The newest version claimed by subscribers that may have another state; see
        `Subscriber.claim`."""
        self.claimed_at = -math.inf
        """When the last of those claims was made; infinity if no comparison can settle it."""
        self.confirmed: bool | None = None
        """Whether its state was confirmed since the store may have lost writes; None if the last
        comparison did not check that."""
        self.compared = -math.inf
        """When the last comparison that confirmed it began, on the clock of `taken`."""
        self.parts: dict[tuple[str, ...], Channel] = {}
        """For a whole contract: channels of the sections that clients want, with own states."""

    @property
    def groups(self) -> Iterator[SubscriberGroup]:
        """All groups that want it."""
        return chain(*self.shared.values(), self.individual)

    @property
    def is_wanted(self) -> bool:
        """Whether a group wants it."""
        return bool(self.shared or self.individual)

    def present(self) -> Present:
        """Return the present state of a whole contract, and of its sections."""
        doubted = any(
            each.state is not None and each.claimed > each.state.version
            for each in (self, *self.parts.values())
        )
        version = max(self.newest, self.sent_version)
        return Present(version, self.taken, self.unversioned, doubted, self.confirmed)

    def add(self, group: SubscriberGroup, envelope: bytes) -> None:
        """Send changes to a group from now on, each message under ``envelope``."""
        if group.per_subscriber:
            self.individual[group] = envelope
        else:
            self.shared.setdefault((envelope, group.format), {})[group] = group.ready

    def remove(self, group: SubscriberGroup, envelope: bytes) -> None:
        """Stop sending to a group."""
        self.individual.pop(group, None)
        self.behind.pop(group, None)
        kind = envelope, group.format
        if groups := self.shared.get(kind):
            groups.pop(group, None)
            if not groups:
                del self.shared[kind]

    def await_state(self, subscriber: Subscriber, newer_than: int) -> None:
        """Send the last state to a subscriber when it is loaded, if newer than a version."""
        self.waiting[subscriber] = newer_than

    def forget(self, subscriber: Subscriber) -> None:
        """Drop a subscriber that waits for the last state and no longer wants the contract."""
        self.waiting.pop(subscriber, None)

    def claim(self, version: int, moment: float) -> None:
        """Note that a subscriber may have another state; see `Subscriber.claim`."""
        self.claimed = max(self.claimed, version)
        self.claimed_at = max(self.claimed_at, moment)


Change = tuple[Channel, State, State | None]
"""A contract, its new state, and the one that it had before."""


class OldestMissed:
    """The oldest state that a subscriber still misses while it catches up.

    A client that reconnects sends the id of its last event, and gets what is newer. So an event
    has no id while an older one is still to come: after a break, that one would be lost.
    """

    def __init__(self, missed: Mapping[Channel, object]) -> None:
        self._missed = missed
        states = [(channel.state.version, channel) for channel in missed if channel.state]
        self._order = sorted(states, key=itemgetter(0), reverse=True)

    def left(self) -> float:
        """Return its version; infinity if nothing is missed."""
        order = self._order
        while order and order[-1][1] not in self._missed:
            order.pop()
        return order[-1][0] if order else math.inf
