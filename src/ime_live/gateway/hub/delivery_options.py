"""Delivery options of a subscriber: format, sections and rate of its messages.

Clients with equal options and the same selection get the same bytes, which are encoded once.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ime_live.gateway.hub.frames import Format


class DeliveryOptions(Struct, frozen=True):
    """How a client wants its messages; the defaults are the documented behaviour of the service.

    Attributes:
        format: format of the messages.
        sections: names of the sections of the payload in each message; empty for all sections.
        interval: minimum time between two messages of a contract [s]; 0 sets no limit.
        skips: whether each message contains the number of states left out before it.
    """

    format: Format = Format.TEXT
    sections: tuple[str, ...] = ()
    interval: float = 0.0
    skips: bool = False

    @property
    def per_subscriber(self) -> bool:
        """Whether a client's messages depend on its earlier messages, even if it is not slow."""
        return self.skips or self.interval > 0


DEFAULTS: Final = DeliveryOptions()
"""The options of a request without parameters for them."""
