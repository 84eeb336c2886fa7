"""The market under test: the true state of each contract, and the publication of its changes.

Some contracts are published by the publisher's process. The others are on a board that two of the
tests' SignalR hubs push, one for each feed.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from chaos.states import CONTRACTS, LISTED, PUBLISHED, returns, row_of
from ime_live.contracts import Contract
from tests.support.boards import board
from tests.support.signalr.hub import Hub

_TICK: Final = 0.1  # seconds
_TICKS_PER_BOARD: Final = 5
_MOST_CHANGES: Final = 5  # of published contracts per tick
_MOST_CHANGES_PER_BOARD: Final = 8
_RETURN: Final = 0.5  # probability, where a contract may return to the state before
_TEHRAN: Final = ZoneInfo("Asia/Tehran")
_METHOD: Final = "updateFutureMarketsInfo"
_PATH: Final = "Future/LiveMarket"  # of the same board by REST
_RECENT: Final = 5000  # changes that are kept for a report

_IDS: Final = frozenset(contract.contract_id for contract in PUBLISHED)


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class Market:
    """The contracts' true states.

    Attributes:
        numbers: the state's number, by contract.
        moved: when it came into that state, microseconds since the epoch; 0 from the beginning.
        moving: whether states change; the board is pushed in any case.
        hubs: the exchange's hub, once for each feed.
    """

    def __init__(self, seed: str, publish: Callable[[bytes], None]) -> None:
        """Make a market that does not move.

        Args:
            seed: decides the states to come.
            publish: takes lines for the publisher's process.
        """
        self.numbers = {contract.contract_id: 1 for contract in CONTRACTS}
        self.moved = dict.fromkeys(self.numbers, 0)
        self.moving = False
        self.hubs = (Hub(), Hub())
        for hub in self.hubs:
            hub.negotiation = {"KeepAliveTimeout": 4.0, "DisconnectTimeout": 10.0}
            hub.keep_alive = 1.0
        self._random = random.Random(seed)
        self._publish = publish
        self._highest = dict(self.numbers)
        self._recent: deque[tuple[int, str, int]] = deque(maxlen=_RECENT)

    async def run(self) -> None:
        """Change states and push boards until cancelled."""
        ticks = 0
        while True:
            if self.moving:
                self.change(self._random.sample(PUBLISHED, self._random.randint(1, _MOST_CHANGES)))
            if ticks % _TICKS_PER_BOARD == 0:
                if self.moving:
                    count = self._random.randint(0, _MOST_CHANGES_PER_BOARD)
                    self.change(self._random.sample(LISTED, count))
                self._push_board()
            ticks += 1
            await asyncio.sleep(_TICK)

    def change(self, contracts: Iterable[Contract]) -> None:
        """Move contracts to their next states."""
        self.set({c.contract_id: self._next(c.contract_id) for c in contracts})

    def _next(self, contract_id: str) -> int:
        highest = self._highest[contract_id]
        before = highest - 1
        if (
            self.numbers[contract_id] == highest
            and returns(before)
            and self._random.random() < _RETURN
        ):
            return before
        self._highest[contract_id] = highest + 1
        return highest + 1

    def set(self, numbers: Mapping[str, int]) -> None:
        """Set states. The publisher hears of them at once, the feeds with the next board."""
        at = now()
        for contract_id, number in numbers.items():
            if self.numbers[contract_id] != number:
                self.numbers[contract_id], self.moved[contract_id] = number, at
                self._recent.append((at, contract_id, number))
        if published := {i: number for i, number in numbers.items() if i in _IDS}:
            self._publish(json.dumps(published).encode() + b"\n")

    def publish_all(self) -> None:
        """Tell all states to a publisher that was just started."""
        self.set(dict(self.numbers))

    def _push_board(self) -> None:
        at = datetime.now(_TEHRAN)
        rows = [row_of(contract, self.numbers[contract.contract_id], at) for contract in LISTED]
        for hub in self.hubs:
            hub.boards[_PATH] = rows
            hub.push([board(_METHOD, *rows)])

    def excerpt(self, contract_id: str) -> list[str]:
        """The states of a contract for a report, one line per change."""
        return [f"{at} market says {number}" for at, i, number in self._recent if i == contract_id]
