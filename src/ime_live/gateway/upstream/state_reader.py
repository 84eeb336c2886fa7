"""StateReader: the last states of contracts, read for all that ask at a time in one round trip.

Contract ids come in, checked sections of their last states go out. Whoever asks while Redis is
being asked waits for the next round, which begins after that: so a state that was published
before somebody asked is never missed. Where Redis does not tell of a contract, that fails for those
who asked for it, and for nobody else. Nothing is kept. It knows the store by one narrow interface.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from ime_live.errors import IncompleteError, PayloadError, StoreError
from ime_live.gateway.upstream.sections import Sections, read_sections
from ime_live.log_limiter import LogLimiter

if TYPE_CHECKING:
    from ime_live.store.store import State

log = structlog.get_logger()

TIME_LIMIT: Final = 1.0
"""Seconds to wait for Redis: clients that wait 1.5 s for their answer are to get one."""

_AWAY: Final = "last states cannot be read"
_UNREADABLE: Final = "last state cannot be read"

Found = Mapping[str, Sections | PayloadError]
"""The sections of contracts' last states by their ids; an error for one that cannot be read."""


class StoredStates(Protocol):
    """Where last states are kept."""

    async def states(self, ids: Iterable[str], /) -> Mapping[str, State | PayloadError]:
        """The last state of each contract that has one; raises StoreError, IncompleteError."""


class _Round:
    """What is asked of Redis together, and who waits for it."""

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
        """Raise an error where they wait; if ``left`` is given, only for these contracts."""
        self.timer.cancel()
        for ids, future in self.waiting:
            if not future.done() and (left is None or any(i in left for i in ids)):
                future.set_exception(error)


class StateReader:
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
            monotonic: seconds, for the pace of log lines.
            time_limit: seconds to wait for the store.
        """
        self._store = store
        self._time_limit = time_limit
        self._next: _Round | None = None
        self._under_way: _Round | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._limited = LogLimiter(log, monotonic=monotonic)

    async def read(self, ids: Collection[str]) -> Found:
        """The last states of those of the contracts that have one; those of others may be there.

        Raises:
            StoreError: Redis cannot be reached, does not answer in time, or does not tell of one of
                these contracts.
        """
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = _Round()
            self._next.timer = loop.call_later(self._time_limit, self._give_up, self._next)
            if self._under_way is None:
                # Not at once: all that ask in this turn of the loop go together.
                loop.call_soon(self._begin)
        self._next.ids.update(dict.fromkeys(ids))
        future: asyncio.Future[Found] = loop.create_future()
        self._next.waiting.append((ids, future))
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
            self._limited.forget(_AWAY)  # so that the next outage is told at once
        except IncompleteError as error:
            self._note(error)
            round_.fail(error, error.left)
            round_.resolve(self._checked(error.found))
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

    def _checked(self, states: Mapping[str, State | PayloadError]) -> Found:
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
