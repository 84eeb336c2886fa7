"""Send status messages to the clients that want them (``status=true``). No I/O.

The hub sends each message after the states that it lists.
`ime_live.gateway.upstream.status_loop` compares with the store, and calls `StatusMessages.send`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import tzinfo
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.channel import Channel
from ime_live.gateway.hub.hub import Hub
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.hub.subscriber_group import SubscriberGroup
from ime_live.market import timestamp_of
from ime_live.status import FeedStatus

if TYPE_CHECKING:
    from ime_live.clock import Clock

_encode = msgspec.json.Encoder().encode

_STATUS: Final = "status"
"""Key of these frames; see `Hub.send`."""


class StatusMessages:
    """The clients that want status messages. All methods must be called on the hub's thread."""

    def __init__(
        self,
        hub: Hub,
        *,
        zone: tzinfo,
        clock: Clock,
        feed: Callable[[], FeedStatus | None],
        on_sent: Callable[[], None],
    ) -> None:
        """Start without clients.

        Args:
            hub: the hub of the clients.
            zone: time zone of the timestamps.
            clock: the clock of timestamps.
            feed: returns the present status of the feed; None if there never was a feed.
            on_sent: called for each message that is written.
        """
        self._hub = hub
        self._zone = zone
        self._clock = clock
        self._feed = feed
        self._on_sent = on_sent
        self._subscribers: dict[SubscriberGroup, dict[Subscriber, None]] = {}
        self._sending: SubscriberGroup | None = None
        self._shared: dict[bool, bytes] = {}
        """Frames that the clients of the group `_sending` share, by the value of ``current``."""

    @property
    def groups(self) -> Collection[SubscriberGroup]:
        """The groups with clients that want status messages."""
        return list(self._subscribers)

    def add(self, subscriber: Subscriber, *, current: bool) -> None:
        """Send a status message to a client that has just joined, and one at each later `send`.

        Args:
            subscriber: the client; `Hub.send_states` must be called before, if it wants states.
            current: whether all its contracts were current just now.
        """
        self._subscribers.setdefault(subscriber.group, {})[subscriber] = None
        current = current and not _may_have_another(
            subscriber, _doubtful(subscriber.group.channels)
        )
        self._hub.send(subscriber, partial(self._frame, subscriber, current=current), _STATUS)

    def remove(self, subscriber: Subscriber) -> bool:
        """Remove a client that leaves, or is about to change its selection.

        Returns:
            Whether the client got status messages.
        """
        subscribers = self._subscribers.get(subscriber.group)
        if subscribers is None or subscriber not in subscribers:
            return False
        del subscribers[subscriber]
        if not subscribers:
            del self._subscribers[subscriber.group]
        return True

    def send(self, groups: Iterable[SubscriberGroup], current: Collection[str]) -> Iterator[None]:
        """Send a status message to all clients of groups.

        Args:
            groups: the value of `groups` when the comparison began.
            current: ids of the contracts that are current.

        Yields:
            After each group, so that the event loop can run other work in between.
        """
        for group in groups:
            subscribers = list(self._subscribers.get(group, ()))
            is_current = all(channel.contract_id in current for channel in group.channels)
            self._sending = group
            doubtful = _doubtful(group.channels)
            for subscriber in subscribers:
                current_here = is_current and not _may_have_another(subscriber, doubtful)
                make = partial(self._frame, subscriber, current=current_here)
                self._hub.send(subscriber, make, _STATUS)
            # For a slow client the frame is made later, and must not be shared.
            self._sending = None
            self._shared = {}
            yield

    def _frame(self, subscriber: Subscriber, *, current: bool) -> bytes:
        self._on_sent()
        timestamps = subscriber.other_timestamps()
        if timestamps or subscriber.group is not self._sending:
            return self._make(subscriber.group, timestamps, current=current)
        if current not in self._shared:
            self._shared[current] = self._make(subscriber.group, {}, current=current)
        return self._shared[current]

    def _make(
        self, group: SubscriberGroup, timestamps: Mapping[Channel, bytes], *, current: bool
    ) -> bytes:
        contracts = (
            (
                ref.name,
                None if channel.state is None else timestamps.get(channel, channel.state.timestamp),
            )
            for channel, ref in group.channels.items()
        )
        text = wire.status_message(
            timestamp_of(self._clock.time_us(), self._zone).encode(),
            _encode(self._feed_fields(current=current)),
            contracts,
        )
        return wire.framed(text, group.format)

    def _feed_fields(self, *, current: bool) -> dict[str, object]:
        status = self._feed()
        if status is None:
            return {
                "feed": None,
                "since": None,
                "lastBoard": None,
                "current": current,
                "markets": {},
            }
        return {
            "feed": status.state,
            "since": timestamp_of(status.since, self._zone),
            "lastBoard": optional_timestamp(status.last_board, self._zone),
            "current": current,
            "markets": {market: each.state for market, each in status.markets.items()},
        }


def _doubtful(channels: Iterable[Channel]) -> list[Channel]:
    """Return the contracts of which clients may have a state that the store has lost."""
    return [
        t for t in channels if t.claimed_version and (not t.confirmed or t.claimed_at == math.inf)
    ]


def _may_have_another(subscriber: Subscriber, doubtful: Iterable[Channel]) -> bool:
    return any(
        channel.state is not None
        and (not channel.confirmed or subscriber.claimed_at == math.inf)
        and subscriber.may_have_another(channel, channel.state)
        for channel in doubtful
    )


def optional_timestamp(moment: int | None, zone: tzinfo) -> str | None:
    """Return the timestamp of a version or a time [microseconds since the epoch]; None for None."""
    return None if moment is None else timestamp_of(moment, zone)
