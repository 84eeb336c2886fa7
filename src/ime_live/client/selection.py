"""Selection: the contracts that a program wants, over every break of the connection.

Changes that a program asks for, and the gateway's answers, come in; what a new connection asks for
and the requests to send go out. Nothing is sent here and nothing waits: a `Change` says when it
is done, whatever happens to connections meanwhile.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from msgspec import Struct

from ime_live.client.address import first_fitting
from ime_live.client.message import Key
from ime_live.client.verdict import UNKNOWN_CONTRACT, names
from ime_live.errors import ControlError, ImeLiveError, RefusedError, UnknownContractError
from ime_live.messages import Action, ControlData, ControlFault, ControlRequest

# Of the contracts in a request; the gateway takes 4 KiB in all (--max-client-message).
_MOST_BYTES = 3800


class Selected(Struct, frozen=True):
    """The contracts of a stream, in the words in which they were asked for.

    Attributes:
        contract_names: those that were asked for by name.
        contract_ids: the others, which were asked for by id.
    """

    contract_names: tuple[str, ...]
    contract_ids: tuple[str, ...]


class Change:
    """What a program asks for while its stream runs.

    Attributes:
        action: whether contracts are added or removed.
        left: those of them that no answer has settled yet.
        faults: what was not done.
        done: whether all of it is settled.
        failure: why it was given up, if it was.
        restoring: whether it is the library's own, to ask again for what did not fit into the
            address of a new connection.
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
        """Make one; `Selection.add` takes it.

        Args:
            action: whether to add or to remove.
            keys: which contracts.
            snapshot: of those that are added, send the present states.
            settled: called once, when all of it is.
            restoring: see the class.
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
        """What was not done, as an error; None if all was."""
        if self.failure or not self.faults:
            return self.failure
        text = "; ".join(fault.error for fault in self.faults)
        if any(fault.error.startswith(UNKNOWN_CONTRACT) for fault in self.faults):
            return UnknownContractError(text)
        if any(fault.contract is None for fault in self.faults):
            return ControlError(text)
        return RefusedError(text)

    def settle(self, keys: Iterable[Key], faults: Sequence[ControlFault] = ()) -> None:
        """An answer has come for these contracts."""
        self.faults += faults
        for key in keys:
            self.left.pop(key, None)
        if not self.left and not self.done:
            self.done = True
            self._settled()

    def fail(self, error: ImeLiveError) -> None:
        """Give up what is left."""
        if not self.done:
            self.failure, self.done = error, True
            self._settled()

    def batches(self) -> Iterator[list[Key]]:
        """What is left, in portions that fit into one request."""
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
        """What to send for one portion, now."""
        snapshot = None
        if self.action is Action.SUBSCRIBE:
            # It may have been done before a connection broke: what changed since must come.
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
    """What a new connection begins with.

    Attributes:
        keys: the contracts to ask for in its address; none if no connection is needed.
        gone: contracts that are held no longer.
    """

    keys: Sequence[Key]
    gone: Sequence[Key]


class Selection:
    """What is held by now, what is to change, and what of that has been asked for."""

    def __init__(self, keys: Iterable[Key]) -> None:
        """Begin with these contracts."""
        self._held: dict[Key, None] = dict.fromkeys(keys)
        self._changes: list[Change] = []
        self._asked: dict[int, tuple[Change, list[Key]]] = {}
        self._unsent: deque[tuple[Change, list[Key]]] = deque()
        self._numbers = itertools.count(1)

    @property
    def contracts(self) -> Selected:
        """What is held: what it began with, and each change from its answer on."""
        return _contracts(self._held)

    @property
    def held(self) -> Sequence[Key]:
        """The same, as keys."""
        return tuple(self._held)

    @property
    def unsettled(self) -> bool:
        """Whether an answer is still to come that somebody waits for."""
        return bool(self._changes)

    def add(self, change: Change) -> None:
        """Take a change; `next_request` has what it needs while there is a connection."""
        if not change.left:
            change.settle(())
            return
        self._changes.append(change)
        self._prepare(change)

    def drop(self, change: Change) -> None:
        """Give a change up: nobody waits for it any more. What was sent may still be done."""
        self._changes = [each for each in self._changes if each is not change]
        self._unsent = deque(each for each in self._unsent if each[0] is not change)

    def fail(self, error: ImeLiveError) -> None:
        """No answer will come any more."""
        for change in self._changes:
            change.fail(error)
        self._changes.clear()
        self._unsent.clear()

    def overdue(self, number: str | int | None, error: ImeLiveError) -> ImeLiveError | None:
        """If that request has no answer, give its change up; the error, if it ends the stream.

        The gateway may have done it all the same: an answer that is late still counts.
        """
        if not isinstance(number, int) or number not in self._asked:
            return None
        change, _ = self._asked[number]
        change.fail(error)
        self.drop(change)
        return error if change.restoring else None

    def open(self, *, snapshot: bool = True) -> Opening:
        """A new connection begins. Everything that was not answered is asked for again.

        Args:
            snapshot: of what does not fit into the address, ask for the present states.
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
                # What was received of them before is dropped; what was not has to come.
                restoring = Change(
                    Action.SUBSCRIBE,
                    [key for key in wanted if key in rest],
                    snapshot=snapshot,
                    restoring=True,
                )
                self._changes.insert(0, restoring)
        else:
            # Something has to be in the address; `refused` is told if the gateway knows it not.
            added = (change for change in self._changes if change.action is Action.SUBSCRIBE)
            first = first_fitting(tuple(next(added, _NOTHING).left))
        for change in self._changes:
            self._prepare(change)
        return Opening(first, gone)

    def _leave_out(self, change: Change, wanted: dict[Key, None]) -> list[Key]:
        # What is not asked for need not be removed, and may be gone from the exchange by now.
        gone = [key for key in change.left if key in wanted]
        for key in gone:
            del wanted[key]
            del self._held[key]
        self._settle(change, gone)
        return gone

    def next_request(self) -> ControlRequest | None:
        """The next request to send; None if there is none."""
        if not self._unsent:
            return None
        change, keys = self._unsent.popleft()
        number = next(self._numbers)
        self._asked[number] = change, keys
        return change.request(keys, number)

    def answered(self, answer: ControlData) -> tuple[list[Key], ImeLiveError | None]:
        """Take the gateway's answer: contracts that are gone now, and what ends the stream.

        A contract that was known and is not any more must not be lost in silence: it is an error.
        """
        if not isinstance(answer.id, int) or answer.id not in self._asked:
            return [], None  # nobody waits for it any more
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
            # The gateway's own list: a contract of two spellings, or by name and id, is one there.
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
        """The gateway did not know a contract of the address; whether it was only to be added.

        Then whoever wanted to add it is told, and the next connection does without it.
        """
        for change in self._changes:
            if change.action is not Action.SUBSCRIBE or change.restoring:
                continue
            for key in change.left:
                if key not in self._held and names(reason, key[1]):
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
