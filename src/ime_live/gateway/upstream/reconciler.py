"""Compare the gateway's states with those in the store, and make them equal.

A contract is current only if both states have the same version and data.

- If the stored state is newer, its message was lost or is in flight. The gateway waits until the
  messages that were published before have arrived. It takes the stored state if that is still
  newer. So a fast client misses no state of an active contract.
- If the stored state is older, or differs at the same version, the store has lost data, or
  publishers have written different states. If a publisher has confirmed the stored state after the
  gateway got its own, the stored state is valid. It is then lifted: published again with a version
  above the gateway's, so that all gateways and their clients take it.
- Without such a confirmation the contract is not current. So a state that was published without
  being stored is never replaced.

A client may join with a later timestamp than both states have. Either it is the timestamp of
another contract, or the store has lost a state that was sent to the client. The store has lost
nothing if the state was confirmed since the store began its present history. If it was not, the
contract is not current for this client until a publisher confirms the state and it is sent again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog
from msgspec import Struct

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import IncompleteError, PayloadError, StoreError
from ime_live.gateway.hub.channel import Present
from ime_live.gateway.hub.state_table import StateTable
from ime_live.log_limiter import LogLimiter
from ime_live.market import MICROSECONDS, Update
from ime_live.store.records import LastState, Lift, Lifted

log = structlog.get_logger()

MAX_AGE: Final = 1.0
"""Time for which the result of a comparison, or its failure, is valid [s]."""

# Maximum number of readings of a contract whose messages arrive while it is read.
_TRIES: Final = 3


class StateStore(Protocol):
    """Reads and lifts last states in the store."""

    async def states(self, ids: Iterable[str], /) -> Mapping[str, LastState | PayloadError]:
        """Return the state of each contract that has one; raises StoreError, IncompleteError."""

    async def in_present_history(self, histories: Mapping[str, bytes], /) -> Collection[str]:
        """Return the contracts that were confirmed since the store may have lost writes.

        Raises StoreError.
        """

    async def lift(self, lifts: Sequence[Lift], /) -> Sequence[Lifted | StoreError]:
        """Raise the versions of stored states above the gateway's; raises StoreError."""


class _StoredRecord(Struct, frozen=True):
    # The store's record of a contract: a state, no state, or a state that cannot be read.
    update: Update | None = None
    seen: bytes = b""
    history: bytes = b""
    readable: bool = True

    @property
    def version(self) -> int:
        return 0 if self.update is None else self.update.version

    @property
    def confirmation(self) -> tuple[int, bytes]:
        return self.version, self.seen


class _Difference(Struct, frozen=True):
    contract_id: str
    stored: _StoredRecord
    own: Present

    def lift(self, now: float) -> Lift:
        age = int((now - self.own.arrived_at) * MICROSECONDS)
        return Lift(self.contract_id, self.stored.version, self.own.version, age)


