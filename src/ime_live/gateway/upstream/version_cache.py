"""Cache the stored versions of contracts, so that each is read at most once a second.

This bounds the load on Redis, however many clients there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import StoreError

MAX_AGE: Final = 1.0
"""Time for which a version, or a failure to read one, is cached [s]."""


class StoredVersions(Protocol):
    """Reads versions from the store."""

    async def versions(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return the version of each contract that has one; raises StoreError."""


class VersionCache:
    """A short-lived cache of the stored versions."""

    def __init__(self, store: StoredVersions, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Start with an empty cache.

        Args:
            store: reads versions.
            clock: the machine's clock.
        """
        self._store = store
        self._monotonic = clock.monotonic
        self._cached: dict[str, tuple[float, int]] = {}
        """By contract id: when the version was read, and the version; 0 without a state."""
        self._failure: tuple[float, str] | None = None
        self._reading = asyncio.Lock()

    async def read(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the versions of the contracts that have one, at most `MAX_AGE` seconds old.

        Raises:
            StoreError: Redis does not answer, or did not answer within the last `MAX_AGE` seconds.
        """
        ids = list(ids)
        # A caller that waits here can use the versions that the caller before it has read.
        async with self._reading:
            now = self._monotonic()
            missing = [
                i for i in ids if i not in self._cached or self._cached[i][0] <= now - MAX_AGE
            ]
            if missing:
                await self._read(missing, now)
            return {i: version for i in ids if (version := self._cached[i][1])}

    async def _read(self, ids: Sequence[str], now: float) -> None:
        if self._failure is not None and self._failure[0] > now - MAX_AGE:
            raise StoreError(self._failure[1])
        try:
            versions = await self._store.versions(ids)
        except StoreError as error:
            self._failure = self._monotonic(), str(error)
            raise
        self._failure = None
        self._cached.update((i, (now, versions.get(i, 0))) for i in ids)
