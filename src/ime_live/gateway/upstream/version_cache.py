"""Read the stored versions of contracts, each at most once a second.

Neither many clients at once nor endless requests put more load on Redis than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import StoreError

MAX_AGE: Final = 1.0
"""How long a version, or a failure to read one, is kept [s]."""


class StoredVersions(Protocol):
    """Reads versions from the store."""

    async def versions(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return the version of each contract that has one; raises StoreError."""


class VersionCache:
    """A short-lived cache of the stored versions."""

    def __init__(self, store: StoredVersions, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Start with an empty cache.

        Args:
            store: where the versions are kept.
            clock: the machine's clock.
        """
        self._store = store
        self._monotonic = clock.monotonic
        self._known: dict[str, tuple[float, int]] = {}
        """By contract: when it was read, and its version; 0 if it has none."""
        self._failure: tuple[float, str] | None = None
        self._reading = asyncio.Lock()

    async def read(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the versions of those contracts that have one, at most `MAX_AGE` seconds old.

        Raises:
            StoreError: Redis does not answer, or did not less than `MAX_AGE` seconds ago.
        """
        ids = list(ids)
        # A caller that waits here finds most of what it needs in the cache afterwards.
        async with self._reading:
            now = self._monotonic()
            missing = [i for i in ids if i not in self._known or self._known[i][0] <= now - MAX_AGE]
            if missing:
                await self._read(missing, now)
            return {i: version for i in ids if (version := self._known[i][1])}

    async def _read(self, ids: Sequence[str], now: float) -> None:
        if self._failure is not None and self._failure[0] > now - MAX_AGE:
            raise StoreError(self._failure[1])
        try:
            found = await self._store.versions(ids)
        except StoreError as error:
            self._failure = self._monotonic(), str(error)
            raise
        self._failure = None
        self._known.update((i, (now, found.get(i, 0))) for i in ids)
