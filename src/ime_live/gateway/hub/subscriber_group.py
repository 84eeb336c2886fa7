"""Groups of subscribers with the same selection and options; they get the same bytes.

A group tells its channels whether some of its subscribers are paused, so that an update looks only
at groups that miss it. Most groups of a market that everybody watches have thousands of members;
most of those who choose contracts for themselves have one, so a group keeps little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ime_live.gateway.hub.contract_ref import ContractRef
from ime_live.gateway.hub.delivery_options import DeliveryOptions

if TYPE_CHECKING:
    from ime_live.gateway.hub.channel import Channel
    from ime_live.gateway.hub.subscribers import Subscriber


class SubscriberGroup:
    """Some subscribers, those that take data and those that are paused."""

    __slots__ = ("channels", "format", "key", "options", "paused", "per_subscriber", "ready")

    def __init__(
        self, key: object, channels: Mapping[Channel, ContractRef], options: DeliveryOptions
    ) -> None:
        """Make a group without subscribers, and let its channels send to it.

        Args:
            key: by which the hub finds it.
            channels: its contracts, and how its subscribers named them.
            options: how they want their messages.
        """
        self.key = key
        self.channels = channels
        self.options = options
        self.format = options.format
        self.per_subscriber = options.per_subscriber
        self.ready: dict[Subscriber, int] = {}
        """Those that take data, each with the descriptor of its socket."""
        self.paused: dict[Subscriber, None] = {}
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
        if self.ready.pop(subscriber, None) is not None or subscriber not in self.paused:
            return
        del self.paused[subscriber]
        if not self.paused:
            for channel in self.channels:
                channel.behind.pop(self, None)

    def close(self) -> None:
        """Let the channels send nothing to it any more; it has no subscriber."""
        for channel, ref in self.channels.items():
            channel.remove(self, ref.envelope)