class Reconciler:
    """Compares contracts with the store on demand; `current` does so at most once a second."""

    def __init__(
        self,
        states: StateTable,
        store: StateStore,
        *,
        caught_up: Callable[[], Awaitable[object]],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Start without results.

        Args:
            states: the states of the gateway.
            store: reads and lifts the states in the store.
            caught_up: waits until messages that were published before the call have arrived in
                ``states``, for a limited time.
            clock: the clock of ``states``.
        """
        self._states = states
        self._store = store
        self._caught_up = caught_up
        self._monotonic = clock.monotonic
        self._limited = LogLimiter(log, clock=clock)
        self._comparisons: dict[str, tuple[float, bool]] = {}
        """By contract id: when the contract was compared, and whether it was current."""
        self._unconfirmed: dict[str, tuple[int, bytes]] = {}
        """By contract id: version and confirmation of a stored state that cannot be lifted."""
        self._failure: tuple[float, str] | None = None
        self._comparing = asyncio.Lock()

    async def current(self, ids: Iterable[str]) -> set[str]:
        """Return the contracts that were current within the last `MAX_AGE` seconds.

        Raises:
            StoreError: Redis does not answer, or did not answer within the last `MAX_AGE` seconds.
        """
        ids = list(ids)
        # A caller that waits here can use the results of the caller before it.
        async with self._comparing:
            oldest = self._monotonic() - MAX_AGE
            due = [i for i in ids if not self._is_known(i, oldest)]
            if due:
                if self._failure is not None and self._failure[0] > oldest:
                    raise StoreError(self._failure[1])
                try:
                    await self.compare(due)
                except IncompleteError:
                    pass  # `compare` has noted that the missing contracts are not current
                except StoreError as error:
                    self._failure = self._monotonic(), str(error)
                    raise
            return {i for i in ids if self._comparisons.get(i, (0.0, False))[1]}

    def _is_known(self, contract_id: str, oldest: float) -> bool:
        """Return whether the last comparison of a contract is still valid."""
        compared_at, current = self._comparisons.get(contract_id, (-math.inf, False))
        if compared_at <= oldest:
            return False
        own = self._states.present(contract_id)
        if own is not None and own.doubted and own.confirmed is None:
            return False
        # An update without a version may not be stored.
        return not (
            current and own is not None and own.unversioned and own.arrived_at > compared_at
        )

    def doubt(self, contract_id: str) -> None:
        """Note that a contract may no longer be current, so that `current` compares it again."""
        self._comparisons.pop(contract_id, None)

    def forget(self, contract_id: str) -> None:
        """Drop the results for a contract that is closed."""
        self._comparisons.pop(contract_id, None)
        self._unconfirmed.pop(contract_id, None)

    async def compare(self, ids: Iterable[str]) -> None:
        """Compare contracts with the store now, take newer states, and lift confirmed ones.

        Raises:
            IncompleteError: the store does not return some of the contracts.
            StoreError: the store returns no contract.
        """
        failure: IncompleteError | None = None
        due: Collection[str] = list(ids)
        for _ in range(_TRIES):
            began_at = self._monotonic()
            try:
                records = await self._store.states(due)
            except IncompleteError as error:
                records, failure = error.found, error
                due = [i for i in due if i not in error.left]
                for contract_id in error.left:
                    if self._states.present(contract_id) is not None:
                        self._comparisons[contract_id] = began_at, False
            stored = {i: self._read(i, records.get(i)) for i in due}
            if any(self._states.is_behind(i, each.update) for i, each in stored.items()):
                await self._caught_up()
            different, doubted = self._apply(stored, began_at)
            await self._confirm({i: stored[i].history for i in doubted}, began_at)
            await self._lift([each for each in different if each.own.arrived_at < began_at])
            # For these, a message arrived after the reading had begun, so they are read again.
            due = [each.contract_id for each in different if each.own.arrived_at >= began_at]
            if not due:
                break
        if failure is not None:
            raise failure

    def _read(self, contract_id: str, state: LastState | PayloadError | None) -> _StoredRecord:
        try:
            if isinstance(state, PayloadError):
                raise state
            return (
                _StoredRecord()
                if state is None
                else _StoredRecord(state.read(), state.seen, state.history)
            )
        except PayloadError as error:
            event = "last state cannot be read"
            self._limited.warning(
                event, key=(event, error.kind), contract_id=contract_id, error=str(error)
            )
            return _StoredRecord(readable=False)

    def _apply(
        self, stored: Mapping[str, _StoredRecord], began_at: float
    ) -> tuple[list[_Difference], list[str]]:
        """Take newer states from the store, and note which contracts are current.

        Returns:
            The contracts that differ, and equal contracts of which clients may have another state.
        """
        different, doubted = [], []
        # Oldest first, so that clients get missed states in the order of their versions.
        for contract_id in sorted(stored, key=lambda i: stored[i].version):
            each = stored[contract_id]
            self._states.load(contract_id, each.update)
            current = each.readable and self._states.equals(contract_id, each.update)
            own = self._states.present(contract_id)
            if own is None:
                self.forget(contract_id)  # it was closed meanwhile
                continue
            self._comparisons[contract_id] = began_at, current
            if not current:
                different.append(_Difference(contract_id, each, own))
            elif own.doubted:
                doubted.append(contract_id)
            elif own.confirmed is not None:
                self._states.confirm(contract_id, began_at, confirmed=None)
        return different, doubted

    async def _confirm(self, histories: Mapping[str, bytes], began_at: float) -> None:
        """Check whether equal states were confirmed since the store may have lost writes."""
        if not histories:
            return
        confirmed: Collection[str] = ()
        try:
            confirmed = await self._store.in_present_history(histories)
        except StoreError as error:
            event = "cannot check whether the store has lost writes"
            self._limited.warning(event, key=event, error=str(error))
        for contract_id in histories:
            self._states.confirm(contract_id, began_at, confirmed=contract_id in confirmed)

    async def _lift(self, different: Sequence[_Difference]) -> None:
        """Lift stored states that were confirmed after the gateway got its own."""
        due = [
            each
            for each in different
            if each.stored.update is not None
            and self._unconfirmed.get(each.contract_id) != each.stored.confirmation
        ]
        if not due:
            return
        began_at = self._monotonic()
        try:
            results = await self._store.lift([each.lift(began_at) for each in due])
        except StoreError as error:
            results = [error] * len(due)
        ended_at = self._monotonic()
        for each, result in zip(due, results, strict=True):
            if isinstance(result, StoreError):
                self._limited.warning(
                    "version of a stored state cannot be raised",
                    key="lift refused",
                    contract_id=each.contract_id,
                    error=str(result),
                )
            elif result.version:
                self._apply_lift(each, result.version, ended_at)
            elif result.confirmed is not None and (
                result.confirmed < 0
                or result.confirmed >= (ended_at - each.own.arrived_at) * MICROSECONDS
            ):
                # Another try is useless until a publisher confirms the state again.
                self._unconfirmed[each.contract_id] = each.stored.confirmation

    def _apply_lift(self, difference: _Difference, version: int, now: float) -> None:
        contract_id, update = difference.contract_id, difference.stored.update
        if update is None:
            return
        self._limited.warning(
            "the store holds older states; the gateway takes them",
            key="lifted",
            contract_id=contract_id,
            stored=update.version,
            own=difference.own.version,
            version=version,
        )
        lifted = Update(version, update.payload)
        self._states.load(contract_id, lifted)
        self._comparisons[contract_id] = now, self._states.equals(contract_id, lifted)
