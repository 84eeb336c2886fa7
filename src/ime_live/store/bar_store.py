"""Bars in Redis or Valkey: one key per contract and trading day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from msgspec import Struct

from ime_live.errors import StoreError
from ime_live.store import scripts
from ime_live.store.bar import HEADER, RECORD, Bar, unpack
from ime_live.store.commands import Commands
from ime_live.store.records import is_bad_data


class BarWrite(Struct, frozen=True):
    """Bars to write.

    Attributes:
        contract_id: id of the contract.
        day: the trading day.
        stored: number of bars that the store must have; 0 if it must have no key of that day; None
            to replace all.
        first: index of the first bar to write.
        records: the bars, as `ime_live.store.bar.pack` returns them.
    """

    contract_id: str
    day: date
    stored: int | None
    first: int
    records: bytes


class BarStore(Commands):
    """The stored bars; use as ``async with BarStore(settings)``.

    All async methods raise `StoreError` when Redis cannot be reached or does not answer in time.
    """

    async def read(self, days: Sequence[tuple[str, date]]) -> list[list[Bar]]:
        """Return the bars of each contract id and trading day, in one round trip per thousand.

        A key of another type than string is ignored, and replaced by the next write.
        """
        replies = await self._pipelined([("GET", self.keys.bars(i, day)) for i, day in days])
        bars = []
        for reply in replies:
            if isinstance(reply, Exception) and not is_bad_data(reply):
                raise self.connections.error(reply)
            bars.append(unpack(reply) if isinstance(reply, bytes) else [])
        return bars

    async def write(
        self, writes: Sequence[BarWrite], token: int, keep: int
    ) -> list[bool | StoreError]:
        """Write bars, in one round trip per thousand.

        Args:
            writes: the bars; each key must occur at most once.
            token: fencing token of the writer.
            keep: time after which the keys expire [s].

        Returns:
            One result per item: True if it was written; False if the store does not have the
            expected number of bars, because it has lost bars, or another program has written some.
            FencedError if a newer token was used before.
        """
        calls = [
            (
                self.keys.bars(each.contract_id, each.day),
                str(token),
                _length(each.stored),
                str(HEADER + RECORD * each.first),
                each.records,
                str(keep),
            )
            for each in writes
        ]
        results: list[bool | StoreError] = []
        for reply in await self._run(scripts.WRITE_BARS, calls):
            if isinstance(reply, StoreError):
                results.append(reply)
            elif reply[1] == scripts.FENCED:
                results.append(self._fenced(token, reply[0]))
            else:
                results.append(reply[1] == 1)
        return results


def _length(stored: int | None) -> str:
    if stored is None:
        return ""
    return str(HEADER + RECORD * stored if stored else 0)
