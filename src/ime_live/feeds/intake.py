"""Intake: frames that were read in; contracts registered and changed states published out.

It remembers what it has passed on, so that only changes go further, one pipeline a frame. It
knows neither where frames come from nor the store: contracts go to a function it is given, states
to a publisher.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ime_live.contracts import Contract
from ime_live.errors import StoreError
from ime_live.feeds.boards import Frame, Quote, RowError
from ime_live.market import Payload
from ime_live.publisher import Outcome

DELISTED_AFTER: Final = 3
"""Boards in a row that a contract is missing from before it counts as gone: one that came short
by an accident of the exchange marks nothing."""


class Publishes(Protocol):
    """What an intake needs of a publisher."""

    async def publish_many(self, payloads: Iterable[tuple[str, Payload]], /) -> list[Outcome]:
        """Publish states, one outcome each in order."""


Register = Callable[[Sequence[Contract]], Awaitable[Any]]
"""Stores contracts that are new or changed; a name that changed stays an alias."""


class Totals(Struct):
    """What became of the frames.

    Attributes:
        frames: read.
        rows: contracts that the frames told of, readable or not.
        published: states that were changes.
        unchanged: states equal to the last one, here or in the store.
        refused: rows that could not be read, and states that the publisher refused.
        bad_lines: lines of a recording, or messages of the hub, that are no frames.
    """

    frames: int = 0
    rows: int = 0
    published: int = 0
    unchanged: int = 0
    refused: int = 0
    bad_lines: int = 0

    def __str__(self) -> str:
        return (
            f"{self.frames} frames, {self.rows} rows: {self.published} published, "
            f"{self.unchanged} unchanged, {self.refused} refused; {self.bad_lines} bad lines"
        )


class Refusal(Struct, frozen=True):
    """What one frame held that could not be passed on.

    Attributes:
        errors: rows that could not be read.
        outcomes: states that the publisher refused.
    """

    errors: tuple[RowError, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    def __len__(self) -> int:
        return len(self.errors) + len(self.outcomes)

    def __str__(self) -> str:
        first: object = None
        if self.errors:
            first = self.errors[0]
        elif self.outcomes:
            first = f"contract {self.outcomes[0].contract_id}: {self.outcomes[0].error}"
        return f"{len(self)} refused, the first: {first}"


class Intake:
    """See the module's text."""

    def __init__(self, publisher: Publishes, register: Register) -> None:
        """Make an intake that has passed nothing on yet.

        Args:
            publisher: takes the states.
            register: takes contracts, on sight and whenever they changed.
        """
        self.totals = Totals()
        self._publisher = publisher
        self._register = register
        self._contracts: dict[str, Contract] = {}
        """As their boards told them last, marks of absence added."""
        self._payloads: dict[str, Payload] = {}
        self._missing: Counter[str] = Counter()

    def know(self, contracts: Iterable[Contract]) -> None:
        """Tell what was registered before, so that it can be missed on its board."""
        for contract in contracts:
            self._contracts.setdefault(contract.contract_id, contract)

    def forget(self) -> None:
        """Pass on everything again: nobody knows what the store holds now."""
        self._payloads.clear()
        self._contracts.clear()

    async def take(self, frame: Frame) -> Refusal:
        """Pass on what has changed; returns what could not be.

        Raises:
            StoreError: the store is away. All of it is passed on again with the next frames.
        """
        self.totals.frames += 1
        self.totals.rows += len(frame.quotes) + len(frame.errors)
        try:
            # Contracts first: a gateway that hears of a state can then name it.
            await self._register_changed(frame)
            outcomes = await self._publish_changed(frame.quotes)
        except StoreError:
            self.forget()
            raise
        refusal = Refusal(frame.errors, tuple(each for each in outcomes if each.error is not None))
        self.totals.refused += len(refusal)
        return refusal

    async def _register_changed(self, frame: Frame) -> None:
        told = {quote.contract.contract_id: quote.contract for quote in frame.quotes}
        for method in frame.boards:
            told |= self._absent(method, frame)
        changed = [each for id_, each in told.items() if self._contracts.get(id_) != each]
        if changed:
            await self._register(changed)
            self._contracts |= told

    def _absent(self, method: str, frame: Frame) -> dict[str, Contract]:
        """The contracts that are to be marked, since this board has them no more."""
        present = {q.contract.contract_id for q in frame.quotes if q.contract.board == method}
        bad = [error for error in frame.errors if error.board == method]
        if not present or any(error.contract_id is None for error in bad):
            # An empty board, as on holidays, says nothing of its contracts; nor is it known
            # which ones the rows without an id are about.
            return {}
        present.update(error.contract_id for error in bad if error.contract_id is not None)
        gone = {}
        for contract_id, contract in self._contracts.items():
            if contract.board != method:
                continue
            if contract_id in present:
                self._missing.pop(contract_id, None)
            elif not contract.delisted:
                self._missing[contract_id] += 1
                if self._missing[contract_id] >= DELISTED_AFTER:
                    del self._missing[contract_id]
                    gone[contract_id] = replace(contract, delisted=True)
        return gone

    async def _publish_changed(self, quotes: Sequence[Quote]) -> list[Outcome]:
        changes = {}
        for quote in quotes:
            contract_id = quote.contract.contract_id
            if self._payloads.get(contract_id) == quote.payload:
                self.totals.unchanged += 1
            else:
                changes[contract_id] = quote.payload
        if not changes:
            return []
        outcomes = await self._publisher.publish_many(changes.items())
        for outcome in outcomes:
            # Only what has arrived counts as passed on; what was refused is tried again.
            if outcome.error is None:
                self._payloads[outcome.contract_id] = changes[outcome.contract_id]
                self.totals.published += outcome.published
                self.totals.unchanged += not outcome.published
            else:
                self._payloads.pop(outcome.contract_id, None)
        return outcomes
