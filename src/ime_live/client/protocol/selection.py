"""Selection: the contracts of a stream, and the changes that are not confirmed yet.

It outlives connections. It computes the contracts of a new connection and the commands to send, and
takes the gateway's answers. It neither sends nor waits: a `Change` reports when it is done.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence

from msgspec import UNSET, Struct

from ime_live.client.protocol.address import first_fitting
from ime_live.client.protocol.close_reason import is_about
from ime_live.client.protocol.command import Change
from ime_live.client.protocol.message import Key, Selector
from ime_live.errors import ImeLiveError
from ime_live.messages import (
    Action,
    ContractFilter,
    ControlData,
    ControlFault,
    ControlRequest,
)


class Selected(Struct, frozen=True, repr_omit_defaults=True):
    """The contracts of a stream, as its messages name them.

    Attributes:
        contract_names: contracts by name: those that the program named, then those that its
            filters match, as far as the library has learnt of them.
        contract_ids: contracts by id, in the same order.
        filters: the filters of the stream.
    """

    contract_names: tuple[str, ...]
    contract_ids: tuple[str, ...]
    filters: tuple[ContractFilter, ...] = ()


class Opening(Struct, frozen=True):
    """The contracts of a new connection.

    Attributes:
        keys: contracts for its URL; empty if no connection is needed.
        removed: contracts that are no longer selected.
    """

    keys: Sequence[Selector]
    removed: Sequence[Selector]


class Selection:
    """The confirmed contracts of a stream, and its pending changes."""

    def __init__(self, keys: Iterable[Selector]) -> None:
        """Create a selection of these contracts and filters."""
        self._selectors: dict[Selector, None] = dict.fromkeys(keys)
        self._matching: dict[Key, None] = {}
        """Contracts that filters match."""
        self._changes: list[Change] = []
        self._requests: dict[int, tuple[Change, list[Selector]]] = {}
        self._unsent: deque[tuple[Change, list[Selector]]] = deque()
        self._numbers = itertools.count(1)
        self._failure: ImeLiveError | None = None

    @property
    def contracts(self) -> Selected:
        """The contracts: the first ones, and each change once it is answered."""
        keys = [key for key in self._selectors if not isinstance(key, ContractFilter)]
        keys += [key for key in self._matching if key not in self._selectors]
        return Selected(
            tuple(word for by, word in keys if by == "name"),
            tuple(word for by, word in keys if by == "id"),
            tuple(key for key in self._selectors if isinstance(key, ContractFilter)),
        )

    @property
    def selectors(self) -> Sequence[Selector]:
        """Contracts and filters as the program selected them, without the contracts that match."""
        return tuple(self._selectors)

    @property
    def has_filters(self) -> bool:
        """Whether filters may match contracts that the program has not named."""
        return any(isinstance(key, ContractFilter) for key in self._selectors)

    def note(self, key: Key) -> None:
        """Note that a message of this contract has arrived."""
        if key not in self._matching and key not in self._selectors and self.has_filters:
            self._matching[key] = None

    def forget_matches(self) -> None:
        """Forget the matches of filters: a new connection sends all present states again."""
        self._matching = {}

    def take_listing(self, change: ControlData) -> None:
        """Take a message about contracts that have joined the stream or left it."""
        self._matching = _matching_of(change)

    @property
    def unsettled(self) -> bool:
        """Whether a change waits for an answer."""
        return bool(self._changes)

    def add(self, change: Change) -> None:
        """Take a change; `next_request` then returns its commands.

        After `fail` it fails at once.
        """
        if self._failure is not None:
            change.fail(self._failure)
            return
        if not change.unanswered:
            change.settle(())
            return
        self._changes.append(change)
        self._prepare(change)

    def drop(self, change: Change) -> None:
        """Drop a change whose caller has gone. Commands already sent may still be carried out."""
        self._changes = [other for other in self._changes if other is not change]
        self._unsent = deque(batch for batch in self._unsent if batch[0] is not change)

    def fail(self, error: ImeLiveError) -> None:
        """Fail all present and later changes, because no answer will arrive."""
        self._failure = error
        for change in self._changes:
            change.fail(error)
        self._changes.clear()
        self._unsent.clear()

    def expire(self, number: str | int | None, error: ImeLiveError) -> ImeLiveError | None:
        """Fail the change of a command that was not answered in time.

        The gateway may have carried it out: a late answer still counts.

        Returns:
            The error, if it ends the stream.
        """
        if not isinstance(number, int) or number not in self._requests:
            return None
        change, _ = self._requests[number]
        change.fail(error)
        self.drop(change)
        return error if change.restoring else None

    def open(self, *, snapshot: bool = True) -> Opening:
        """Start a new connection, which repeats every request without an answer.

        Args:
            snapshot: whether to ask for the present states of contracts that do not fit into the
                URL.
        """
        self._changes = [change for change in self._changes if not change.restoring]
        self._requests.clear()
        self._unsent.clear()
        selected, removed = dict(self._selectors), list[Selector]()
        for change in list(self._changes):
            if change.action is Action.UNSUBSCRIBE:
                removed += self._leave_out(change, selected)
        if selected:
            first = first_fitting(tuple(selected))
            rest = selected.keys() - set(first)
            if rest:
                # States received before are dropped later; the others have to be sent.
                restoring = Change(
                    Action.SUBSCRIBE,
                    [key for key in selected if key in rest],
                    snapshot=snapshot,
                    restoring=True,
                )
                self._changes.insert(0, restoring)
        else:
            # The URL needs a contract; `handle_refusal` handles one that the gateway does not know.
            added = (change for change in self._changes if change.action is Action.SUBSCRIBE)
            first = first_fitting(tuple(next(added, _NOTHING).unanswered))
        for change in self._changes:
            self._prepare(change)
        return Opening(first, removed)

    def _leave_out(self, change: Change, selected: dict[Selector, None]) -> list[Selector]:
        # The new connection does not ask for them, so no command is needed.
        removed = [key for key in change.unanswered if key in selected]
        for key in removed:
            del selected[key]
            del self._selectors[key]
        self._settle(change, removed)
        return removed

    def next_request(self) -> ControlRequest | None:
        """Return the next command to send; None if there is none."""
        if not self._unsent:
            return None
        change, keys = self._unsent.popleft()
        number = next(self._numbers)
        self._requests[number] = change, keys
        return change.request(keys, number)

    def take_answer(self, answer: ControlData) -> tuple[list[Selector], ImeLiveError | None]:
        """Take the gateway's answer to a command.

        A contract of the stream that the gateway no longer knows is an error, so that it does not
        disappear silently.

        Returns:
            The contracts that were removed, and the error that ends the stream, if there is one.
        """
        if not isinstance(answer.id, int) or answer.id not in self._requests:
            return [], None  # the change was given up
        change, keys = self._requests.pop(answer.id)
        before: list[Selector] = [*self._selectors, *self._matching]
        failed = {fault.contract for fault in answer.errors}
        accepted = [] if None in failed else [key for key in keys if _word(key) not in failed]
        self._settle(change, keys, answer.errors)
        self._selectors = self._after(change.action, accepted, answer)
        self._matching = _matching_of(answer)
        error = change.error() if change.restoring else None
        removed = [
            key for key in before if key not in self._selectors and key not in self._matching
        ]
        return removed, error

    def _after(
        self, action: Action, accepted: Iterable[Selector], answer: ControlData
    ) -> dict[Selector, None]:
        if not any(change.restoring for change in self._changes):
            # The gateway's list has a contract once, even if it was named in two spellings, or by
            # name and by id.
            by_name: list[Key] = [("name", word) for word in answer.contract_names]
            by_id: list[Key] = [("id", word) for word in answer.contract_ids]
            filters = () if answer.filters is UNSET else answer.filters
            return dict.fromkeys([*by_name, *by_id, *filters])
        selectors = dict(self._selectors)
        for key in accepted:
            if action is Action.SUBSCRIBE:
                selectors[key] = None
            else:
                selectors.pop(key, None)
        return selectors

    def handle_refusal(self, reason: str) -> bool:
        """Handle a handshake that was refused because of an unknown contract.

        If the contract was only being added, its change fails, and the next connection leaves it
        out.

        Returns:
            Whether that was so.
        """
        for change in self._changes:
            if change.action is not Action.SUBSCRIBE or change.restoring:
                continue
            for key in change.unanswered:
                if key not in self._selectors and is_about(reason, _word(key) or ""):
                    self._settle(change, [key], [ControlFault(contract=_word(key), error=reason)])
                    return True
        return False

    def _prepare(self, change: Change) -> None:
        self._unsent += [(change, keys) for keys in change.batches()]

    def _settle(
        self, change: Change, keys: Iterable[Selector], faults: Sequence[ControlFault] = ()
    ) -> None:
        change.settle(keys, faults)
        if change.done:
            self._changes = [other for other in self._changes if other is not change]


_NOTHING = Change(Action.SUBSCRIBE, (), snapshot=False)


def _word(key: Selector) -> str | None:
    """Return the name or id of a contract; None for a filter."""
    return None if isinstance(key, ContractFilter) else key[1]


def _matching_of(data: ControlData) -> dict[Key, None]:
    if data.matching is UNSET:
        return {}
    by_name: list[Key] = [("name", word) for word in data.matching.contract_names]
    by_id: list[Key] = [("id", word) for word in data.matching.contract_ids]
    return dict.fromkeys([*by_name, *by_id])
