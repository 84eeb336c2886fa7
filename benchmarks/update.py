"""One update: what it costs a gateway from Redis's bytes to frames, without the sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

from benchmarks.publications import data_of
from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import PayloadError, StoreError
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.hub.hub import Hub
from ime_live.gateway.hub.state_table import StateTable
from ime_live.gateway.metrics import Metrics
from ime_live.gateway.upstream.reconciler import Reconciler
from ime_live.gateway.upstream.upstream import Upstream
from ime_live.settings import GatewaySettings
from ime_live.store.records import LastState, Lifted

_UPDATES: Final = 5_000
_ROUNDS: Final = 5


class _Store:
    """Channels, and comparisons with a store that reports no difference."""

    connected = True
    refusal = None
    refused: Final[Mapping[str, str]] = {}

    async def subscribe(self, ids: object, /) -> bool:
        return True

    def unsubscribe(self, ids: object, /) -> None:
        pass

    async def states(self, ids: object, /) -> dict[str, LastState | PayloadError]:
        return {}

    async def in_present_history(self, histories: object, /) -> set[str]:
        return set()

    async def lift(self, lifts: object, /) -> list[Lifted | StoreError]:
        return []


class _Writer:
    """A client that costs nothing."""

    descriptor = -1

    def keep(self, rest: bytes, /) -> None:
        pass


async def _measure() -> float:
    metrics = Metrics()
    flushes: list[object] = []
    states = StateTable(
        zone=ZoneInfo(GatewaySettings.timezone),
        clock=SYSTEM_CLOCK,
        events=metrics,
    )
    hub = Hub(
        states,
        send=lambda batches: (),
        clock=SYSTEM_CLOCK,
        call_soon=flushes.append,
        call_later=lambda delay, callback: None,
        events=metrics,
    )
    store = _Store()
    upstream = Upstream(
        states,
        store,
        Reconciler(states, store, caught_up=lambda: asyncio.sleep(0)),
        on_malformed=metrics.count_malformed,
        on_received=metrics.count_received,
    )
    await upstream.acquire(["1"])
    hub.join({"1": ContractRef.of(By.NAME, "B0001")}, _Writer())
    messages = [b'{"data":' + data_of(100_000 + n) + b"}" for n in range(_UPDATES)]
    begin = time.process_time()
    for message in messages:
        upstream.on_message("1", message)
        hub.flush()
    return (time.process_time() - begin) / _UPDATES * 1e6


def measure_updates() -> list[float]:
    """Microseconds of CPU to parse, check, compare and encode one update, in a few rounds."""
    return [asyncio.run(_measure()) for _ in range(_ROUNDS)]
