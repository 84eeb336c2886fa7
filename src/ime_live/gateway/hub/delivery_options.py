"""DeliveryOptions: how a client wants its messages, whatever the contracts.

Clients of one mode and one selection get the same bytes, made once.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ime_live.gateway.hub.frames import Format


class DeliveryOptions(Struct, frozen=True):
    """How a client wants its messages; by default, as documented for the service.

    Attributes:
        wrapping: in what they are wrapped.
        sections: names of the payload's sections that they hold; all of them if empty.
        interval: seconds that lie between two messages of a contract, at least.
        skips: whether they tell how many states were left out before them.
    """

    wrapping: Format = Format.TEXT
    sections: tuple[str, ...] = ()
    interval: float = 0.0
    skips: bool = False

    @property
    def individual(self) -> bool:
        """Whether what a client gets depends on what it got before, even if it is not slow."""
        return self.skips or self.interval > 0


DEFAULTS: Final = DeliveryOptions()
"""Those of a client that asks for nothing."""
