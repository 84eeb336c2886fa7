"""Snapshots: the last states of contracts, read for all that ask at a time in one round trip.

Contract ids come in, checked sections of their last states go out. Whoever asks while Redis is
being asked waits for the next round, which begins after that: so a state that was published
before somebody asked is never missed. Nothing is kept. It knows the store by one narrow interface.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from ime_live.errors import PayloadError, StoreError
from ime_live.gateway.answers import Sections, read_sections

if TYPE_CHECKING:
    from ime_live.store import State

log = structlog.get_logger()

TIME_LIMIT: Final = 1.0
"""Seconds to wait for Redis: clients that wait 1.5 s for their answer are to get one."""

# One line a minute for a contract whose last state cannot be read.
_COMPLAINT_INTERVAL: Final = 60.0


class StoredStates(Protocol):
    """Where last states are kept."""

    async def states(self, ids: Iterable[str], /) -> Mapping[str, State | PayloadError]:
        """The last state of each contract that has one; raises StoreError."""


class _Round:
    """What is asked of Redis together, and who waits for it."""

    timer: asyncio.TimerHandle

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self.waiting: list[asyncio.Future[Mapping[str, Sections]]] = []

    def resolve(self, found: Mapping[str, Sections]) -> None:
        self.timer.cancel()
        for future in self.waiting:
            if not future.done():
                future.set_result(found)

    def fail(self, error: Exception) -> None:
        self.timer.cancel()
        for future in self.waiting:
            if not future.done():
                future.set_exception(error)


class Snapshots:
    """See the module's text."""

    def __init__(
        self,
        store: StoredStates,
        *,
        monotonic: Callable[[], float],
        time_limit: float = TIME_LIMIT,
    ) -> None:
        """Make it; needs a running event loop when it is used.

        Args:
            store: where last states are kept.
            monotonic: seconds, for the pace of complaints.
            time_limit: seconds to wait for the store.
        """
        self._store = store
        self._monotonic = monotonic
        self._time_limit = time_limit
        self._next: _Round | None = None
        self._under_way: _Round | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failing = False
        self._complaints: dict[str, float] = {}

    async def read(self, ids: Iterable[str]) -> Mapping[str, Sections]:
        """The last states of those of the contracts that have one; those of others may be there.

        Raises:
            StoreError: Redis cannot be reached, or does not answer in time.
        """
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = _Round()
            self._next.timer = loop.call_later(self._time_limit, self._give_up, self._next)
            if self._under_way is None:
                # Not at once: all that ask in this turn of the loop go together.
                loop.call_soon(self._begin)
        self._next.ids.update(dict.fromkeys(ids))
        future: asyncio.Future[Mapping[str, Sections]] = loop.create_future()
        self._next.waiting.append(future)
        return await future

    async def aclose(self) -> None:
        """End what is under way."""
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

    async def _run(self, round_: _Round) -> None:
        try:
            round_.resolve(self._checked(await self._store.states(round_.ids)))
            self._failing = False
        except StoreError as error:
            self._note(error)
            round_.fail(error)
        except Exception as error:  # noqa: BLE001 - raised where each of those that wait is
            round_.fail(error)
        finally:
            self._end(round_)

    def _give_up(self, round_: _Round) -> None:
        error = StoreError(f"Redis did not answer within {self._time_limit:g} s")
        self._note(error)
        round_.fail(error)
        if self._next is round_:
            self._next = None
        # A connection that hangs must not hold up those who come when Redis is back: what is
        # under way ends by itself, and the next round does not wait for it.
        self._end(round_)

    def _end(self, round_: _Round) -> None:
        if self._under_way is round_:
            self._under_way = None
            self._begin()

    def _checked(self, states: Mapping[str, State | PayloadError]) -> dict[str, Sections]:
        found = {}
        for contract_id, state in states.items():
            try:
                if isinstance(state, PayloadError):
                    raise state
                found[contract_id] = read_sections(state.data)
            except PayloadError as error:
                self._complain(contract_id, error)
        return found

    def _complain(self, contract_id: str, error: PayloadError) -> None:
        now = self._monotonic()
        if now - self._complaints.get(contract_id, -_COMPLAINT_INTERVAL) >= _COMPLAINT_INTERVAL:
            self._complaints[contract_id] = now
            log.warning("last state cannot be read", contract_id=contract_id, error=str(error))

    def _note(self, error: StoreError) -> None:
        if not self._failing:  # once an outage, not once a request
            log.warning("last states cannot be read", error=str(error))
        self._failing = True
