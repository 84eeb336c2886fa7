"""Channels: the states of a contract, and the subscribers that wait for them.

A state makes each of its frames once, when the first subscriber needs it. Only the state table
changes the state of a channel.
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

    __slots__ = ("_frames", "_payload_json", "number", "payload", "timestamp", "version")

    def __init__(
        self, version: int, payload: Payload | PayloadSections, number: int, zone: tzinfo
    ) -> None:
        self.version = version
        self.payload = payload
        self.number = number
        """Position in the order in which the state table accepted states, across all contracts.

        0 for a state that is older than its channel: only subscribers that want present states
        get it.
        """
        self.timestamp = timestamp_of(version, zone).encode()
        """The version as clients see it."""
        self._payload_json = b""
        self._frames: tuple[dict[object, bytes], ...] = ({}, {}, {})
        """By the number of a `wire.Format`, then by the variable parts of the frame."""

    def frame(
        self,
        envelope: bytes,
        format_: wire.Format,
        skipped: int | None = None,
        *,
        with_id: bool = True,
    ) -> bytes:
        """Return the frame of this state under ``envelope``.

        Args:
            envelope: the beginning of the message, from `ContractRef.envelope`.
            format_: format of the frame.
            skipped: number of states that were left out before this one; None for a message
                without this number.
            with_id: whether a server-sent event has an id; see `OldestMissed`.
        """
        frames = self._frames[format_]
        key: object = envelope if skipped is None and with_id else (envelope, skipped, with_id)
        frame = frames.get(key)
        if frame is None:
            data = self._payload_json
            if not data:
                data = self._payload_json = self.payload.to_json()
            text = wire.message(envelope, self.timestamp, data, skipped)
            event_id = self.timestamp if with_id else b""
            frame = frames[key] = wire.framed(text, format_, event_id)
        return frame


class Present(Struct, frozen=True):
    """A summary of the state that a contract has now.

    Attributes:
        version: the newest version from publishers, or the version under which clients have the
            state if that is newer; 0 without a state.
        arrived_at: when the state arrived, in seconds of a monotonic clock.
        unversioned: whether the last update came without a version.
        doubted: whether clients have joined that may have another state.
        confirmed: see `Channel.confirmed`.
    """

    version: int
    arrived_at: float
    unversioned: bool
    doubted: bool
    confirmed: bool | None


class Channel:
    """A contract, or some of its sections, with at least one subscriber."""

    __slots__ = (
        "arrived_at",
        "behind",
        "claimed_at",
        "claimed_version",
        "compared_at",
        "confirmed",
        "contract_id",
        "held_update",
        "loaded",
        "newest_version",
        "opened_at",
        "per_subscriber",
        "read_at",
        "section_channels",
        "sections",
        "sent_version",
        "shared",
        "state",
        "unversioned",
        "waiting",
    )

    def __init__(self, contract_id: str, opened_at: int, sections: tuple[str, ...] = ()) -> None:
        self.contract_id = contract_id
        self.opened_at = opened_at
        """When the channel was opened, in microseconds since the epoch."""
        self.sections = sections
        """Sections that the states contain; empty for whole payloads."""
        self.state: State | None = None
        self.newest_version = 0
        """The newest version from a publisher, even if its state was dropped as equal."""
        self.sent_version = 0
        """The version under which clients have the state. It is above `newest_version` if the
        gateway gave the state its version."""
        self.arrived_at = -math.inf
        """When the state, or an equal one, arrived; in seconds of a monotonic clock."""
        self.unversioned = False
        """Whether the last update came without a version, so that the gateway gave it one."""
        self.read_at = -math.inf
        """When the last state arrived that was read from the store, not received by Pub/Sub; in
        seconds of a monotonic clock."""
        self.shared: dict[FrameKind, dict[SubscriberGroup, dict[Subscriber, int]]] = {}
        """Groups whose subscribers all get the same bytes, by the kind of their frames; each with
        its subscribers that take data."""
        self.per_subscriber: dict[SubscriberGroup, bytes] = {}
        """Groups whose subscribers get different bytes, each with the envelope of its messages."""
        self.behind: dict[SubscriberGroup, None] = {}
        """Groups of both sorts that have paused subscribers; the groups maintain this."""
        self.loaded = False
        """Whether the last state was read from the store."""
        self.held_update: tuple[int | None, Payload, float] | None = None
        """The newest update that arrived before the last state was loaded: version, if any,
        payload, and time of arrival."""
        self.waiting: dict[Subscriber, int] = {}
        """Subscribers that joined before the last state was loaded, each with the version above
        which it gets that state."""
        self.claimed_version = 0
        """The newest version claimed by subscribers that may have another state; see
        `Subscriber.claim`."""
        self.claimed_at = -math.inf
        """When the last of those claims was made, in seconds of a monotonic clock; infinity if no
        comparison can settle it."""
        self.confirmed: bool | None = None
        """Whether the state was confirmed since the store may have lost writes; None if the last
        comparison did not check that."""
        self.compared_at = -math.inf
        """When the last comparison that confirmed the state began, in seconds of a monotonic
        clock."""
        self.section_channels: dict[tuple[str, ...], Channel] = {}
        """Channels of selected sections of a whole contract, with states of their own."""

    @property
    def groups(self) -> Iterator[SubscriberGroup]:
        """All groups of subscribers."""
        return chain(*self.shared.values(), self.per_subscriber)

    @property
    def has_groups(self) -> bool:
        """Whether at least one group subscribes to this channel."""
        return bool(self.shared or self.per_subscriber)

    def present(self) -> Present:
        """Return a summary of the present state of a whole contract and its sections."""
        doubted = any(
            channel.state is not None and channel.claimed_version > channel.state.version
            for channel in (self, *self.section_channels.values())
        )
        version = max(self.newest_version, self.sent_version)
        return Present(version, self.arrived_at, self.unversioned, doubted, self.confirmed)

    def add(self, group: SubscriberGroup, envelope: bytes) -> None:
        """Send changes to a group from now on; its messages begin with ``envelope``."""
        if group.per_subscriber:
            self.per_subscriber[group] = envelope
        else:
            self.shared.setdefault((envelope, group.format), {})[group] = group.ready

    def remove(self, group: SubscriberGroup, envelope: bytes) -> None:
        """Stop sending to a group."""
        self.per_subscriber.pop(group, None)
        self.behind.pop(group, None)
        kind = envelope, group.format
        if groups := self.shared.get(kind):
            groups.pop(group, None)
            if not groups:
                del self.shared[kind]

    def await_state(self, subscriber: Subscriber, newer_than: int) -> None:
        """Note that a subscriber gets the last state once it is loaded, if newer than a version."""
        self.waiting[subscriber] = newer_than

    def forget(self, subscriber: Subscriber) -> None:
        """Drop a subscriber that waits for the last state and no longer wants the contract."""
        self.waiting.pop(subscriber, None)

    def claim(self, version: int, moment: float) -> None:
        """Note that a subscriber may have another state.

        Args:
            version: the version up to which the subscriber claims to have everything.
            moment: see `Subscriber.claimed_at`.
        """
        self.claimed_version = max(self.claimed_version, version)
        self.claimed_at = max(self.claimed_at, moment)


Change = tuple[Channel, State, State | None]
"""A channel, its new state, and its previous state."""


class OldestMissed:
    """The oldest state that a subscriber still misses while it catches up.

    A client that reconnects sends the id of its last event, and gets newer states only. So an event
    has no id while an older state is still to be sent: if the connection broke in between, that
    state would be lost.
    """

    def __init__(self, missed: Mapping[Channel, object]) -> None:
        self._missed = missed
        states = [(channel.state.version, channel) for channel in missed if channel.state]
        self._order = sorted(states, key=itemgetter(0), reverse=True)

    def version(self) -> float:
        """Return the version of that state; infinity if nothing is missed."""
        order = self._order
        while order and order[-1][1] not in self._missed:
            order.pop()
        return order[-1][0] if order else math.inf
