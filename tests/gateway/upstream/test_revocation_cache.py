"""Revocations that are read again, and a store that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ime_live.errors import StoreError
from ime_live.gateway.auth.revocations import Revocations
from ime_live.gateway.upstream.revocation_cache import RevocationCache
from ime_live.store.revocation import Revocation, RevokedBy


class GivenStore:
    """A store whose data a test changes."""

    def __init__(self) -> None:
        self.data: dict[str, Revocation] = {}
        self.error: StoreError | None = None
        self.reads = asyncio.Event()

    async def read(self) -> Mapping[str, Revocation]:
        self.reads.set()
        if self.error is not None:
            raise self.error
        return dict(self.data)

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        self.data |= {each.key: each for each in revocations}


async def test_lost_revocation_is_stored_again_and_an_outage_keeps_all() -> None:
    store, revocations = GivenStore(), Revocations()
    store.error = StoreError("away")
    cache = RevocationCache(store, revocations, interval=1000)
    running = asyncio.create_task(cache.run())
    await store.reads.wait()
    assert not revocations.loaded

    async def read() -> None:
        store.reads.clear()
        cache.on_changed()
        await store.reads.wait()
        await asyncio.sleep(0)

    alice = Revocation(RevokedBy.SUBJECT, "alice", 1)
    store.error, store.data = None, {alice.key: alice}
    await read()
    assert (revocations.loaded, len(revocations)) == (True, 1)
    store.error = StoreError("away")
    await read()
    assert (revocations.loaded, len(revocations)) == (True, 1)
    store.error, store.data = None, {}
    await read()
    assert store.data == {alice.key: alice}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
