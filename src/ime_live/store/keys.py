"""Keys: the names of all keys and channels in Redis."""

from __future__ import annotations

from msgspec import Struct


class Keys(Struct, frozen=True):
    """The names of all keys and channels: `prefix` and what the architecture lays down."""

    prefix: str

    @property
    def contracts(self) -> str:
        """The hash of all contracts, and the channel that names those that changed."""
        return f"{self.prefix}contracts"

    @property
    def contracts_fence(self) -> str:
        """The hash with the fencing token of the feed that changes the contracts."""
        # The braces are a hash tag: on a cluster it lies where the contracts do.
        return f"{self.prefix}fence:{{{self.contracts}}}"

    @property
    def feed(self) -> str:
        """The lease of the feed that leads, see `ime_live.store.lease`."""
        return f"{self.prefix}feed"

    @property
    def status(self) -> str:
        """What that feed says of itself, JSON of `ime_live.status.FeedStatus`."""
        return f"{self.prefix}status"

    def last(self, contract_id: str) -> str:
        """The hash with a contract's last state."""
        # The braces are a hash tag: on a cluster, key and channel live in one slot.
        return f"{self.prefix}last:{{{contract_id}}}"

    def live(self, contract_id: str) -> str:
        """The channel with a contract's updates."""
        return f"{self.prefix}live:{{{contract_id}}}"
