"""Keep a current copy of the revocations in the gateway.

The revocations are read when the process starts, when the store announces a change, after each
reconnection to the store, and every few seconds in case an announcement was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import StoreError
from ime_live.gateway.auth.revocations import Revocations
from ime_live.gateway.tasks import jittered, wait_for_event
from ime_live.log_limiter import LogLimiter
from ime_live.store.revocation import Revocation

log = structlog.get_logger()

INTERVAL: Final = 5.0
"""Maximum time between two readings [s]."""

_RETRY_DELAY: Final = 0.5  # seconds


class StoredRevocations(Protocol):
    """Reads and writes revocations."""

    async def read(self) -> Mapping[str, Revocation]:
        """Return all revocations by their keys; raises StoreError."""

    async def revoke(self, revocations: Sequence[Revocation], /) -> None:
        """Store revocations; raises StoreError."""


class RevocationCache:
    """Copies the stored revocations to `Revocations`, which `run` keeps current."""

    def __init__(
        self,
        store: StoredRevocations,
        revocations: Revocations,
        *,
        clock: Clock = SYSTEM_CLOCK,
        interval: float = INTERVAL,
    ) -> None:
        """Create an empty cache.

        Args:
            store: reads and stores revocations.
            revocations: the revocations of the gateway.
            clock: the machine's clock, by which revocations expire.
            interval: maximum time between two readings [s].
        """
        self._store = store
        self._revocations = revocations
        self._clock = clock
        self._interval = interval
        self._wake = asyncio.Event()
        self._limited = LogLimiter(log)

    def on_changed(self) -> None:
        """Read the revocations again, because they have changed or an announcement may be lost."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the revocations current, until cancelled."""
        while True:
            self._wake.clear()
            succeeded = await self._refresh()
            wait = jittered(self._interval if succeeded else _RETRY_DELAY)
            await wait_for_event(self._wake, wait)

    async def _refresh(self) -> bool:
        event = "revocations cannot be read"
        known = len(self._revocations)
        try:
            missing = self._revocations.merge(await self._store.read(), self._clock.time())
        except StoreError as error:
            # The present revocations are kept. Before the first reading, no token is accepted.
            self._limited.warning(event, key=event, error=str(error), known=known)
            return False
        self._limited.forget(event)
        if len(self._revocations) != known:
            log.info("revocations loaded", revocations=len(self._revocations))
        if missing:
            event = "the store has lost revocations; storing them again"
            self._limited.warning(event, key=event, revocations=len(missing))
            try:
                await self._store.revoke(missing)
            except StoreError as error:
                event = "revocations cannot be stored"
                self._limited.warning(event, key=event, error=str(error))
        return True
