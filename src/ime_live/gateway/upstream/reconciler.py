"""Reconciler: compares the states that the gateway has with those in the store.

A contract is current if both are equal, version and data; nothing less will do. A state that is
newer in the store is taken: its message was lost, or is still on its way. One that is older, or
another one of the same version, is what a store has that lost its latest data, or to which a
publisher wrote that others do not know of. If a publisher has confirmed it after the gateway took
its own, it is the truth: it is lifted, that is published again under a version above the
gateway's, so that all gateways and their clients follow. Until then nobody knows, and the contract
is not current. What was published without being stored is so never replaced.

A client may come with a newer state than both have. Either its contract was quiet and it has heard
of others since, or the store has lost what it was sent. The second cannot be where the state was
confirmed since the store began its present history; where it was not, the contract is not current
for this client, until a publisher confirms it and it is sent again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog
from msgspec import Struct

from ime_live.errors import IncompleteError, PayloadError, StoreError
from ime_live.gateway.hub.state_table import Present, StateTable
from ime_live.log_limiter import LogLimiter
from ime_live.market import MICROSECONDS, Update
from ime_live.store.store import Lift, Lifted, State

log = structlog.get_logger()

MAX_AGE: Final = 1.0
"""Seconds for which a comparison, or that there was none, is good."""

# Readings of a contract whose messages come while it is read; more would not help.
_TRIES: Final = 3


class StoredStates(Protocol):
    """Where last states are kept."""

    async def states(self, ids: Iterable[str], /) -> Mapping[str, State | PayloadError]:
        """The last state of each contract that has one; raises StoreError, IncompleteError."""

    async def in_present_history(self, histories: Mapping[str, bytes], /) -> Collection[str]:
        """Whose states were confirmed since the store may have lost writes; raises StoreError."""

    async def lift(self, lifts: Sequence[Lift], /) -> Sequence[Lifted | StoreError]:
        """Raise the versions of stored states above ours; raises StoreError."""


class _Stored(Struct, frozen=True):
    # What the store has of a contract: a state that was read, nothing, or what cannot be read.
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
    stored: _Stored
    own: Present

    def lift(self, now: float) -> Lift:
        age = int((now - self.own.taken) * MICROSECONDS)
        return Lift(self.contract_id, self.stored.version, self.own.version, age)


class Reconciler:
    """See the module's text."""

    def __init__(
        self, states: StateTable, store: StoredStates, *, monotonic: Callable[[], float]
    ) -> None:
        """Know nothing of the store yet.

        Args:
            states: what the gateway has.
            store: what the store has.
            monotonic: seconds; the clock of ``states``.
        """
        self._states = states
        self._store = store
        self._monotonic = monotonic
        self._limited = LogLimiter(log, monotonic=monotonic)
        self._verdicts: dict[str, tuple[float, bool]] = {}
        """By contract: when it was compared, and whether it was current."""
        self._unconfirmed: dict[str, tuple[int, bytes]] = {}
        """Version and confirmation of stored states that are older than the gateway's own."""
        self._failure: tuple[float, str] | None = None
        self._comparing = asyncio.Lock()

    async def current(self, ids: Iterable[str]) -> set[str]:
        """Those of the contracts that are current, by comparisons of the last `MAX_AGE` seconds.

        Raises:
            StoreError: Redis does not tell, or did not less than `MAX_AGE` seconds ago.
        """
        ids = list(ids)
        # Who comes while others are being compared finds most of what it needs afterwards.
        async with self._comparing:
            oldest = self._monotonic() - MAX_AGE
            due = [i for i in ids if not self._is_known(i, oldest)]
            if due:
                if self._failure is not None and self._failure[0] > oldest:
                    raise StoreError(self._failure[1])
                try:
                    await self.compare(due)
                except IncompleteError:
                    pass  # what is left out is not current, and that is known now
                except StoreError as error:
                    self._failure = self._monotonic(), str(error)
                    raise
            return {i for i in ids if self._verdicts.get(i, (0.0, False))[1]}

    def _is_known(self, contract_id: str, oldest: float) -> bool:
        """Whether the last comparison of a contract is still good."""
        compared, current = self._verdicts.get(contract_id, (-math.inf, False))
        if compared <= oldest:
            return False
        own = self._states.present(contract_id)
        if own is not None and own.doubted and own.confirmed is None:
            return False
        # An update without a version may not be stored.
        return not (current and own is not None and own.unversioned and own.taken > compared)

    def doubt(self, contract_id: str) -> None:
        """The contract may no longer be current: a comparison is due before anybody is told so."""
        self._verdicts.pop(contract_id, None)

    def forget(self, contract_id: str) -> None:
        """The gateway has the contract no more."""
        self._verdicts.pop(contract_id, None)
        self._unconfirmed.pop(contract_id, None)

    async def compare(self, ids: Iterable[str]) -> None:
        """Compare contracts with the store now; take what is newer there, and lift what is true.

        Raises:
            IncompleteError: of some contracts the store does not tell.
            StoreError: it tells nothing.
        """
        failure: IncompleteError | None = None
        due: Collection[str] = list(ids)
        for _ in range(_TRIES):
            begun = self._monotonic()
            try:
                found = await self._store.states(due)
            except IncompleteError as error:
                found, failure = error.found, error
                due = [i for i in due if i not in error.left]
                for contract_id in error.left:
                    if self._states.present(contract_id) is not None:
                        self._verdicts[contract_id] = begun, False
            stored = {i: self._read(i, found.get(i)) for i in due}
            different, doubted = self._take(stored, begun)
            await self._confirm({i: stored[i].history for i in doubted}, begun)
            await self._lift([each for each in different if each.own.taken < begun])
            # A message came while the store was asked: what it said of these is too old.
            due = [each.contract_id for each in different if each.own.taken >= begun]
            if not due:
                break
        if failure is not None:
            raise failure

    def _read(self, contract_id: str, state: State | PayloadError | None) -> _Stored:
        try:
            if isinstance(state, PayloadError):
                raise state
            return _Stored() if state is None else _Stored(state.read(), state.seen, state.history)
        except PayloadError as error:
            event = "last state cannot be read"
            self._limited.warning(
                event, key=(event, error.kind), contract_id=contract_id, error=str(error)
            )
            return _Stored(readable=False)

    def _take(
        self, stored: Mapping[str, _Stored], begun: float
    ) -> tuple[list[_Difference], list[str]]:
        """Take what is newer in the store, and note what is current.

        Returns:
            What is different there, and which of the equal ones clients may have another state of.
        """
        different, doubted = [], []
        # Oldest first, so that clients get what they missed in the order in which it happened.
        for contract_id in sorted(stored, key=lambda i: stored[i].version):
            each = stored[contract_id]
            self._states.load(contract_id, each.update)
            current = each.readable and self._states.equals(contract_id, each.update)
            own = self._states.present(contract_id)
            if own is None:
                self.forget(contract_id)  # nobody wants it any more
                continue
            self._verdicts[contract_id] = begun, current
            if not current:
                different.append(_Difference(contract_id, each, own))
            elif own.doubted:
                doubted.append(contract_id)
            elif own.confirmed is not None:
                self._states.confirm(contract_id, begun, confirmed=None)
        return different, doubted

    async def _confirm(self, histories: Mapping[str, bytes], begun: float) -> None:
        """Ask whether equal states were confirmed since the store may have lost writes."""
        if not histories:
            return
        confirmed: Collection[str] = ()
        try:
            confirmed = await self._store.in_present_history(histories)
        except StoreError as error:
            event = "whether the store has lost writes is not known"
            self._limited.warning(event, key=event, error=str(error))
        for contract_id in histories:
            self._states.confirm(contract_id, begun, confirmed=contract_id in confirmed)

    async def _lift(self, different: Sequence[_Difference]) -> None:
        """Lift the stored states that were confirmed after the gateway took its own."""
        due = [
            each
            for each in different
            if each.stored.update is not None
            and self._unconfirmed.get(each.contract_id) != each.stored.confirmation
        ]
        if not due:
            return
        begun = self._monotonic()
        try:
            answers = await self._store.lift([each.lift(begun) for each in due])
        except StoreError as error:
            answers = [error] * len(due)
        ended = self._monotonic()
        for each, answer in zip(due, answers, strict=True):
            if isinstance(answer, StoreError):
                self._limited.warning(
                    "state in the store cannot be lifted above ours",
                    key="lift refused",
                    contract_id=each.contract_id,
                    error=str(answer),
                )
            elif answer.version:
                self._follow(each, answer.version, ended)
            elif answer.confirmed is not None and (
                answer.confirmed < 0 or answer.confirmed >= (ended - each.own.taken) * MICROSECONDS
            ):
                # Until a publisher confirms it anew there is no use in asking again.
                self._unconfirmed[each.contract_id] = each.stored.confirmation

    def _follow(self, difference: _Difference, version: int, now: float) -> None:
        contract_id, update = difference.contract_id, difference.stored.update
        if update is None:
            return
        self._limited.warning(
            "the store went back, and the gateway follows",
            key="lifted",
            contract_id=contract_id,
            stored=update.version,
            ours=difference.own.version,
            version=version,
        )
        lifted = Update(version, update.payload)
        self._states.load(contract_id, lifted)
        self._verdicts[contract_id] = now, self._states.equals(contract_id, lifted)
