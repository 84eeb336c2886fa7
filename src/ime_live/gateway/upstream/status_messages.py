"""StatusMessages: the clients that asked for the state of the feed, and what each of them is told.

Clients, the feed's state and the outcome of a comparison with the store come in; status messages
go out by way of the hub, each after the states that it names. No I/O; when it is time, and what
the store has, is the matter of `ime_live.gateway.upstream.status_loop`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import tzinfo
from functools import partial
from typing import Final

import msgspec

from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.conflation import other_timestamps
from ime_live.gateway.hub.hub import Hub
from ime_live.gateway.hub.subscribers import Channel, Client, SubscriberGroup
from ime_live.market import timestamp_of
from ime_live.status import FeedStatus

_encode = msgspec.json.Encoder().encode

_STATUS: Final = "status"
"""What the frames are about, see `Hub.tell`."""


class StatusMessages:
    """See the module's text. All methods belong to the hub's thread."""

    def __init__(
        self,
        hub: Hub,
        *,
        zone: tzinfo,
        clock: Callable[[], int],
        feed: Callable[[], FeedStatus | None],
        told: Callable[[], None],
    ) -> None:
        """Make a watch without clients.

        Args:
            hub: whose clients they are.
            zone: whose wall clock the time stamps show.
            clock: microseconds since the epoch.
            feed: the feed's present state, None if there never was a feed.
            told: called for each message that is written.
        """
        self._hub = hub
        self._zone = zone
        self._clock = clock
        self._feed = feed
        self._told = told
        self._watchers: dict[SubscriberGroup, dict[Client, None]] = {}
        self._telling: SubscriberGroup | None = None
        self._shared: dict[bool, bytes] = {}
        """The frames for those of it of whom there is nothing else to say, by what is said of
        being current."""

    @property
    def groups(self) -> Collection[SubscriberGroup]:
        """Whose clients watch, as of now."""
        return list(self._watchers)

    def add(self, client: Client, *, current: bool) -> None:
        """Tell a client that has just joined, and from now on in each round.

        Args:
            client: has got the states that it asked for, or gets them before this.
            current: whether its contracts were compared with the store just now.
        """
        self._watchers.setdefault(client.group, {})[client] = None
        current = current and not _may_have_another(client, _doubtful(client.group.channels))
        self._hub.tell(client, partial(self._frame, client, current=current), _STATUS)

    def remove(self, client: Client) -> bool:
        """The client leaves, or is about to change its selection.

        Returns:
            Whether it watched.
        """
        watchers = self._watchers.get(client.group)
        if watchers is None or client not in watchers:
            return False
        del watchers[client]
        if not watchers:
            del self._watchers[client.group]
        return True

    def tell(self, groups: Iterable[SubscriberGroup], current: Collection[str]) -> Iterator[None]:
        """Tell all who watch.

        Args:
            groups: those that were there when the comparison began.
            current: ids of the contracts that the hub has as new as the store, or newer.

        Yields:
            After each group, so that others get their turn when there are many.
        """
        for group in groups:
            clients = list(self._watchers.get(group, ()))
            is_current = all(channel.contract_id in current for channel in group.channels)
            self._telling = group
            doubtful = _doubtful(group.channels)
            for client in clients:
                here = is_current and not _may_have_another(client, doubtful)
                self._hub.tell(client, partial(self._frame, client, current=here), _STATUS)
            # What is made from now on, for a client that was slow, is of its own time.
            self._telling = None
            self._shared = {}
            yield

    def _frame(self, client: Client, *, current: bool) -> bytes:
        self._told()
        others = other_timestamps(client)
        if others or client.group is not self._telling:
            return self._make(client.group, others, current=current)
        if current not in self._shared:
            self._shared[current] = self._make(client.group, {}, current=current)
        return self._shared[current]

    def _make(
        self, group: SubscriberGroup, others: Mapping[Channel, bytes], *, current: bool
    ) -> bytes:
        contracts = (
            (
                wire.key_in(envelope),
                None if channel.state is None else others.get(channel, channel.state.timestamp),
            )
            for channel, envelope in group.channels.items()
        )
        text = wire.status_message(
            timestamp_of(self._clock(), self._zone).encode(),
            _encode(self._about_feed(current=current)),
            contracts,
        )
        return wire.framed(text, group.wrapping)

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
    """The contracts of which some client may have a state that the store has lost."""
    return [t for t in channels if t.claimed and (not t.confirmed or t.claimed_at == math.inf)]


def _may_have_another(client: Client, doubtful: Iterable[Channel]) -> bool:
    return any(
        channel.state is not None
        and (not channel.confirmed or client.came == math.inf)
        and client.may_have_another(channel, channel.state)
        for channel in doubtful
    )


def optional_timestamp(moment: int | None, zone: tzinfo) -> str | None:
    """The time stamp of a moment that may not have come yet."""
    return None if moment is None else timestamp_of(moment, zone)
