"""Commands: encode a change of a stream's contracts as messages, and limit their rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from ime_live.client.protocol.close_reason import UNKNOWN_CONTRACT
from ime_live.client.protocol.message import Selector
from ime_live.errors import ControlError, ImeLiveError, RefusedError, UnknownContractError
from ime_live.messages import Action, ContractFilter, ControlFault, ControlRequest
from ime_live.rate import Rate

COMMAND_RATE: Final = Rate(8.0)
"""Commands per second; the gateway allows ten on average (``--client-rate``)."""

# Bytes of the contracts in a command; the gateway accepts 4 KiB in all (--max-client-message).
_MAX_BYTES = 3800


class Change:
    """A change of the selection, by the program or by the library.

    Attributes:
        action: whether contracts are added or removed.
        unanswered: contracts without an answer yet.
        faults: parts of the change that were refused.
        done: whether all contracts have an answer.
        failure: why it was given up; None if it was not.
        restoring: whether it is the library's own, for contracts that did not fit into the URL of
            a new connection.
    """

    def __init__(
        self,
        action: Action,
        keys: Iterable[Selector],
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
        self.unanswered: dict[Selector, None] = dict.fromkeys(keys)
        self.faults: list[ControlFault] = []
        self.restoring = restoring
        self.done = False
        self.failure: ImeLiveError | None = None
        self._snapshot = snapshot
        self._settled = settled
        self._requested: set[Selector] = set()

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

    def settle(self, keys: Iterable[Selector], faults: Sequence[ControlFault] = ()) -> None:
        """Note the answer for these contracts."""
        self.faults += faults
        for key in keys:
            self.unanswered.pop(key, None)
        if not self.unanswered and not self.done:
            self.done = True
            self._settled()

    def fail(self, error: ImeLiveError) -> None:
        """Give up the contracts that have no answer."""
        if not self.done:
            self.failure, self.done = error, True
            self._settled()

    def batches(self) -> Iterator[list[Selector]]:
        """Return the contracts without an answer, in portions that fit into one command.

        A filter is a portion of its own.
        """
        batch: list[Selector] = []
        size = 0
        for key in self.unanswered:
            if isinstance(key, ContractFilter):
                yield [key]
                continue
            cost = len(msgspec.json.encode(key[1])) + 1  # and a comma
            if batch and size + cost > _MAX_BYTES:
                yield batch
                batch, size = [], 0
            batch.append(key)
            size += cost
        if batch:
            yield batch

    def request(self, keys: Sequence[Selector], number: int) -> ControlRequest:
        """Return the command for one portion."""
        snapshot = None
        if self.action is Action.SUBSCRIBE:
            # A lost connection may have carried it out; then later changes must be sent again.
            snapshot = self._snapshot or not self._requested.isdisjoint(keys)
            self._requested.update(keys)
        first = keys[0]
        if isinstance(first, ContractFilter):
            return ControlRequest(
                action=self.action,
                contract_names=first.patterns if first.by == "name" else (),
                contract_ids=first.patterns if first.by == "id" else (),
                market=first.markets,
                underlying=first.underlyings,
                by=first.by,
                snapshot=snapshot,
                id=number,
            )
        named = [key for key in keys if not isinstance(key, ContractFilter)]
        return ControlRequest(
            action=self.action,
            contract_names=tuple(word for by, word in named if by == "name"),
            contract_ids=tuple(word for by, word in named if by == "id"),
            snapshot=snapshot,
            id=number,
        )
