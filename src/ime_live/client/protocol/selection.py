"""Selection: the contracts of a stream, and the changes that are not confirmed yet.

It lasts over every break of the connection. It computes the contracts of a new connection and the
commands to send, and takes the gateway's answers. It neither sends nor waits: a `Change` reports
when it is done.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from msgspec import Struct

from ime_live.client.protocol.address import first_fitting
from ime_live.client.protocol.close_reason import UNKNOWN_CONTRACT, is_about
from ime_live.client.protocol.message import Key
from ime_live.errors import ControlError, ImeLiveError, RefusedError, UnknownContractError
from ime_live.messages import Action, ControlData, ControlFault, ControlRequest

# Bytes of the contracts in a command; the gateway accepts 4 KiB in all (--max-client-message).
_MOST_BYTES = 3800


class Selected(Struct, frozen=True):
    """The contracts of a stream, as the program named them.

    Attributes:
        contract_names: contracts that were asked for by name.
        contract_ids: contracts that were asked for by id.
    """

    contract_names: tuple[str, ...]
    contract_ids: tuple[str, ...]


class Change:
    """A change of the selection, by the program or by the library.

    Attributes:
        action: whether contracts are added or removed.
        left: contracts without an answer yet.
        faults: parts of the change that were refused.
        done: whether all contracts have an answer.
        failure: why it was given up; None if it was not.
        restoring: whether it is the library's own, for contracts that did not fit into the URL of
            a new connection.
    """

    def __init__(
        self,
        action: Action,
        keys: Iterable[Key],
        *,
        snapshot: bool,
        settled: Callable[[], None] = lambda: None,
        restoring: bool = False,
    ) -> None:
        """Create a change; `Selection.add` takes it.

        Args:
            action: whether to add or to remove contracts.
            keys: the contracts.
            snapshot: whether to send the present states of added contracts.
            settled: called once, when the change is done.
            restoring: whether it is the library's own.
        """
        self.action = action
        self.left: dict[Key, None] = dict.fromkeys(keys)
        self.faults: list[ControlFault] = []
        self.restoring = restoring
        self.done = False
        self.failure: ImeLiveError | None = None
        self._snapshot = snapshot
        self._settled = settled
        self._asked: set[Key] = set()

    def error(self) -> ImeLiveError | None:
        """Return the error of the change; None if all of it was done."""
        if self.failure or not self.faults:
            return self.failure
        text = "; ".join(fault.error for fault in self.faults)
        if any(fault.error.startswith(UNKNOWN_CONTRACT) for fault in self.faults):
            return UnknownContractError(text)
        if any(fault.contract is None for fault in self.faults):
            return ControlError(text)
        return RefusedError(text)

    def settle(self, keys: Iterable[Key], faults: Sequence[ControlFault] = ()) -> None:
        """Note the answer for these contracts."""
        self.faults += faults
        for key in keys:
            self.left.pop(key, None)
        if not self.left and not self.done:
            self.done = True
            self._settled()

    def fail(self, error: ImeLiveError) -> None:
        """Give up the contracts that have no answer."""
        if not self.done:
            self.failure, self.done = error, True
            self._settled()

    def batches(self) -> Iterator[list[Key]]:
        """Return the contracts without an answer, in portions that fit into one command."""
        batch: list[Key] = []
        size = 0
        for key in self.left:
            cost = len(msgspec.json.encode(key[1])) + 1  # and a comma
            if batch and size + cost > _MOST_BYTES:
                yield batch
                batch, size = [], 0
            batch.append(key)
            size += cost
        if batch:
            yield batch

    def request(self, keys: Sequence[Key], number: int) -> ControlRequest:
        """Return the command for one portion."""
        snapshot = None
        if self.action is Action.SUBSCRIBE:
            # It may have been done before a break; then later changes must be sent again.
            snapshot = self._snapshot or not self._asked.isdisjoint(keys)
            self._asked.update(keys)
        return ControlRequest(
            action=self.action,
            contract_names=tuple(word for by, word in keys if by == "name"),
            contract_ids=tuple(word for by, word in keys if by == "id"),
            snapshot=snapshot,
            id=number,
        )


class Opening(Struct, frozen=True):
    """The contracts of a new connection.

    Attributes:
        keys: contracts for its URL; empty if no connection is needed.
        gone: contracts that are no longer selected.
    """

    keys: Sequence[Key]
    gone: Sequence[Key]


class Selection:
    """The confirmed contracts of a stream, and its pending changes."""

    def __init__(self, keys: Iterable[Key]) -> None:
        """Create a selection of these contracts."""
        self._held: dict[Key, None] = dict.fromkeys(keys)
        self._changes: list[Change] = []
        self._asked: dict[int, tuple[Change, list[Key]]] = {}
        self._unsent: deque[tuple[Change, list[Key]]] = deque()
        self._numbers = itertools.count(1)

    @property
    def contracts(self) -> Selected:
        """The contracts: the first ones, and each change once it is answered."""
        return _contracts(self._held)

    @property
    def held(self) -> Sequence[Key]:
        """The same, as keys."""
        return tuple(self._held)

    @property
    def unsettled(self) -> bool:
        """Whether some change waits for an answer."""
        return bool(self._changes)

    def add(self, change: Change) -> None:
        """Take a change; `next_request` then returns its commands."""
        if not change.left:
            change.settle(())
            return
        self._changes.append(change)
        self._prepare(change)

    def drop(self, change: Change) -> None:
        """Forget a change that nobody waits for. Commands already sent may still be done."""
        self._changes = [each for each in self._changes if each is not change]
        self._unsent = deque(each for each in self._unsent if each[0] is not change)

    def fail(self, error: ImeLiveError) -> None:
        """Give up all changes, because no answer will arrive."""
        for change in self._changes:
            change.fail(error)
        self._changes.clear()
        self._unsent.clear()

    def overdue(self, number: str | int | None, error: ImeLiveError) -> ImeLiveError | None:
        """Give up the change of a command that has no answer.

        The gateway may have done it all the same: a late answer still counts.

        Returns:
            The error, if it ends the stream.
        """
        if not isinstance(number, int) or number not in self._asked:
            return None
        change, _ = self._asked[number]
        change.fail(error)
        self.drop(change)
        return error if change.restoring else None

    def open(self, *, snapshot: bool = True) -> Opening:
        """Start a new connection: everything without an answer is asked for again.

        Args:
            snapshot: whether to ask for the present states of contracts that do not fit into the
                URL.
        """
        self._changes = [change for change in self._changes if not change.restoring]
        self._asked.clear()
        self._unsent.clear()
        wanted, gone = dict(self._held), list[Key]()
        for change in list(self._changes):
            if change.action is Action.UNSUBSCRIBE:
                gone += self._leave_out(change, wanted)
        if wanted:
            first = first_fitting(tuple(wanted))
            rest = wanted.keys() - set(first)
            if rest:
                # States received before are dropped later; the others have to be sent.
                restoring = Change(
                    Action.SUBSCRIBE,
                    [key for key in wanted if key in rest],
                    snapshot=snapshot,
                    restoring=True,
                )
                self._changes.insert(0, restoring)
        else:
            # The URL needs a contract; `refused` handles one that the gateway does not know.
            added = (change for change in self._changes if change.action is Action.SUBSCRIBE)
            first = first_fitting(tuple(next(added, _NOTHING).left))
        for change in self._changes:
            self._prepare(change)
        return Opening(first, gone)

    def _leave_out(self, change: Change, wanted: dict[Key, None]) -> list[Key]:
        # The new connection does not ask for them, so no command is needed.
        gone = [key for key in change.left if key in wanted]
        for key in gone:
            del wanted[key]
            del self._held[key]
        self._settle(change, gone)
        return gone

    def next_request(self) -> ControlRequest | None:
        """Return the next command to send; None if there is none."""
        if not self._unsent:
            return None
        change, keys = self._unsent.popleft()
        number = next(self._numbers)
        self._asked[number] = change, keys
        return change.request(keys, number)

    def answered(self, answer: ControlData) -> tuple[list[Key], ImeLiveError | None]:
        """Take the gateway's answer to a command.

        A contract of the stream that the gateway no longer knows is an error, so that it does not
        disappear silently.

        Returns:
            The contracts that were removed, and the error that ends the stream, if there is one.
        """
        if not isinstance(answer.id, int) or answer.id not in self._asked:
            return [], None  # the change was given up
        change, keys = self._asked.pop(answer.id)
        before = self._held
        failed = {fault.contract for fault in answer.errors}
        accepted = [] if None in failed else [key for key in keys if key[1] not in failed]
        self._settle(change, keys, answer.errors)
        self._held = self._after(change.action, accepted, answer)
        error = change.error() if change.restoring else None
        return [key for key in before if key not in self._held], error

    def _after(
        self, action: Action, accepted: Iterable[Key], answer: ControlData
    ) -> dict[Key, None]:
        if not any(change.restoring for change in self._changes):
            # The gateway's list has a contract once, also if it was named by two spellings or by
            # name and id.
            by_name: list[Key] = [("name", word) for word in answer.contract_names]
            by_id: list[Key] = [("id", word) for word in answer.contract_ids]
            return dict.fromkeys([*by_name, *by_id])
        held = dict(self._held)
        for key in accepted:
            if action is Action.SUBSCRIBE:
                held[key] = None
            else:
                held.pop(key, None)
        return held

    def refused(self, reason: str) -> bool:
        """Handle a handshake that was refused because of an unknown contract.

        If the contract was only being added, its change fails, and the next connection leaves it
        out.

        Returns:
            Whether that was so.
        """
        for change in self._changes:
            if change.action is not Action.SUBSCRIBE or change.restoring:
                continue
            for key in change.left:
                if key not in self._held and is_about(reason, key[1]):
                    self._settle(change, [key], [ControlFault(contract=key[1], error=reason)])
                    return True
        return False

    def _prepare(self, change: Change) -> None:
        self._unsent += [(change, keys) for keys in change.batches()]

    def _settle(
        self, change: Change, keys: Iterable[Key], faults: Sequence[ControlFault] = ()
    ) -> None:
        change.settle(keys, faults)
        if change.done:
            self._changes = [each for each in self._changes if each is not change]


_NOTHING = Change(Action.SUBSCRIBE, (), snapshot=False)


def _contracts(keys: Iterable[Key]) -> Selected:
    keys = tuple(keys)
    return Selected(
        tuple(word for by, word in keys if by == "name"),
        tuple(word for by, word in keys if by == "id"),
    )
