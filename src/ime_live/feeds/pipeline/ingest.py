"""Ingest: register the contracts of frames, and publish the states that have changed.

It remembers the states that it has published, so only changes are sent, in one pipeline per frame.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ime_live.contracts import Contract
from ime_live.errors import ContractError, StoreError
from ime_live.feeds.boards.frame import Frame, RowError
from ime_live.feeds.boards.newest import LateRow, NewestBoards
from ime_live.feeds.boards.rows import Quote
from ime_live.market import Payload
from ime_live.publisher import PublishResult
from ime_live.spelling import pluralize


class StatePublisher(Protocol):
    """Interface of the publisher that an ingest uses."""

    async def publish_many(self, payloads: Iterable[tuple[str, Payload]], /) -> list[PublishResult]:
        """Publish states, and return one result each in order."""


Register = Callable[[Sequence[Contract]], Awaitable[Container[str] | None]]
"""Registers new and changed contracts; an old name stays as an alias. It returns the ids of the
contracts that could not be registered: clients cannot subscribe to them."""


class Totals(Struct):
    """Counts of frames, rows and states.

    Attributes:
        frames: frames that were read.
        rows: contracts in the frames, readable or not.
        published: states that were changes.
        unchanged: rows without a change: equal to the last state, here or in the store, or followed
            by another row of their contract in the same frame.
        refused: rows that could not be read or were late, and states that the publisher refused or
            whose contract could not be registered.
        bad_lines: lines of a recording, or messages of the SignalR hub, that are not frames.
    """

    frames: int = 0
    rows: int = 0
    published: int = 0
    unchanged: int = 0
    refused: int = 0
    bad_lines: int = 0

    def __str__(self) -> str:
        return (
            f"{pluralize(self.frames, 'frame')}, {pluralize(self.rows, 'row')}: "
            f"{self.published} published, {self.unchanged} unchanged, {self.refused} refused; "
            f"{pluralize(self.bad_lines, 'bad line')}"
        )


class FrameRefusal(Struct, frozen=True):
    """The parts of a frame that could not be published.

    Attributes:
        errors: rows that could not be read.
        late: rows older than an earlier one of their contract.
        outcomes: states that the publisher refused.
    """

    errors: tuple[RowError, ...] = ()
    late: tuple[LateRow, ...] = ()
    outcomes: tuple[PublishResult, ...] = ()

    def __len__(self) -> int:
        return len(self.errors) + len(self.late) + len(self.outcomes)

    def __str__(self) -> str:
        first: object = None
        if self.errors or self.late:
            first = [*self.errors, *self.late][0]
        elif self.outcomes:
            first = f"contract {self.outcomes[0].contract_id}: {self.outcomes[0].error}"
        return f"{len(self)} refused, the first: {first}"


class Ingest:
    """Publishes the changes in frames.

    A frame is taken in two steps, of which a standby takes only the first: `note` its boards, and
    `publish_changes` the changes. `take` does both.
    """

    def __init__(
        self, publisher: StatePublisher, register: Register, newest: NewestBoards | None = None
    ) -> None:
        """Create an ingest that has published nothing.

        Args:
            publisher: publishes the states.
            register: registers contracts, when they are new and whenever they change.
            newest: newest boards to share with other parts; None creates its own.
        """
        self.totals = Totals()
        self._publisher = publisher
        self._register = register
        self._newest = NewestBoards() if newest is None else newest
        self._due: dict[str, Quote] = {}
        """States that were noted and not published yet, by contract id, with later ones."""
        self._due_contracts: dict[str, Contract] = {}
        self._registered: dict[str, Contract] = {}
        self._unregistered: dict[str, Contract] = {}
        """Contracts that could not be registered in this form; their states are not published."""
        self._published: dict[str, Payload] = {}
        self._to_confirm: list[str] = []
        """Ids of the contracts that are still due in this round of confirmations."""
        self._shares = 0.0
        """Remaining fraction of a state from earlier shares."""

    @property
    def ids(self) -> set[str]:
        """Ids of the contracts in the newest boards."""
        return set(self._newest.quotes())

    def restore(
        self,
        contracts: Iterable[Contract],
        pushed_at: Mapping[str, datetime] | None = None,
        latest: datetime | None = None,
    ) -> None:
        """Use the stored contracts and timestamps; see `NewestBoards.restore`."""
        self._newest.restore(contracts, pushed_at, latest)

    def forget(self) -> None:
        """Publish the newest boards again, because the store may hold other states now."""
        self._registered.clear()
        self._unregistered.clear()
        self._published.clear()
        self._due = self._newest.quotes()
        self._due_contracts = self._newest.contracts()

    async def take(self, frame: Frame) -> FrameRefusal:
        """Note a frame of a recording, and publish the changes.

        Returns:
            The parts that could not be published.

        Raises:
            StoreError: the store cannot be reached. The next frames publish the changes.
        """
        refusal = self.note(frame)
        return FrameRefusal(refusal.errors, refusal.late, await self.publish_changes())

    def note(self, frame: Frame, latest: datetime | None = None) -> FrameRefusal:
        """Note the boards of a frame.

        Args:
            frame: the frame.
            latest: latest plausible timestamp, see `NewestBoards.take`.

        Returns:
            The rows that do not count.
        """
        changes = self._newest.take(frame, latest)
        refusal = FrameRefusal(frame.errors, tuple(changes.late))
        rows = len(frame.quotes)
        self.totals.frames += 1
        self.totals.rows += rows + len(frame.errors)
        self.totals.refused += len(refusal)
        self.totals.unchanged += rows - len(changes.late) - len(changes.quotes)
        self._due |= changes.quotes
        self._due_contracts |= changes.contracts
        return refusal

    async def publish_changes(self) -> tuple[PublishResult, ...]:
        """Register and publish the changes that were noted.

        Returns:
            The states that the publisher refused.

        Raises:
            StoreError: the store cannot be reached. The next call publishes the changes.
        """
        contracts, self._due_contracts = self._due_contracts, {}
        quotes, self._due = self._due, {}
        changed = [
            contract
            for i, contract in contracts.items()
            # An unregistered contract is tried again when it changes or is confirmed.
            if not (
                _same(self._registered.get(i), contract)
                or _same(self._unregistered.get(i), contract)
            )
        ]
        states = {
            i: quote.payload
            for i, quote in quotes.items()
            if self._published.get(i) != quote.payload
        }
        self.totals.unchanged += len(quotes) - len(states)
        outcomes = await self._write(changed, states)
        for outcome in outcomes:
            self.totals.published += outcome.published
            self.totals.unchanged += outcome.error is None and not outcome.published
        refused = tuple(outcome for outcome in outcomes if outcome.error is not None)
        self.totals.refused += len(refused)
        return refused

    async def confirm(self, share: float) -> tuple[tuple[PublishResult, ...], list[str]]:
        """Register and publish a part of the newest boards again, in turn.

        The store may hold other states than the published ones, if others have written since.

        Args:
            share: fraction of all states, up to 1.

        Returns:
            The states that the publisher refused, and the ids of contracts for which the store held
            another state.

        Raises:
            StoreError: the store cannot be reached. The next call publishes the states.
        """
        quotes = self._newest.quotes()
        self._shares, count = math.modf(self._shares + len(quotes) * share)
        if not self._to_confirm:
            self._to_confirm = list(quotes)
        ids = [i for i in self._to_confirm[: int(count)] if i in quotes]
        del self._to_confirm[: int(count)]
        contracts = self._newest.contracts()
        states = {i: quotes[i].payload for i in ids}
        passed_on = {i for i in ids if self._published.get(i) == states[i]}
        outcomes = await self._write([contracts[i] for i in ids], states)
        refused = tuple(outcome for outcome in outcomes if outcome.error is not None)
        return refused, [
            outcome.contract_id
            for outcome in outcomes
            if outcome.published and outcome.contract_id in passed_on
        ]

    async def _write(
        self, contracts: Sequence[Contract], states: Mapping[str, Payload]
    ) -> list[PublishResult]:
        outcomes: list[PublishResult] = []
        try:
            # Contracts first, so that a gateway knows the contract of each state.
            if contracts:
                self._note_registered(contracts, await self._register(contracts) or ())
            publishable = [(i, state) for i, state in states.items() if i not in self._unregistered]
            if publishable:
                outcomes = await self._publisher.publish_many(publishable)
        except StoreError:
            self.forget()
            raise
        outcomes += [
            PublishResult(i, error=_UNREGISTERED) for i in states if i in self._unregistered
        ]
        for outcome in outcomes:
            # Only accepted states count as published; refused ones are tried again.
            if outcome.error is None:
                self._published[outcome.contract_id] = states[outcome.contract_id]
            else:
                self._published.pop(outcome.contract_id, None)
        return outcomes

    def _note_registered(self, contracts: Iterable[Contract], refused: Container[str]) -> None:
        for contract in contracts:
            target, other = self._registered, self._unregistered
            if contract.contract_id in refused:
                target, other = other, target
            target[contract.contract_id] = contract
            other.pop(contract.contract_id, None)


def _same(registered: Contract | None, contract: Contract) -> bool:
    """Return whether two contracts are equal except for the day's settlement price so far.

    That price changes with each trade. Confirmations register it, as often as the registrar allows.
    """
    if registered is None or registered == contract:
        return registered is not None
    return contract == replace(registered, today_settlement=contract.today_settlement)


_UNREGISTERED: Final = ContractError(
    "the contract could not be registered, so clients cannot find it"
)
