"""Upstream: supply the state table with exactly the contracts that clients want.

When the first client wants a contract, the upstream subscribes to its channel and reads its last
state. When the last client has left, it unsubscribes. It compares each contract with the store
every few seconds, because a message may be lost, and the store may lose data. After each
reconnection it compares all contracts at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import (
    CloseCode,
    IncompleteError,
    PayloadError,
    RefusedError,
    StoreError,
)
from ime_live.gateway.hub.state_table import StateTable
from ime_live.gateway.tasks import wait_for_event
from ime_live.log_limiter import LogLimiter
from ime_live.market import MICROSECONDS
from ime_live.market_json import read_publication

log = structlog.get_logger()

# All contracts are compared within a sweep, a part of them in each tick [s]. To compare 1,000 takes
# 22 ms of CPU here and 3 ms in Redis, so a tenth of them takes about 2 ms per tick.
_TICK: Final = 0.5
_SWEEP: Final = 5.0

# Seconds. A store that hangs must not prevent new streams; they get the states later.
_ARRIVAL_TIMEOUT: Final = 2.0

# Number of contracts whose stale messages are limited separately in the log.
_STALE_CONTRACTS: Final = 100

# A version that is smaller than the present time by this factor has another unit.
_OTHER_UNIT: Final = 500

_UNREADABLE: Final = "last states cannot be read"


class Channels(Protocol):
    """Subscribes to the contracts' channels."""

    @property
    def connected(self) -> bool:
        """Whether the store is connected and all channels are subscribed."""

    @property
    def refusal(self) -> str | None:
        """The store's error if it refuses to subscribe at all."""

    @property
    def refused(self) -> Mapping[str, str]:
        """The store's errors by contract whose channel it refuses."""

    def subscribe(self, ids: Sequence[str], /) -> Awaitable[bool]:
        """Subscribe; the result is True after the confirmation, False if there will be none."""

    def unsubscribe(self, ids: Sequence[str], /) -> None:
        """Unsubscribe from the channels of contracts."""


class Comparisons(Protocol):
    """Compares states with the store."""

    async def compare(self, ids: Iterable[str], /) -> None:
        """Compare contracts with the store, and make their states equal where possible.

        Raises StoreError or IncompleteError.
        """

    def doubt(self, contract_id: str, /) -> None:
        """Note that the states of a contract may no longer be equal."""

    def forget(self, contract_id: str, /) -> None:
        """Drop the results for a contract that is closed."""


