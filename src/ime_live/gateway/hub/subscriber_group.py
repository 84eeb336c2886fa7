"""Groups of subscribers with the same selection and options; they get the same bytes.

A group tells its channels whether some of its subscribers are paused, so that an update looks only
at groups that miss it. Most groups of a popular market have thousands of members;
most of those who choose contracts for themselves have one, so a group keeps little.
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
    """Some subscribers, those that take data and those that are paused."""

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
        """Make a group without subscribers, and let its channels send to it.

        Args:
            key: by which the hub finds it.
            channels: its contracts, and how its subscribers named them.
            options: how they want their messages.
            live: the live selection whose contracts it has; None if they do not change.
        """
        self.key = key
        self.live = live
        self.channels = channels
        self.options = options
        self.format = options.format
        self.per_subscriber = options.per_subscriber
        self.ready: dict[Subscriber, int] = {}
        """Those that take data, each with the descriptor of its socket."""
        self.paused: dict[Subscriber, None] = {}
        self.sent = 0
        """Messages that were written to all that were ready, since it was made."""
        self.announced: dict[Channel, int] | None = None
        """Contracts that were added to all of its subscribers at once: the number of the newest
        state at that moment. See `Subscriber`."""
        self.unloaded = tuple(channel for channel in channels if not channel.loaded)
        """Those whose last states were not read when somebody joined or left last."""
        for channel, ref in channels.items():
            channel.add(self, ref.envelope)

    @property
    def selection(self) -> dict[str, ContractRef]:
        """Contract id → how its subscribers named it."""
        return {channel.contract_id: ref for channel, ref in self.channels.items()}

    @property
    def members(self) -> tuple[Subscriber, ...]:
        """All subscribers of the group."""
        return (*self.ready, *self.paused)

    @property
    def is_empty(self) -> bool:
        """Whether all have left."""
        return not self.ready and not self.paused

    def __contains__(self, subscriber: object) -> bool:
        return subscriber in self.ready or subscriber in self.paused

    def add(self, subscriber: Subscriber, *, paused: bool = False) -> None:
        """Add a subscriber that takes data, or does not."""
        if not paused:
            self.ready[subscriber] = subscriber.descriptor
            return
        if not self.paused:
            for channel in self.channels:
                channel.behind[self] = None
        self.paused[subscriber] = None

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a subscriber; nothing happens if it is no member."""
        if self.ready.pop(subscriber, None) is not None:
            return
        if subscriber not in self.paused:
            return
        del self.paused[subscriber]
        if not self.paused:
            for channel in self.channels:
                channel.behind.pop(self, None)

    def still_unloaded(self) -> Sequence[Channel]:
        """Return its contracts whose last states are not read yet: most often none.

        So a subscriber that joins or leaves costs the same for one contract and for a thousand.
        """
        if self.unloaded:
            self.unloaded = tuple(channel for channel in self.unloaded if not channel.loaded)
        return self.unloaded

    # The contracts of a live selection

    def extend(self, channels: Mapping[Channel, ContractRef], number: int) -> None:
        """Add contracts for all subscribers.

        Args:
            channels: the contracts, and how messages name them.
            number: of the newest state; all later subscribers join with it or a larger one.
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
        gone = set(channels)
        for channel in gone:
            channel.remove(self, self.channels.pop(channel).envelope)
            if self.announced is not None:
                self.announced.pop(channel, None)
        self.unloaded = tuple(channel for channel in self.unloaded if channel not in gone)
        for subscriber in self.members:
            subscriber.forget(gone)

    def rename(self, channel: Channel, ref: ContractRef) -> None:
        """Name a contract in another way in all later messages."""
        channel.remove(self, self.channels[channel].envelope)
        self.channels[channel] = ref
        channel.add(self, ref.envelope)
        if self.paused:
            channel.behind[self] = None

    def close(self) -> None:
        """Remove the group without subscribers from its channels."""
        for channel, ref in self.channels.items():
            channel.remove(self, ref.envelope)
