"""Read last states of contracts, in one round trip to Redis for all concurrent callers.

A call during a round trip waits for the next one. So a state that was published before the call is
never missed. If Redis does not return some contracts, only the callers that requested these fail.
Nothing is cached.
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
"""Timeout for Redis [s]. REST clients must get a response within 1.5 s."""

_STATES_UNREADABLE: Final = "last states cannot be read"
_STATE_UNREADABLE: Final = "last state cannot be read"

SectionsById = Mapping[str, Sections | PayloadError]
"""Contract id → sections of the last state; an error for a state that cannot be read."""


class StoredStates(Protocol):
    """Reads last states from the store."""

    async def states(self, ids: Iterable[str], /) -> Mapping[str, LastState | PayloadError]:
        """Return the state of each contract that has one; raises StoreError, IncompleteError."""


class _Batch:
    """Contracts that are read together, and the callers that wait for them."""

    timer: asyncio.TimerHandle

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self.waiting: list[tuple[Collection[str], asyncio.Future[SectionsById]]] = []

    def resolve(self, sections: SectionsById) -> None:
        self.timer.cancel()
        for _, future in self.waiting:
            if not future.done():
                future.set_result(sections)

    def fail(self, error: Exception, missing: Collection[str] | None = None) -> None:
        """Raise an error in the callers that requested a missing contract; in all without any."""
        self.timer.cancel()
        for ids, future in self.waiting:
            if not future.done() and (missing is None or any(i in missing for i in ids)):
                future.set_exception(error)


class StateReader:
    """Coalesces concurrent reads of last states. Use it in a running event loop only."""

    def __init__(
        self,
        store: StoredStates,
        *,
        clock: Clock = SYSTEM_CLOCK,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        """Make a reader.

        Args:
            store: reads last states.
            clock: the machine's clock, which limits the rate of log lines.
            time_limit: timeout for the store [s].
        """
        self._store = store
        self._time_limit = time_limit
        self._next: _Batch | None = None
        self._running: _Batch | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._limited = LogLimiter(log, clock=clock)

    async def read(self, ids: Collection[str]) -> SectionsById:
        """Return the last states of contracts, perhaps with those of other contracts.

        A contract without a last state is left out.

        Raises:
            StoreError: Redis cannot be reached, does not answer in time, or does not return one of
                these contracts.
        """
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = _Batch()
            self._next.timer = loop.call_later(self._time_limit, self._give_up, self._next)
            if self._running is None:
                # Not at once, so that all callers in this turn of the event loop share a batch.
                loop.call_soon(self._begin)
        self._next.ids.update(dict.fromkeys(ids))
        future: asyncio.Future[SectionsById] = loop.create_future()
        self._next.waiting.append((ids, future))
        return await future

    async def aclose(self) -> None:
        """Cancel the reads under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        if self._next is None or self._running is not None:
            return
        self._running, self._next = self._next, None
        task = asyncio.create_task(self._run(self._running))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: _Batch) -> None:
        try:
            batch.resolve(self._read_states(await self._store.states(batch.ids)))
            self._limited.forget(_STATES_UNREADABLE)  # so that the next outage is logged at once
        except IncompleteError as error:
            self._log_failure(error)
            batch.fail(error, error.left)
            batch.resolve(self._read_states(error.found))
        except StoreError as error:
            self._log_failure(error)
            batch.fail(error)
        except Exception as error:  # noqa: BLE001 - raised in all waiting callers
            batch.fail(error)
        finally:
            self._end(batch)

    def _give_up(self, batch: _Batch) -> None:
        error = StoreError(f"Redis did not answer within {self._time_limit:g} s")
        self._log_failure(error)
        batch.fail(error)
        if self._next is batch:
            self._next = None
        # A connection that hangs must not delay later callers, so the next batch does not wait for
        # the running one, which ends by its own timeout.
        self._end(batch)

    def _end(self, batch: _Batch) -> None:
        if self._running is batch:
            self._running = None
            self._begin()

    def _read_states(self, states: Mapping[str, LastState | PayloadError]) -> SectionsById:
        sections: dict[str, Sections | PayloadError] = {}
        for contract_id, state in states.items():
            try:
                if isinstance(state, PayloadError):
                    raise state
                sections[contract_id] = read_sections(state.data)
            except PayloadError as error:
                sections[contract_id] = error
                self._limited.warning(
                    _STATE_UNREADABLE,
                    key=(_STATE_UNREADABLE, error.kind),
                    contract_id=contract_id,
                    error=str(error),
                )
        return sections

    def _log_failure(self, error: StoreError) -> None:
        self._limited.warning(_STATES_UNREADABLE, key=_STATES_UNREADABLE, error=str(error))