class Upstream:
    """Subscribes, reads and compares the contracts that clients have acquired."""

    def __init__(
        self,
        states: StateTable,
        channels: Channels,
        comparisons: Comparisons,
        *,
        clock: Clock = SYSTEM_CLOCK,
        on_malformed: Callable[[], None],
        on_received: Callable[[], None],
    ) -> None:
        """Make an upstream without contracts.

        Args:
            states: the state table, which gets the updates.
            channels: subscribes to the channels of contracts.
            comparisons: compares with the last states in the store.
            clock: the machine's clock.
            on_malformed: called for each message that is dropped because it cannot be read.
            on_received: called for each message.
        """
        self._states = states
        self._channels = channels
        self._comparisons = comparisons
        self._clock = clock
        self._on_malformed = on_malformed
        self._on_received = on_received
        self._limited = LogLimiter(log, clock=clock)
        self._stale = LogLimiter(log, max_keys=_STALE_CONTRACTS, clock=clock)
        self._wanted: Counter[str] = Counter()
        """Number of uses per contract id."""
        self._arriving: dict[str, asyncio.Task[None]] = {}
        """Arrivals under way, by contract id."""
        self._tasks: set[asyncio.Task[None]] = set()
        """All arrivals under way, including those of contracts that are released."""
        self._due: set[str] = set()
        """Ids of contracts to be compared at the next tick."""
        self._sweep: list[str] = []
        """Ids of contracts that are still to be compared in the present sweep."""
        self._wake = asyncio.Event()

    @property
    def contracts(self) -> int:
        """Number of contracts that clients want."""
        return len(self._wanted)

    async def run(self) -> None:
        """Compare all contracts with the store, in turn and when due, until cancelled."""
        while True:
            if not await wait_for_event(self._wake, _TICK):
                self._due.update(self._next_of_sweep())
            self._wake.clear()
            if self._channels.connected:
                await self._compare_due()

    def _next_of_sweep(self) -> Iterable[str]:
        if not self._sweep:
            self._sweep = list(self._wanted)
        count = max(1, round(len(self._wanted) * _TICK / _SWEEP))
        self._sweep, batch = self._sweep[count:], self._sweep[:count]
        return batch

    async def _compare_due(self) -> None:
        due, self._due = [i for i in self._due if i in self._wanted], set()
        if not due:
            return
        try:
            await self._comparisons.compare(due)
        except IncompleteError as error:
            self._postpone(error.left, error)
        except StoreError as error:
            self._postpone(due, error)
        else:
            self._limited.forget(_UNREADABLE)

    def _postpone(self, ids: Iterable[str], error: StoreError) -> None:
        self._due.update(ids)
        self._limited.warning(_UNREADABLE, key=_UNREADABLE, error=str(error))

    async def acquire(self, ids: Iterable[str]) -> None:
        """Acquire contracts; each call must be undone by one `release`.

        This returns when the channels are subscribed and the last states are loaded, so that the
        caller gets every later update. It returns earlier if the store cannot be reached or hangs.
        """
        await self.wait_for_arrivals(self.start_acquire(ids))

    def start_acquire(self, ids: Iterable[str]) -> set[asyncio.Task[None]]:
        """Begin to acquire contracts; each call must be undone by one `release`.

        Returns:
            Tasks of the arrivals that are under way, for `wait_for_arrivals`.
        """
        ids = list(ids)
        self._wanted.update(ids)
        new = [i for i in ids if self._wanted[i] == 1]
        if new:
            for contract_id in new:
                self._states.open(contract_id)
            task = asyncio.create_task(self._arrive(new))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            for contract_id in new:
                self._arriving[contract_id] = task
        return {self._arriving[i] for i in ids if i in self._arriving}

    async def wait_for_arrivals(self, arrivals: Collection[asyncio.Task[None]]) -> None:
        """Wait for the tasks that `start_acquire` has returned, like `acquire`."""
        if arrivals:
            await asyncio.wait(arrivals, timeout=_ARRIVAL_TIMEOUT)

    def check_channels(self, ids: Collection[str]) -> None:
        """Check that at least one of these contracts can be streamed.

        Raises:
            RefusedError: 1013; the store refuses the channels of all of them.
        """
        refused = self._channels.refused
        # A contract whose channel is refused does not keep others from being streamed.
        none_of_them = bool(refused) and bool(ids) and all(each in refused for each in ids)
        if none_of_them or self._channels.refusal is not None:
            # The reason is left out: clients read this, and it names the store's user.
            raise RefusedError("market data cannot be streamed now", code=CloseCode.TRY_AGAIN_LATER)

    def release(self, ids: Iterable[str]) -> None:
        """Undo one `acquire` of contracts."""
        unwanted = []
        for contract_id in ids:
            self._wanted[contract_id] -= 1
            if not self._wanted[contract_id]:
                del self._wanted[contract_id]
                self._arriving.pop(contract_id, None)
                self._comparisons.forget(contract_id)
                self._states.close(contract_id)
                unwanted.append(contract_id)
        if unwanted:
            self._channels.unsubscribe(unwanted)

    async def _arrive(self, ids: Sequence[str]) -> None:
        task = asyncio.current_task()
        try:
            # During an outage of the store nothing is read; `on_connected` does it afterwards.
            if await self._channels.subscribe(ids):
                await self._comparisons.compare(ids)
        except StoreError as error:
            self._postpone(ids, error)
        finally:
            for contract_id in ids:
                if self._arriving.get(contract_id) is task:
                    del self._arriving[contract_id]

    def on_message(self, contract_id: str, message: bytes) -> None:
        """Decode a message on a contract's channel, and pass it to the state table."""
        self._on_received()
        try:
            version, payload = read_publication(message, self._clock.time_us())
        except PayloadError as error:
            self._on_malformed()
            self._limited.warning(
                "malformed message dropped",
                key=("malformed", error.kind),
                contract_id=contract_id,
                reason=str(error),
            )
            return
        newest = self._states.publish(contract_id, version, payload)
        if newest and version is not None:
            self._note_stale(contract_id, version, newest)

    def _note_stale(self, contract_id: str, version: int, newest: int) -> None:
        self._comparisons.doubt(contract_id)
        self._due.add(contract_id)
        fields: dict[str, object] = {"version": version, "newest": newest}
        now = self._clock.time_us()
        if version * _OTHER_UNIT < now:
            fields["hint"] = f"is {version} not microseconds?"
        elif (ahead := newest - now) > MICROSECONDS:
            fields["hint"] = f"the newest is {ahead // MICROSECONDS} s ahead of this clock"
        self._stale.warning(
            "stale message dropped", key=contract_id, contract_id=contract_id, **fields
        )

    def on_connected(self) -> None:
        """Compare all contracts soon, because the store is connected again."""
        self._due.update(self._wanted)
        self._wake.set()

    async def aclose(self) -> None:
        """Cancel the arrivals under way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
