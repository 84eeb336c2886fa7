"""Versions: which version each contract has in the store, asked for at most once a second.

Contract ids come in, versions go out. So neither clients that come all at once nor requests
without end put more load on Redis than one reading of each contract a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from ime_live.errors import StoreError

MAX_AGE: Final = 1.0
"""Seconds that what was read, or that it could not be read, is good for."""


class StoredVersions(Protocol):
    """Where versions are kept."""

    async def versions(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """The version of each contract that has one; raises StoreError."""


class Versions:
    """See the module's text."""

    def __init__(self, store: StoredVersions, *, monotonic: Callable[[], float]) -> None:
        """Know no version yet.

        Args:
            store: where they are kept.
            monotonic: seconds.
        """
        self._store = store
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, int]] = {}
        """By contract: when it was read, and its version, 0 if it has none."""
        self._failure: tuple[float, str] | None = None
        self._reading = asyncio.Lock()

    async def read(self, ids: Iterable[str]) -> dict[str, int]:
        """The versions of those of the contracts that have one, `MAX_AGE` seconds old at most.

        Raises:
            StoreError: Redis does not tell, or did not less than `MAX_AGE` seconds ago.
        """
        ids = list(ids)
        # Who comes while others are being read finds most of what it needs afterwards.
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
