"""Bar writer: changes are written once, again after a fault, and joined with stored ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from ime_live.bars.bar_writer import BarWriter
from ime_live.bars.contract_bars import ContractBars, TradingDay
from ime_live.errors import FencedError, StoreError
from ime_live.log_limiter import LogLimiter
from ime_live.store.bar import HEADER, RECORD, Bar, unpack
from ime_live.store.bar_store import BarWrite
from tests.support.clock import FakeClock

DAY = date(2026, 11, 28)
KEEP = 864_000


def bar(minute: int, price: float = 1, trades: float = 1) -> Bar:
    return Bar(minute, price, price, price, price, trades, trades * price, trades, 0, 0, 0)


class Store:
    """Keeps bars as the real one does, and fails as it is told."""

    def __init__(self) -> None:
        self.bars: dict[tuple[str, date], list[Bar]] = {}
        self.fault: StoreError | None = None
        self.writes: list[tuple[BarWrite, int, int]] = []

    async def read(self, days: Sequence[tuple[str, date]]) -> list[list[Bar]]:
        return [self.bars.get(each, []) for each in days]

    async def write(
        self, writes: Sequence[BarWrite], token: int, keep: int
    ) -> list[bool | StoreError]:
        if isinstance(self.fault, FencedError):
            return [self.fault for _ in writes]
        if self.fault is not None:
            raise self.fault
        return [self.put(each, token, keep) for each in writes]

    def put(self, write: BarWrite, token: int, keep: int) -> bool:
        key = (write.contract_id, write.day)
        held = self.bars.get(key, [])
        if write.stored is not None and len(held) != write.stored:
            return False
        self.writes.append((write, token, keep))
        self.bars[key] = held[: write.first] + unpack(bytes(HEADER) + write.records)
        return True


class World:
    """A writer, its store, and one contract."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Store()
        self.contract = ContractBars("1")
        store: Any = self.store
        contracts = {"1": self.contract}
        limited = LogLimiter(structlog.get_logger(), clock=self.clock)
        self.writer = BarWriter(store, contracts, keep=KEEP, limited=limited, clock=self.clock)

    @property
    def stored(self) -> list[Bar]:
        return self.store.bars.get(("1", DAY), [])

    def trade(self, *bars: Bar) -> TradingDay:
        """Bars of the contract change."""
        day = self.contract.today = self.contract.today or TradingDay("1", DAY)
        for each in bars:
            day.begin(each)
            self.writer.note(day)
        return day


@pytest.fixture
def world() -> World:
    made = World()
    made.trade(bar(1))
    made.writer.begin()
    return made


async def test_changes_are_written_with_the_token_once(world: World) -> None:
    world.trade(bar(2), bar(3))
    await world.writer.write(7)
    assert world.stored == [bar(1), bar(2), bar(3)]
    [(_, token, keep)] = world.store.writes
    assert (token, keep) == (7, KEEP)
    assert (world.writer.lag, world.writer.written_at) == (0, world.clock.now)


async def test_later_write_has_the_last_stored_bar_and_new_ones_only(world: World) -> None:
    world.trade(bar(2), bar(3))
    await world.writer.write(7)
    world.trade(bar(4))
    await world.writer.write(7)
    assert world.stored == [bar(n) for n in (1, 2, 3, 4)]
    assert len(world.store.writes[-1][0].records) == 2 * RECORD


async def test_stored_bars_of_another_leader_are_joined_first(world: World) -> None:
    world.store.bars["1", DAY] = [bar(0, 5), bar(1, 5, trades=9)]
    await world.writer.write(7)
    assert world.stored == [bar(0, 5), bar(1, 5, trades=9)]


async def test_write_that_failed_is_made_again(world: World) -> None:
    world.store.fault = StoreError("away")
    with pytest.raises(StoreError):
        await world.writer.write(7)
    world.clock.now += 5
    assert world.writer.writes.failures == {"not_leading": 0, "store": 1}
    world.store.fault = None
    await world.writer.write(7)
    assert world.stored == [bar(1)]
    assert world.writer.lag == 0


async def test_refused_write_is_an_error_and_not_lost(world: World) -> None:
    world.store.fault = FencedError("another leads", token=9)
    with pytest.raises(FencedError):
        await world.writer.write(7)
    assert world.writer.writes.failures == {"not_leading": 1, "store": 0}
    world.store.fault = None
    await world.writer.write(10)
    assert world.stored == [bar(1)]


async def test_store_that_lost_bars_gets_all_of_them_again(world: World) -> None:
    world.trade(bar(2))
    await world.writer.write(7)
    world.store.bars.clear()
    world.trade(bar(3))
    with capture_logs() as logs:
        await world.writer.write(7)
        await world.writer.write(7)
    assert world.stored == [bar(1), bar(2), bar(3)]
    assert world.writer.lost == 1
    assert [line["contracts"] for line in logs] == [1]


async def test_unchanged_bars_are_confirmed_in_turn(world: World) -> None:
    await world.writer.write(7)
    world.store.bars.clear()  # the server was emptied, and no trade follows
    for _ in range(10):
        await world.writer.write(7)
    assert world.stored == [bar(1)]


async def test_lag_is_the_age_of_the_oldest_unwritten_change(world: World) -> None:
    await world.writer.write(7)
    world.trade(bar(2))
    world.clock.now += 3
    world.trade(bar(3))
    assert world.writer.lag == 3
    world.writer.stand_by()
    assert world.writer.lag == 0


async def test_standby_drops_former_days_and_keeps_the_present_one(world: World) -> None:
    former = TradingDay("1", date(2026, 11, 27))
    former.begin(bar(5))
    world.writer.note(former)
    world.writer.stand_by()
    world.writer.begin()
    await world.writer.write(8)
    assert list(world.store.bars) == [("1", DAY)]
