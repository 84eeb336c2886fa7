"""Revocations in Redis or Valkey: one hash, and a channel that announces changes."""

from __future__ import annotations

from collections.abc import Sequence

from ime_live.errors import PayloadError, StoreError
from ime_live.store import scripts
from ime_live.store.commands import Commands
from ime_live.store.revocation import Revocation, read_revocation


class RevocationStore(Commands):
    """The stored revocations; use as ``async with RevocationStore(settings)``.

    All async methods raise `StoreError` when Redis cannot be reached or does not answer in time.
    """

    async def read(self) -> dict[str, Revocation]:
        """Return all revocations by key; those that cannot be read are left out and logged."""
        [reply] = await self._pipelined([("HGETALL", self.keys.revoked)])
        if isinstance(reply, Exception):
            raise self.connections.error(reply)
        if not isinstance(reply, dict):
            raise StoreError(f"Redis at {self.connections.place}: a reply that is no hash")
        revocations = {}
        for key, value in reply.items():
            try:
                revocation = read_revocation(key, value)
            except PayloadError as error:
                name = key.decode("utf-8", "replace")
                self._log_unreadable("revocation", name, error, error.kind)
            else:
                revocations[revocation.key] = revocation
        return revocations

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Store revocations, and announce this to all gateways.

        If a revocation is stored already, the later times are kept. Revocations that are over are
        removed.
        """
        words = [
            word for each in revocations for word in (each.key, str(each.moment), str(each.expires))
        ]
        [reply] = await self._run(scripts.REVOKE, [(self.keys.revoked, *words)])
        if isinstance(reply, StoreError):
            raise reply
