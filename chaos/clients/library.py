"""A program with the client library."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import ime_live
from chaos.clients.client import BY_NAME, TRY_LATER, ZONE, Client
from chaos.market import now
from chaos.states import NAMES
from ime_live.market import version_of

_POLL_INTERVAL: Final = 0.1
_QUEUES: Final[Sequence[ime_live.QueueName]] = ("latest", "drop_oldest", "block")


class LibraryClient(Client):
    """A program with the client library, which reconnects through the balancer."""

    async def _connect(self, gateway: str) -> str:
        contracts = self.checker.options.contracts
        half = len(contracts) // 2
        self.checker.opened(now(), "the balancer")
        try:
            await self._stream(contracts[:half], contracts[half:])
        except ime_live.ImeLiveError as error:
            return repr(error)
        return "the stream has ended"

    def _excused(self, gateway: str) -> bool:
        return False  # the library must survive everything

    async def _stream(self, by_name: Sequence[str], by_id: Sequence[str]) -> None:
        async with ime_live.connect(
            f"http://127.0.0.1:{self._frontend.balancer}",
            [NAMES[i] for i in by_name],
            by_id,
            queue=self._random.choice(_QUEUES),
            status=True,
            proxy=None,
            max_reconnect_delay=1.0,
            on_connection=self._count_refusals,
        ) as stream:
            watching = asyncio.create_task(self._watch(stream))
            try:
                async for message in stream:
                    data = message.to_dict()["data"]
                    contract_id = message.contract_id or BY_NAME[message.contract_name or ""]
                    version = version_of(message.timestamp_text, ZONE)
                    self.checker.state(now(), contract_id, version, data)
            finally:
                watching.cancel()

    def _count_refusals(self, event: ime_live.ConnectionEvent) -> None:
        if any(str(code) in event.reason for code in TRY_LATER):
            self._frontend.refused += 1

    async def _watch(self, stream: ime_live.Stream[ime_live.Payload]) -> None:
        before: ime_live.Status | None = None
        while True:
            status = stream.status
            if status is not None and status is not before:
                named = {
                    BY_NAME.get(key, key): None if at is None else _microseconds(at)
                    for key, at in status.contracts.items()
                }
                # It may be from before the contracts by id were added, and what it names may still
                # be in the queue.
                whole = named.keys() == set(self.checker.options.contracts)
                if whole and all(at is None or self._holds(i, at) for i, at in named.items()):
                    before = status
                    said = _microseconds(status.timestamp)
                    self.checker.status(now(), said, named, current=status.current)
            await asyncio.sleep(_POLL_INTERVAL)

    def _holds(self, contract_id: str, version: int) -> bool:
        held = self.checker.held.get(contract_id)
        return held is not None and held.version >= version


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e6)
