"""Write the messages of clients that asked for the state of the feed (``status=true``).

Each message goes through the hub, after the states that it lists. No I/O:
`ime_live.gateway.upstream.status_loop` decides when to send, and compares with the store.
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
"""Key of these frames, see `Hub.send`."""


class StatusMessages:
    """The watching clients, by group. All methods must be called on the hub's thread."""

    def __init__(
        self,
        hub: Hub,
        *,
        zone: tzinfo,
        clock: Clock,
        feed: Callable[[], FeedStatus | None],
        sent: Callable[[], None],
    ) -> None:
        """Start without clients.

        Args:
            hub: the hub of the clients.
            zone: time zone of the timestamps.
            clock: the machine's clock.
            feed: returns the feed's present state, None if there never was a feed.
            sent: called for each message that is written.
        """
        self._hub = hub
        self._zone = zone
        self._clock = clock
        self._feed = feed
        self._sent = sent
        self._subscribers: dict[SubscriberGroup, dict[Subscriber, None]] = {}
        self._sending: SubscriberGroup | None = None
        self._shared: dict[bool, bytes] = {}
        """Frames that the clients of this group share, by whether they say ``current``."""

    @property
    def groups(self) -> Collection[SubscriberGroup]:
        """The groups that have watching clients now."""
        return list(self._subscribers)

    def add(self, subscriber: Subscriber, *, current: bool) -> None:
        """Send a status message to a client that has just joined, and more in each round.

        Args:
            subscriber: has got the states that it asked for, or gets them before this.
            current: whether its contracts were compared with the store just now.
        """
        self._subscribers.setdefault(subscriber.group, {})[subscriber] = None
        current = current and not _may_have_another(
            subscriber, _doubtful(subscriber.group.channels)
        )
        self._hub.send(subscriber, partial(self._frame, subscriber, current=current), _STATUS)

    def remove(self, subscriber: Subscriber) -> bool:
        """Remove a client that leaves, or is about to change its selection.

        Returns:
            Whether the client was watching.
        """
        subscribers = self._subscribers.get(subscriber.group)
        if subscribers is None or subscriber not in subscribers:
            return False
        del subscribers[subscriber]
        if not subscribers:
            del self._subscribers[subscriber.group]
        return True

    def send(self, groups: Iterable[SubscriberGroup], current: Collection[str]) -> Iterator[None]:
        """Send a status message to all watching clients.

        Args:
            groups: those that watched when the comparison began.
            current: ids of the contracts whose states in the hub are those in the store, or newer.

        Yields:
            After each group, so that other work gets its turn when there are many.
        """
        for group in groups:
            subscribers = list(self._subscribers.get(group, ()))
            is_current = all(channel.contract_id in current for channel in group.channels)
            self._sending = group
            doubtful = _doubtful(group.channels)
            for subscriber in subscribers:
                here = is_current and not _may_have_another(subscriber, doubtful)
                self._hub.send(subscriber, partial(self._frame, subscriber, current=here), _STATUS)
            # A frame that is made later, for a slow client, must describe that later time.
            self._sending = None
            self._shared = {}
            yield

    def _frame(self, subscriber: Subscriber, *, current: bool) -> bytes:
        self._sent()
        others = subscriber.other_timestamps()
        if others or subscriber.group is not self._sending:
            return self._make(subscriber.group, others, current=current)
        if current not in self._shared:
            self._shared[current] = self._make(subscriber.group, {}, current=current)
        return self._shared[current]

    def _make(
        self, group: SubscriberGroup, others: Mapping[Channel, bytes], *, current: bool
    ) -> bytes:
        contracts = (
            (
                ref.name,
                None if channel.state is None else others.get(channel, channel.state.timestamp),
            )
            for channel, ref in group.channels.items()
        )
        text = wire.status_message(
            timestamp_of(self._clock.time_us(), self._zone).encode(),
            _encode(self._about_feed(current=current)),
            contracts,
        )
        return wire.framed(text, group.format)

    def _about_feed(self, *, current: bool) -> dict[str, object]:
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
    """Return the contracts for which a client may have a state that the store has lost."""
    return [t for t in channels if t.claimed and (not t.confirmed or t.claimed_at == math.inf)]


def _may_have_another(subscriber: Subscriber, doubtful: Iterable[Channel]) -> bool:
    return any(
        channel.state is not None
        and (not channel.confirmed or subscriber.claimed_at == math.inf)
        and subscriber.may_have_another(channel, channel.state)
        for channel in doubtful
    )


def optional_timestamp(moment: int | None, zone: tzinfo) -> str | None:
    """Return the timestamp of a moment, None for None."""
    return None if moment is None else timestamp_of(moment, zone)
