"""Contracts as the hub sees them: their states, and who waits for them.

A state makes each of its frames once, when the first subscriber needs it. Only the state table
changes what a channel knows of its contract.
"""

from __future__ import annotations

import math
from datetime import tzinfo
from typing import TYPE_CHECKING

from ime_live.gateway.hub import frames as wire
from ime_live.market import Part, Payload, timestamp_of

if TYPE_CHECKING:
    from ime_live.gateway.hub.subscribers import Subscriber, SubscriberGroup


class State:
    """One state of a contract, with its frames, each made once for all subscribers."""

    __slots__ = ("_frames", "_text_data", "number", "payload", "timestamp", "version")

    def __init__(self, version: int, payload: Payload | Part, number: int, zone: tzinfo) -> None:
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


class Channel:
    """A contract, or some sections of it, that at least one subscriber wants."""

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
        "sent_version",
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
        self.groups: dict[SubscriberGroup, bytes] = {}
        """The groups that want it, each with the envelope of its messages."""
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

    def add(self, group: SubscriberGroup, envelope: bytes) -> None:
        """Send changes to a group from now on, each message under ``envelope``."""
        self.groups[group] = envelope

    def remove(self, group: SubscriberGroup) -> None:
        """Send nothing to a group any more."""
        self.groups.pop(group, None)

    def await_state(self, subscriber: Subscriber, newer_than: int) -> None:
        """Send the last state to a subscriber when it is loaded, if newer than a version."""
        self.waiting[subscriber] = newer_than

    def forget(self, subscriber: Subscriber) -> None:
        """Send no last state to a subscriber that does not want the contract any more."""
        self.waiting.pop(subscriber, None)

    def claim(self, version: int, moment: float) -> None:
        """Note that a subscriber may have another state; see `Subscriber.claim`."""
        self.claimed = max(self.claimed, version)
        self.claimed_at = max(self.claimed_at, moment)


Change = tuple[Channel, State, State | None]
"""A contract, its new state, and the one that it had before."""
