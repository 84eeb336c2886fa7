"""Newest boards: the newest board of each kind, and the changes that a frame makes.

The SignalR hub pushes whole boards, so the newest of a kind replaces all earlier ones. A frame with
several boards has the same effect as these boards one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from ime_live.contracts import Contract
from ime_live.feeds.boards.frame import Board, Frame
from ime_live.feeds.boards.rows import Quote

DELISTED_AFTER: Final = 3
"""Number of consecutive boards without a contract after which it counts as delisted. A single
board may lack it by accident."""


class LateRow(Struct, frozen=True):
    """A row older than an earlier one of its contract.

    Attributes:
        board: method of its board.
        contract_id: id of its contract.
        pushed_at: its timestamp, Tehran's wall clock.
        newest: newest timestamp of the contract.
    """

    board: str
    contract_id: str
    pushed_at: datetime
    newest: datetime

    def __str__(self) -> str:
        return (
            f"{self.board}, contract {self.contract_id}: the row of {self.pushed_at} is older than "
            f"that of {self.newest}"
        )


class FrameChanges(Struct):
    """The changes that a frame makes: the last row of each of its contracts.

    Attributes:
        quotes: quotes by contract id.
        contracts: by contract id, the contracts of these quotes, and those that are delisted now
            because their board no longer has them.
        late: rows older than earlier ones, which do not count.
    """

    quotes: dict[str, Quote] = field(default_factory=dict)
    contracts: dict[str, Contract] = field(default_factory=dict)
    late: list[LateRow] = field(default_factory=list)


class NewestBoards:
    """The newest board of each kind."""

    def __init__(self) -> None:
        self.pushed_at: dict[str, datetime] = {}
        """By contract id, the newest plausible timestamp of its rows."""
        self._boards: dict[str, dict[str, Quote]] = {}
        """By method, in order of arrival, the last board's quotes by contract id."""
        self._contracts: dict[str, Contract] = {}
        """Contracts from the last boards, including delisted ones."""
        self._known: dict[str, Contract] = {}
        """Contracts that were registered from these boards before."""
        self._missing: Counter[str] = Counter()

    def quotes(self) -> dict[str, Quote]:
        """Return the quotes of all newest boards, by contract id."""
        return {i: quote for board in self._boards.values() for i, quote in board.items()}

    def contracts(self) -> dict[str, Contract]:
        """Return the contracts of these quotes, and registered ones that are now delisted."""
        ids = self.quotes().keys() | self._known.keys()
        return {i: contract for i, contract in self._contracts.items() if i in ids}

    def restore(
        self,
        contracts: Iterable[Contract],
        pushed_at: Mapping[str, datetime] | None = None,
        latest: datetime | None = None,
    ) -> None:
        """Use the contracts and timestamps of the store.

        Args:
            contracts: contracts registered from these boards, whose absence can be noticed.
            pushed_at: timestamps of the stored states by contract id. A quote older than the stored
                state is no longer the newest.
            latest: see `take`.
        """
        self._known = {contract.contract_id: contract for contract in contracts}
        for contract_id, stored in (pushed_at or {}).items():
            own = self.pushed_at.get(contract_id)
            if _is_plausible(stored, latest) and (own is None or own < stored):
                self.pushed_at[contract_id] = stored
                for board in self._boards.values():
                    board.pop(contract_id, None)

    def take(self, frame: Frame, latest: datetime | None = None) -> FrameChanges:
        """Take a frame's boards, one after the other.

        Args:
            frame: the frame.
            latest: the exchange's time plus `ime_live.feeds.boards.rows.MAX_AHEAD`. A later
                timestamp is ignored, because it would keep out all rows of its contract until then.
                A row older than the known timestamp of its contract is late and does not count,
                unless that one is ignored. None for recordings, whose rows count in order.
        """
        changes = FrameChanges()
        for board in frame.boards:
            self._take(board, latest, changes)
        return changes

    def _take(self, board: Board, latest: datetime | None, changes: FrameChanges) -> None:
        quotes: dict[str, Quote] = {}
        late: list[LateRow] = []
        for quote, pushed_at in zip(board.quotes, board.pushed_at, strict=True):
            contract_id = quote.contract.contract_id
            newest = self.pushed_at.get(contract_id)
            if pushed_at and newest and pushed_at < newest and _is_plausible(newest, latest):
                late.append(LateRow(board.method, contract_id, pushed_at, newest))
                continue
            if pushed_at and _is_plausible(pushed_at, latest):
                self.pushed_at[contract_id] = pushed_at
            quotes[contract_id] = quote
        changes.late += late
        if not quotes:
            return  # an empty board, as on holidays, does not delist its contracts
        contracts = {i: quote.contract for i, quote in quotes.items()}
        self._contracts |= contracts
        previous = self._boards.pop(board.method, {})
        unreadable = {error.contract_id for error in board.errors}
        # A late board does not show which contracts are listed now. Neither does a board with
        # unreadable rows without an id, which may be of any contract.
        if not late and None not in unreadable:
            listed = quotes.keys() | unreadable
            previous = {i: quote for i, quote in previous.items() if i in listed}
            delisted = self._absent(board.method, listed)
            self._contracts |= delisted
            contracts |= delisted
        self._boards[board.method] = previous | quotes
        changes.quotes |= quotes
        changes.contracts |= contracts

    def _absent(self, method: str, listed: Collection[str | None]) -> dict[str, Contract]:
        """Return the contracts to mark as delisted, because this board no longer has them."""
        delisted = {}
        for contract_id, contract in (self._known | self._contracts).items():
            if contract.board != method:
                continue
            if contract_id in listed:
                self._missing.pop(contract_id, None)
            elif not contract.delisted:
                self._missing[contract_id] += 1
                if self._missing[contract_id] >= DELISTED_AFTER:
                    del self._missing[contract_id]
                    delisted[contract_id] = replace(contract, delisted=True)
        return delisted


def _is_plausible(pushed_at: datetime, latest: datetime | None) -> bool:
    return latest is not None and pushed_at <= latest
