"""Upstream: keeps the hub supplied with what its clients want, and with nothing else.

It subscribes to a contract's channel when the first client wants it, reads its last state, and
unsubscribes when the last client leaves. After any break of the connection it reads the last
states again, so that nothing is missed. It knows the store by two narrow interfaces.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from ime_live.errors import IncompleteError, PayloadError, StoreError
from ime_live.gateway.hub import Hub
from ime_live.market import Update, read_publication

log = structlog.get_logger()

# One line a minute for a contract whose publisher sends what cannot be read.
_COMPLAINT_INTERVAL: Final = 60.0

_RETRY_DELAY: Final = 0.5  # seconds

# A store that hangs does not keep clients from being accepted; what they miss follows.
_ARRIVAL_TIMEOUT: Final = 2.0  # seconds


class Channels(Protocol):
    """The contracts' channels, as the upstream needs them."""

    @property
    def connected(self) -> bool:
        """Whether the store is reached and all that was asked for is subscribed."""

    def subscribe(self, ids: Sequence[str], /) -> Awaitable[bool]:
        """Subscribe; resolves when the server has confirmed, False if it is away."""

    def unsubscribe(self, ids: Sequence[str], /) -> None:
        """Unsubscribe."""


class LastStates(Protocol):
    """The last states, as the upstream needs them."""

    async def last(self, ids: Sequence[str], /) -> Mapping[str, Update]:
        """The last state of each contract that has one; raises StoreError or IncompleteError."""


class Upstream:
    """See the module's text."""

    def __init__(
        self,
        hub: Hub,
        channels: Channels,
        states: LastStates,
        *,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        malformed: Callable[[], None],
        received: Callable[[], None],
    ) -> None:
        """Make an upstream for a hub without clients.

        Args:
            hub: gets the updates.
            channels: where they come from.
            states: where the last states are kept.
            clock: microseconds since the epoch.
            monotonic: seconds, for the pace of complaints.
            malformed: called for each message that is dropped because it cannot be read.
            received: called for each message.
        """
        self._hub = hub
        self._channels = channels
        self._states = states
        self._clock = clock
        self._monotonic = monotonic
        self._malformed = malformed
        self._received = received
        self._wanted: Counter[str] = Counter()
        self._arriving: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        """All arrivals under way, also of contracts that nobody wants any more."""
        self._reading: asyncio.Task[None] | None = None
        self._outdated = False
        """Whether something may have been missed since the last states were last read."""
        self._complaints: dict[str, float] = {}
        self._unreadable: dict[str, int] = {}
        """Versions in the store that were read again in vain, by contract."""

    @property
    def contracts(self) -> int:
        """How many contracts somebody wants."""
        return len(self._wanted)

    async def acquire(self, ids: Iterable[str]) -> None:
        """Want these contracts; each call is undone by one `release`.

        Returns when their channels are subscribed and their last states known, so that the
        caller misses nothing from then on; sooner if the store is away or hangs.
        """
        ids = list(ids)
        self._wanted.update(ids)
        new = [i for i in ids if self._wanted[i] == 1]
        if new:
            for contract_id in new:
                self._hub.open(contract_id)
            task = asyncio.create_task(self._arrive(new))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            for contract_id in new:
                self._arriving[contract_id] = task
        arriving = {self._arriving[i] for i in ids if i in self._arriving}
        if arriving:
            await asyncio.wait(arriving, timeout=_ARRIVAL_TIMEOUT)

    def release(self, ids: Iterable[str]) -> None:
        """Want them no more."""
        gone = []
        for contract_id in ids:
            self._wanted[contract_id] -= 1
            if not self._wanted[contract_id]:
                del self._wanted[contract_id]
                self._arriving.pop(contract_id, None)
                self._complaints.pop(contract_id, None)
                self._unreadable.pop(contract_id, None)
                self._hub.close(contract_id)
                gone.append(contract_id)
        if gone:
            self._channels.unsubscribe(gone)

    async def _arrive(self, ids: Sequence[str]) -> None:
        task = asyncio.current_task()
        try:
            # When the store is away the states follow in `on_connected`.
            if await self._channels.subscribe(ids):
                await self._read_states(ids)
        except StoreError as error:
            log.warning("last states cannot be read", contracts=len(ids), error=str(error))
            self._read_all_again()
        finally:
            for contract_id in ids:
                if self._arriving.get(contract_id) is task:
                    del self._arriving[contract_id]

    async def _read_states(self, ids: Sequence[str]) -> None:
        try:
            states = await self._states.last(ids)
        except IncompleteError as error:
            # What is known need not wait for a part of the cluster that is away.
            self._load([i for i in ids if i not in error.left], error.found)
            raise
        self._load(ids, states)

    def _load(self, ids: Iterable[str], states: Mapping[str, Update]) -> None:
        # Oldest first, so that clients get what they missed in the order in which it happened.
        for contract_id in sorted(ids, key=lambda i: states[i].version if i in states else 0):
            self._hub.load(contract_id, states.get(contract_id))

    async def renew(self, versions: Mapping[str, int]) -> Collection[str]:
        """Read the states again of contracts that the store has a newer version of.

        A message that is just on its way does no harm: it is dropped when it comes.

        Args:
            versions: those in the store, by contract id.

        Returns:
            Contracts that are behind all the same, since their state cannot be read.

        Raises:
            StoreError: the states cannot be read.
        """
        behind = [i for i, version in versions.items() if self._is_behind(i, version)]
        again = [i for i in behind if self._unreadable.get(i) != versions[i]]
        if again:
            await self._read_states(again)
        left = {i for i in behind if self._is_behind(i, versions[i])}
        self._unreadable.update((i, versions[i]) for i in left)
        return left

    def _is_behind(self, contract_id: str, version: int) -> bool:
        newest = self._hub.newest(contract_id)
        return newest is not None and newest < version

    def on_message(self, contract_id: str, raw: bytes) -> None:
        """A message has come on a contract's channel."""
        self._received()
        try:
            version, payload = read_publication(raw, self._clock())
        except PayloadError as error:
            self._malformed()
            self._complain(contract_id, str(error))
            return
        self._hub.publish(contract_id, version, payload)

    def _complain(self, contract_id: str, reason: str) -> None:
        now = self._monotonic()
        if now >= self._complaints.get(contract_id, now):
            self._complaints[contract_id] = now + _COMPLAINT_INTERVAL
            log.warning("malformed message dropped", contract_id=contract_id, reason=reason)

    def on_connected(self) -> None:
        """The store is reached (again) and every wanted channel subscribed."""
        self._read_all_again()

    def _read_all_again(self) -> None:
        # Also while they are being read: what is being read may be what was before.
        self._outdated = True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_until_done())

    async def _read_until_done(self) -> None:
        while self._outdated and self._wanted and self._channels.connected:
            self._outdated = False
            try:
                await self._read_states(list(self._wanted))
            except StoreError as error:
                self._outdated = True
                log.warning("last states cannot be read", error=str(error))
                await asyncio.sleep(_RETRY_DELAY)

    async def aclose(self) -> None:
        """End what is still under way."""
        tasks = {*self._tasks, *([self._reading] if self._reading else [])}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
