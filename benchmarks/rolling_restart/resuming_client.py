"""A program with the client library, and the states that it misses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import pairwise
from ssl import SSLContext
from typing import Final

import ime_live
from ime_live.market import version_of
from ime_live.timezones import TEHRAN, zone_of

_ZONE: Final = zone_of(TEHRAN)


class ResumingClient:
    """A program with the client library, and what it has received.

    Attributes:
        contracts: names of its contracts.
        received: versions of each contract in the order of their arrival.
        lost: times at which a connection ended, on the monotonic clock.
        made: times at which one was made, the first one included.
    """

    def __init__(self, contracts: Sequence[str]) -> None:
        """Take its contracts; `run` connects."""
        self.contracts = contracts
        self.received: dict[str, list[int]] = {name: [] for name in contracts}
        self.lost: list[float] = []
        self.made: list[float] = []
        self.began = asyncio.Event()

    async def run(self, url: str, ssl: SSLContext | None) -> None:
        """Receive until cancelled."""
        async with ime_live.connect(
            url,
            self.contracts,
            queue="block",
            proxy=None,
            ssl=ssl,
            compression=False,
            on_connection=self._note,
        ) as stream:
            async for message in stream:
                version = version_of(message.timestamp_text, _ZONE)
                self.received[message.contract_name or ""].append(version)
                self.began.set()

    def _note(self, event: ime_live.ConnectionEvent) -> None:
        if event.connected:
            self.made.append(time.monotonic())
        elif len(self.lost) < len(self.made):  # else an attempt has failed
            self.lost.append(time.monotonic())

    def faults(self, published: dict[str, list[int]]) -> tuple[int, int]:
        """Return how many states it has missed, and how many came twice or out of order."""
        missed = disordered = 0
        for name, received in self.received.items():
            first = received[0] if received else 0
            missed += len({each for each in published[name] if each >= first} - {*received})
            disordered += sum(later <= one for one, later in pairwise(received))
        return missed, disordered

    @property
    def gaps(self) -> list[float]:
        """Seconds without a connection, each time."""
        return [made - lost for lost, made in zip(self.lost, self.made[1:], strict=False)]
