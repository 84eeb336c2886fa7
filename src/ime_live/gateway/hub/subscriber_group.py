"""Groups of subscribers with the same selection and options, which get the same bytes.

A group is entered in `Channel.behind` while some of its subscribers are paused, so an update costs
nothing for other groups. The group of a popular market has thousands of members, but a
selection that only one client has makes a group of one. So a group uses little memory.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ime_live.gateway.hub.contract_ref import ContractRef
from ime_live.gateway.hub.delivery_options import DeliveryOptions

if TYPE_CHECKING:
    from ime_live.gateway.hub.channel import Channel
    from ime_live.gateway.hub.subscriber import Subscriber


class SubscriberGroup:
    """Subscribers with the same selection and options, ready and paused ones."""

    __slots__ = (
        "announced",
        "channels",
        "format",
        "key",
        "live",
        "options",
        "paused",
        "per_subscriber",
        "ready",
        "sent",
        "unloaded",
    )

    def __init__(
        self,
        key: object,
        channels: dict[Channel, ContractRef],
        options: DeliveryOptions,
        live: Hashable | None = None,
    ) -> None:
        """Make a group without subscribers, and add it to its channels.

        Args:
            key: key of the group in the hub.
            channels: the group's contracts, with the references of its subscribers.
            options: the delivery options.
            live: the live selection of the group; None if its contracts do not change.
        """
        self.key = key
        self.live = live
        self.channels = channels
        self.options = options
        self.format = options.format
        self.per_subscriber = options.per_subscriber
        self.ready: dict[Subscriber, int] = {}
        """Subscribers that are not paused, each with the descriptor of its socket."""
        self.paused: dict[Subscriber, None] = {}
        """Subscribers whose sockets are not writable."""
        self.sent = 0
        """Number of messages that were written to all ready subscribers."""
        self.announced: dict[Channel, int] | None = None
        """Contracts that were added for all subscribers at once, each with the number of the newest
        state at that time; see `extend`."""
        self.unloaded = tuple(channel for channel in channels if not channel.loaded)
        """Contracts whose last states were not loaded at the last `still_unloaded`."""
        for channel, ref in channels.items():
            channel.add(self, ref.envelope)

    @property
    def selection(self) -> dict[str, ContractRef]:
        """Contract id → reference."""
        return {channel.contract_id: ref for channel, ref in self.channels.items()}

    @property
    def members(self) -> tuple[Subscriber, ...]:
        """All subscribers, ready and paused."""
        return (*self.ready, *self.paused)

    @property
    def is_empty(self) -> bool:
        """Whether the group has no subscriber."""
        return not self.ready and not self.paused

    def __contains__(self, subscriber: object) -> bool:
        return subscriber in self.ready or subscriber in self.paused

    def add(self, subscriber: Subscriber, *, paused: bool = False) -> None:
        """Add a subscriber, ready or paused."""
        if not paused:
            self.ready[subscriber] = subscriber.descriptor
            return
        if not self.paused:
            for channel in self.channels:
                channel.behind[self] = None
        self.paused[subscriber] = None

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a subscriber; nothing happens if it is not in the group."""
        if self.ready.pop(subscriber, None) is not None:
            return
        if subscriber not in self.paused:
            return
        del self.paused[subscriber]
        if not self.paused:
            for channel in self.channels:
                channel.behind.pop(self, None)

    def still_unloaded(self) -> Sequence[Channel]:
        """Return the contracts whose last states are not loaded yet, most often none.

        The loaded contracts are not scanned, so to join or leave costs the same for one contract
        and for a thousand.
        """
        if self.unloaded:
            self.unloaded = tuple(channel for channel in self.unloaded if not channel.loaded)
        return self.unloaded

    # The contracts of a live selection

    def extend(self, channels: Mapping[Channel, ContractRef], number: int) -> None:
        """Add contracts for all subscribers.

        Args:
            channels: the contracts, with the references that messages repeat.
            number: number of the newest state; all later subscribers join at it or a higher one.
        """
        if self.announced is None:
            self.announced = {}
        for channel, ref in channels.items():
            self.channels[channel] = ref
            self.announced[channel] = number
            channel.add(self, ref.envelope)
            if self.paused:
                channel.behind[self] = None
        self.unloaded = (*self.unloaded, *(each for each in channels if not each.loaded))

    def reduce(self, channels: Iterable[Channel]) -> None:
        """Remove contracts for all subscribers."""
        removed = set(channels)
        for channel in removed:
            channel.remove(self, self.channels.pop(channel).envelope)
            if self.announced is not None:
                self.announced.pop(channel, None)
        self.unloaded = tuple(channel for channel in self.unloaded if channel not in removed)
        for subscriber in self.members:
            subscriber.forget(removed)

    def rename(self, channel: Channel, ref: ContractRef) -> None:
        """Use another reference for a contract in all later messages."""
        channel.remove(self, self.channels[channel].envelope)
        self.channels[channel] = ref
        channel.add(self, ref.envelope)
        if self.paused:
            channel.behind[self] = None

    def close(self) -> None:
        """Remove the group from its channels; it must have no subscribers."""
        for channel, ref in self.channels.items():
            channel.remove(self, ref.envelope)
