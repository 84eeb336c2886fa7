"""Read last states of contracts, one round trip to Redis for all callers at a time.

A caller that comes while Redis is asked waits for the next round, which begins after that. So a
state that was published before the call is never missed. If Redis does not return some contracts,
only the callers that asked for these fail. Nothing is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import IncompleteError, PayloadError, StoreError
from ime_live.gateway.upstream.sections import Sections, read_sections
from ime_live.log_limiter import LogLimiter

if TYPE_CHECKING:
    from ime_live.store.records import LastState

log = structlog.get_logger()

TIME_LIMIT: Final = 1.0
"""Seconds to wait for Redis: a client that waits 1.5 s for its response must get one."""

_AWAY: Final = "last states cannot be read"
_UNREADABLE: Final = "last state cannot be read"

Found = Mapping[str, Sections | PayloadError]
"""Contract id → sections of the last state, or an error if it cannot be read."""


class StoredStates(Protocol):
    """Reads last states from the store."""

    async def states(self, ids: Iterable[str], /) -> Mapping[str, LastState | PayloadError]:
        """Return the state of each contract that has one; raises StoreError, IncompleteError."""


class _Batch:
    """Contracts that are read together, and the callers that wait for them."""

    timer: asyncio.TimerHandle

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self.waiting: list[tuple[Collection[str], asyncio.Future[Found]]] = []

    def resolve(self, found: Found) -> None:
        self.timer.cancel()
        for _, future in self.waiting:
            if not future.done():
                future.set_result(found)

    def fail(self, error: Exception, left: Collection[str] | None = None) -> None:
        """Raise an error in waiting callers; if ``left`` is given, in those that want these."""
        self.timer.cancel()
        for ids, future in self.waiting:
            if not future.done() and (left is None or any(i in left for i in ids)):
                future.set_exception(error)


class StateReader:
    """Coalesces reads of last states. Needs a running event loop when it is used."""

    def __init__(
        self,
        store: StoredStates,
        *,
        clock: Clock = SYSTEM_CLOCK,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        """Make a reader with nothing to read.

        Args:
            store: where last states are kept.
            clock: the machine's clock, which limits the rate of log lines.
            time_limit: seconds to wait for the store.
        """
        self._store = store
        self._time_limit = time_limit
        self._next: _Batch | None = None
        self._under_way: _Batch | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._limited = LogLimiter(log, clock=clock)

    async def read(self, ids: Collection[str]) -> Found:
        """Return the last states of those contracts that have one, perhaps with others.

        Raises:
            StoreError: Redis cannot be reached, does not answer in time, or does not return one of
                these contracts.
        """
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = _Batch()
            self._next.timer = loop.call_later(self._time_limit, self._give_up, self._next)
            if self._under_way is None:
                # Not at once: all callers in this turn of the loop share a batch.
                loop.call_soon(self._begin)
        self._next.ids.update(dict.fromkeys(ids))
        future: asyncio.Future[Found] = loop.create_future()
        self._next.waiting.append((ids, future))
        return await future

    async def aclose(self) -> None:
        """Cancel the reads under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        if self._next is None or self._under_way is not None:
            return
        self._under_way, self._next = self._next, None
        task = asyncio.create_task(self._run(self._under_way))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: _Batch) -> None:
        try:
            batch.resolve(self._checked(await self._store.states(batch.ids)))
            self._limited.forget(_AWAY)  # so that the next outage is logged at once
        except IncompleteError as error:
            self._note(error)
            batch.fail(error, error.left)
            batch.resolve(self._checked(error.found))
        except StoreError as error:
            self._note(error)
            batch.fail(error)
        except Exception as error:  # noqa: BLE001 - raised where each of those that wait is
            batch.fail(error)
        finally:
            self._end(batch)

    def _give_up(self, batch: _Batch) -> None:
        error = StoreError(f"Redis did not answer within {self._time_limit:g} s")
        self._note(error)
        batch.fail(error)
        if self._next is batch:
            self._next = None
        # A connection that hangs must not delay callers that come when Redis is back: the batch
        # under way ends with its timeout, and the next one does not wait for it.
        self._end(batch)

    def _end(self, batch: _Batch) -> None:
        if self._under_way is batch:
            self._under_way = None
            self._begin()

    def _checked(self, states: Mapping[str, LastState | PayloadError]) -> Found:
        found: dict[str, Sections | PayloadError] = {}
        for contract_id, state in states.items():
            try:
                if isinstance(state, PayloadError):
                    raise state
                found[contract_id] = read_sections(state.data)
            except PayloadError as error:
                found[contract_id] = error
                self._limited.warning(
                    _UNREADABLE,
                    key=(_UNREADABLE, error.kind),
                    contract_id=contract_id,
                    error=str(error),
                )
        return found

    def _note(self, error: StoreError) -> None:
        self._limited.warning(_AWAY, key=_AWAY, error=str(error))
