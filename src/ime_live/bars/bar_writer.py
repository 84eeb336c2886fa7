"""Bar writer: write the changed trading days of contracts to the store while its process leads.

A standby has the same days but writes nothing. When it becomes the leader, it merges the stored
bars with its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final

from ime_live.bars.contract_bars import ContractBars, TradingDay
from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import FencedError, StoreError
from ime_live.log_limiter import LogLimiter
from ime_live.monitoring.store_writes import StoreWrites
from ime_live.store.bar import RECORD
from ime_live.store.bar_store import BarStore

WRITE_INTERVAL: Final = 1.0
"""Seconds between two writes."""

CONFIRM_INTERVAL: Final = 10.0
"""Seconds within which every contract's last bar is written again, so that a store that has lost
bars is noticed."""

CHUNK: Final = 500
"""Days of contracts that are read at once: about 13 MB at most."""


class BarWriter:
    """Writes the changes since the last write, all or nothing for each contract."""

    def __init__(
        self,
        store: BarStore,
        contracts: Mapping[str, ContractBars],
        *,
        keep: int,
        limited: LogLimiter,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Create a writer without changes.

        Args:
            store: holds the bars.
            contracts: the bars of each contract by its id; the aggregator changes it.
            keep: seconds for which the store keeps bars.
            limited: the log.
            clock: the machine's clock, or that of a recording that is played.
        """
        self._store = store
        self._contracts = contracts
        self._keep = keep
        self._limited = limited
        self._clock = clock
        self._changed: dict[tuple[str, date], TradingDay] = {}
        self._to_confirm: list[str] = []
        self._leads = False
        self._begins = True
        self.changes = 0
        """Number of changes of bars, by trades and corrections."""
        self.written = 0
        """Number of bars that were written, some of them again."""
        self.lost = 0
        """Number of days of a contract whose stored bars differed from the written ones."""
        self.written_at = 0.0
        """When bars were last written, in Unix seconds; 0 for never."""
        self._unwritten_since: float | None = None
        self.writes = StoreWrites(clock)
        """How long writes took, and which failed."""

    @property
    def lag(self) -> float:
        """Seconds since the oldest change that this leader has not written; 0 without one."""
        since = self._unwritten_since
        return 0.0 if since is None else max(0.0, self._clock.time() - since)

    def note(self, day: TradingDay | None) -> None:
        """Schedule a changed day for the next write; None does nothing."""
        if day is not None:
            self.changes += 1
            self._changed[day.contract_id, day.day] = day
            if self._unwritten_since is None and self._leads:
                self._unwritten_since = self._clock.time()

    def begin(self) -> None:
        """Become the leader: merge the stored bars, which another leader may have written."""
        self._leads = self._begins = True

    def stand_by(self) -> None:
        """Stop leading: write nothing, and drop former days, which the new leader writes."""
        self._leads, self._begins = False, True
        self._unwritten_since = None
        for key, day in list(self._changed.items()):
            contract = self._contracts.get(key[0])
            if contract is None or contract.today is not day:
                del self._changed[key]

    async def write(self, token: int) -> None:
        """Write all changes, and confirm some bars that have not changed.

        Args:
            token: fencing token of this leader; see `ime_live.store.lease`.

        Raises:
            FencedError: another process leads.
            StoreError: the store cannot be reached, or has refused a write, which the next call
                repeats.
        """
        if self._begins:
            await self._join(
                [
                    contract.today
                    for contract in self._contracts.values()
                    if contract.today is not None
                ]
            )
            self._begins = False
        await self._write(token)
        self._unwritten_since = self._clock.time() if self._changed else None

    async def _join(self, days: Sequence[TradingDay]) -> None:
        """Merge the stored bars of these days, so that the days can be written as a whole."""
        for start in range(0, len(days), CHUNK):
            part = days[start : start + CHUNK]
            stored = await self._store.read([(day.contract_id, day.day) for day in part])
            for day, bars in zip(part, stored, strict=True):
                day.adopt(bars)
                self.note(day)

    async def _write(self, token: int) -> None:
        due = self._changed | {(d.contract_id, d.day): d for d in self._to_be_confirmed()}
        self._changed = {}
        pairs = [(day, write) for day in due.values() if (write := day.to_write()) is not None]
        if not pairs:
            return
        try:
            with self.writes.measured():
                results = await self._store.write([write for _, write in pairs], token, self._keep)
        except (StoreError, asyncio.CancelledError):  # a stopped program writes once more
            self._changed = due | self._changed
            raise
        lost: list[TradingDay] = []
        failure: StoreError | None = None
        for (day, write), result in zip(pairs, results, strict=True):
            if result is True:
                day.note_written(write)
                self.written += len(write.records) // RECORD
                continue
            self._changed.setdefault((day.contract_id, day.day), day)
            if isinstance(result, StoreError):
                failure = result if not isinstance(failure, FencedError) else failure
            else:
                lost.append(day)
        if lost:
            self.lost += len(lost)
            self._limited.warning(
                "the store has other bars than were written; writing them again",
                key="lost",
                contracts=len(lost),
            )
            await self._join(lost)
        if failure is not None:
            self.writes.count_failure(failure)
            raise failure
        self.written_at = self._clock.time()

    def _to_be_confirmed(self) -> Iterable[TradingDay]:
        if not self._to_confirm:
            self._to_confirm = list(self._contracts)
        share = max(1, round(len(self._contracts) * WRITE_INTERVAL / CONFIRM_INTERVAL))
        ids, self._to_confirm = self._to_confirm[:share], self._to_confirm[share:]
        contracts = (self._contracts[i] for i in ids if i in self._contracts)
        return [contract.today for contract in contracts if contract.today is not None]
