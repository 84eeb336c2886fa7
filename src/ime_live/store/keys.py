"""Names of all keys and channels in Redis."""

from __future__ import annotations

from datetime import date

from msgspec import Struct


class Keys(Struct, frozen=True):
    """Names of all keys and channels; each begins with `prefix`."""

    prefix: str

    @property
    def contracts(self) -> str:
        """Hash of all contracts, and channel with the ids of changed contracts."""
        return f"{self.prefix}contracts"

    @property
    def contracts_fence(self) -> str:
        """Hash with the fencing token of the feed that changes the contracts."""
        # The braces are a hash tag: in a cluster, this key has the slot of the contracts.
        return f"{self.prefix}fence:{{{self.contracts}}}"

    @property
    def revoked(self) -> str:
        """Hash of the revocations, and channel that announces changes."""
        return f"{self.prefix}revoked"

    @property
    def feed(self) -> str:
        """Lease of the leading feed; see `ime_live.store.lease`."""
        return f"{self.prefix}feed"

    @property
    def status(self) -> str:
        """Status of the leading feed, as JSON of `ime_live.status.FeedStatus`."""
        return f"{self.prefix}status"

    @property
    def bars_lease(self) -> str:
        """Lease of the bar aggregator."""
        return f"{self.prefix}bars"

    @property
    def bars_status(self) -> str:
        """Status of the bar aggregator, as JSON of `ime_live.status.FeedStatus`."""
        return f"{self.prefix}bars:status"

    def bars(self, contract_id: str, day: date) -> str:
        """Bars of a contract on a trading day; see `ime_live.store.bar`."""
        return f"{self.prefix}bars:{{{contract_id}}}:{day.isoformat()}"

    def last(self, contract_id: str) -> str:
        """Hash with the last state of a contract."""
        # The braces are a hash tag: in a cluster, key and channel have the same slot.
        return f"{self.prefix}last:{{{contract_id}}}"

    def live(self, contract_id: str) -> str:
        """Channel of the updates of a contract."""
        return f"{self.prefix}live:{{{contract_id}}}"
