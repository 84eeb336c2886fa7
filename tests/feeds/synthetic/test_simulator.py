"""The synthetic market keeps the exchange's rules, for any seed and any clock."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ime_live.contracts import Market, days_left
from ime_live.feeds.synthetic import simulator
from ime_live.feeds.synthetic.instrument import MIN_DAYS
from ime_live.feeds.synthetic.instruments import INSTRUMENTS
from ime_live.feeds.synthetic.simulator import SyntheticMarket
from ime_live.market import Payload
from ime_live.market_json import read_payload
from tests.support.marks import thorough

TEHRAN = ZoneInfo("Asia/Tehran")
EXAMPLES = {"12345", "67890"}
NOON = datetime(2026, 5, 23, 12, tzinfo=TEHRAN)
BEFORE_MIDNIGHT = datetime(2026, 5, 23, 23, 59, 30, tzinfo=TEHRAN)

BY_ID = {instrument.contract.contract_id: instrument for instrument in INSTRUMENTS}
BY_NAME = {instrument.contract.contract_name: instrument for instrument in INSTRUMENTS}

seeds = st.integers(-(2**63), 2**63)
moments = st.builds(
    lambda seconds, zone: datetime.fromtimestamp(seconds, zone),
    # 2022 to 2039, so some with daylight saving, which Iran ended in September 2022.
    st.floats(1_640_000_000, 2_200_000_000),
    st.sampled_from([UTC, TEHRAN]),
)
# Some steps as the demo makes them, some that sleep for hours or days.
gaps = st.one_of(st.floats(0, 2), st.floats(0, 100), st.floats(0, 200_000)).map(
    lambda seconds: timedelta(seconds=seconds)
)


def id_of(name: str) -> str:
    return BY_NAME[name].contract.contract_id


def ticks(start: datetime, seconds: float, step: float = 0.2) -> Iterator[datetime]:
    return (start + timedelta(seconds=step * n) for n in range(1, round(seconds / step) + 1))


def book(payload: Payload) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Bids and asks as (price, quantity), the best first."""
    limit = payload.best_limit
    levels = (limit.first, limit.second, limit.third)
    return (
        [(level.buy_price, level.buy_quantity) for level in levels],
        [(level.sell_price, level.sell_quantity) for level in levels],
    )


def without_time(payload: Payload) -> object:
    aggregate = msgspec.structs.replace(payload.aggregate, date="", time="")
    return msgspec.structs.replace(payload, aggregate=aggregate)


def check_state(contract_id: str, payload: Payload) -> None:
    """The rules that every payload keeps by itself."""
    assert read_payload(payload.to_json()) == payload
    day = payload.aggregate
    allowed = payload.allowed_price_range
    low, high = allowed.min_allowed_price, allowed.max_allowed_price
    sides = [[order for order in side if order != (0, 0)] for side in book(payload)]
    bids, asks = ([price for price, _ in side] for side in sides)

    assert all(quantity > 0 for side in sides for _, quantity in side)
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    # An empty level has no order behind it.
    assert [side[: len(kept)] for side, kept in zip(book(payload), sides, strict=True)] == sides
    assert max(bids, default=low - 1) < min(asks, default=high + 1)

    traded = [day.open_price, day.low_price, day.high_price, day.last_price, day.closing_price]
    if day.trade_count:
        assert low <= day.low_price
        assert day.high_price <= high
        assert all(day.low_price <= price <= day.high_price for price in traded)
        assert day.total_volume >= day.trade_count
    else:
        assert [*traded, day.total_volume, day.total_value] == [0] * 7
    assert all(low <= price <= high for price in bids + asks)
    assert all(price % BY_ID[contract_id].tick == 0 for price in bids + asks + traded)
    assert low <= day.previous_close <= high
    assert payload.contract_info.open_interest >= 0
    numbers = [*msgspec.structs.astuple(day)[2:], *bids, *asks, low, high]
    assert all(type(number) is int for number in numbers)


def check_follows(contract_id: str, before: Payload, after: Payload) -> None:
    """The rules between a contract's payload and its next one."""
    old, new = before.aggregate, after.aggregate
    assert without_time(before) != without_time(after) or old.date != new.date
    opened = before.contract_info.open_interest - before.contract_info.open_interest_changes
    if old.date == new.date:
        trades = new.trade_count - old.trade_count
        volume = new.total_volume - old.total_volume
        assert trades in {0, 1}
        size = BY_ID[contract_id].contract.csize or 1
        assert new.total_value - old.total_value == volume * trades * new.last_price * size
        assert volume >= trades
        assert new.previous_close == old.previous_close
        assert after.allowed_price_range == before.allowed_price_range
        assert new.open_price == (old.open_price if old.trade_count else new.last_price)
        assert new.high_price == max(old.high_price, new.last_price)
        assert new.low_price == min(old.low_price or new.last_price, new.last_price)
    else:
        assert old.date < new.date
        assert new.trade_count in {0, 1}
        assert new.previous_close == (old.closing_price or old.previous_close)
        opened = before.contract_info.open_interest
    assert after.contract_info.open_interest == opened + after.contract_info.open_interest_changes


def check_run(market: SyntheticMarket, clock: Iterator[datetime]) -> Counter[str]:
    """Check a whole run; returns how often each contract changed."""
    last = dict(market.states())
    for contract_id, payload in last.items():
        check_state(contract_id, payload)
    changes: Counter[str] = Counter()
    for now in clock:
        changed = market.step(now)
        timestamp = now.astimezone(TEHRAN).strftime("%Y-%m-%d %H:%M:%S")
        assert len(dict(changed)) == len(changed)
        for contract_id, payload in changed:
            assert f"{payload.aggregate.date} {payload.aggregate.time}" == timestamp
            check_state(contract_id, payload)
            check_follows(contract_id, last[contract_id], payload)
            last[contract_id] = payload
            changes[contract_id] += 1
        assert dict(market.states()) == last
    return changes


@settings(max_examples=settings().max_examples // 2)
@given(seed=seeds, start=moments, steps=st.lists(gaps, max_size=40))
def test_rules_hold_for_any_seed_and_clock(
    seed: int, start: datetime, steps: list[timedelta]
) -> None:
    clock = (start.astimezone(UTC) + sum(steps[: n + 1], timedelta()) for n in range(len(steps)))
    check_run(SyntheticMarket(seed, start), clock)


@pytest.mark.parametrize("seed", [1, thorough(2)])
def test_rules_hold_over_midnight(seed: int) -> None:
    changes = check_run(SyntheticMarket(seed, BEFORE_MIDNIGHT), ticks(BEFORE_MIDNIGHT, 60))
    assert len(changes) == len(INSTRUMENTS)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [4, thorough(5)])
def test_rules_hold_for_days(seed: int) -> None:
    check_run(SyntheticMarket(seed, NOON), ticks(NOON, 3 * 86_400, step=900))


@pytest.mark.thorough
def test_rules_hold_for_hours() -> None:
    check_run(SyntheticMarket(6, NOON), ticks(NOON, 1_800, step=5))


def test_new_day_changes_every_contract_once() -> None:
    market = SyntheticMarket(1, BEFORE_MIDNIGHT)
    midnight = BEFORE_MIDNIGHT + timedelta(seconds=30)
    for now in ticks(BEFORE_MIDNIGHT, 29.8):
        market.step(now)
    assert len(market.step(midnight - timedelta(microseconds=1))) < len(INSTRUMENTS)
    before = dict(market.states())
    opened = dict(market.step(midnight))
    assert opened.keys() == before.keys()
    for contract_id, payload in opened.items():
        assert payload.aggregate.date == "2026-05-24"
        assert payload.aggregate.time == "00:00:00"
        assert payload.aggregate.trade_count in {0, 1}
        limit = BY_ID[contract_id].price_limit
        if limit is not None:
            close = before[contract_id].aggregate.closing_price
            allowed = payload.allowed_price_range
            tick = BY_ID[contract_id].tick
            assert 0 <= allowed.min_allowed_price - close * (1 - limit) < tick + 1e-3
            assert 0 <= close * (1 + limit) - allowed.max_allowed_price < tick + 1e-3
    assert len(market.step(midnight + timedelta(seconds=0.2))) < len(INSTRUMENTS)


@settings(max_examples=5, deadline=None)
@given(seed=seeds, start=moments, others=st.lists(gaps, min_size=5, max_size=20))
def test_same_seed_and_clock_make_the_same_market(
    seed: int, start: datetime, others: list[timedelta]
) -> None:
    # The same moments in another zone are the same clock.
    zone = timezone(timedelta(hours=-7))
    one = SyntheticMarket(seed, start)
    two = SyntheticMarket(seed, start.astimezone(zone))
    assert one.states() == two.states()
    now = start.astimezone(UTC)
    for gap in others:
        now += gap
        assert one.step(now) == two.step(now.astimezone(zone))


@pytest.mark.thorough
@settings(max_examples=4, deadline=None)
@given(seed=seeds.filter(bool))
def test_another_seed_makes_another_market(seed: int) -> None:
    # Random(n) and Random(-n) are the same; markets are not.
    for other in (-seed, seed + 1):
        assert SyntheticMarket(seed, NOON).states() != SyntheticMarket(other, NOON).states()


def test_simulator_changes_many_contracts() -> None:
    market = SyntheticMarket(1, NOON)
    last = dict(market.states())
    changes: Counter[str] = Counter()
    trades: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    moved: set[str] = set()
    for n, now in enumerate(ticks(NOON, 300)):
        if n % 5 == 0:
            moved.clear()
        for contract_id, payload in market.step(now):
            changes[contract_id] += 1
            before = last[contract_id].aggregate.trade_count
            trades[contract_id] += int(payload.aggregate.trade_count - before)
            moved.add(contract_id)
            last[contract_id] = payload
        if n % 5 == 4:
            seconds.update(moved)
    assert 10 <= changes.total() / 300 <= 30
    assert 2 * trades.total() < changes.total()
    for name in ("ContractA", "ContractB"):
        assert seconds[id_of(name)] > 280
    assert all(changes[contract_id] for contract_id in BY_ID)
    assert changes[id_of("SAFOR01")] > 10 * changes[id_of("SFOR01C34")]


@pytest.mark.thorough
def test_options_alone_have_gaps_in_their_book() -> None:
    market = SyntheticMarket(1, NOON)
    empty: Counter[str] = Counter()
    for now in ticks(NOON, 1_200, step=2):
        for contract_id, payload in market.step(now):
            bids, asks = book(payload)
            empty[contract_id] += (0, 0) in bids + asks
    options = {i for i, instrument in BY_ID.items() if instrument.contract.market is Market.OPTION}
    assert set(+empty) <= options
    assert len(+empty) > len(options) / 2


@pytest.mark.thorough
def test_order_book_at_a_price_limit_has_one_empty_side(monkeypatch: pytest.MonkeyPatch) -> None:
    # With the usual limits the market hardly ever gets there.
    narrow = tuple(
        replace(instrument, price_limit=instrument.price_limit and 0.005, factor=1.0)
        for instrument in INSTRUMENTS
    )
    monkeypatch.setattr(simulator, "INSTRUMENTS", narrow)
    market = SyntheticMarket(1, NOON)
    check_run(market, ticks(NOON, 86_400, step=1_800))
    one_sided: set[str] = set()
    for now in ticks(NOON + timedelta(days=1), 3_600, step=20):
        for contract_id, payload in market.step(now):
            bids, asks = book(payload)
            if (bids[0] == (0, 0)) != (asks[0] == (0, 0)):
                one_sided.add(contract_id)
    assert one_sided & {id_of(name) for name in ("ContractA", "SAFOR01", "GB30AZ05", "GoldBar")}


def test_open_interest_is_never_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    few = tuple(replace(instrument, open_interest=1) for instrument in INSTRUMENTS)
    monkeypatch.setattr(simulator, "INSTRUMENTS", few)
    check_run(SyntheticMarket(1, NOON), ticks(NOON, 6_000, step=60))


def test_options_follow_their_underlying() -> None:
    # The future and the options of this month have one forward: call - put = future - strike.
    market = SyntheticMarket(1, NOON)
    names = ("KASH05C250", "KASH05P250", "KBAZ05")
    gaps_seen = []
    for now in ticks(NOON, 8 * 3_600, step=120):
        market.step(now)
        states = dict(market.states())
        best = [[side[0][0] for side in book(states[id_of(name)])] for name in names]
        if all(price for pair in best for price in pair):
            call, put, future = (sum(pair) / 2 for pair in best)
            gaps_seen.append((call - put) - (future - 250_000))
    assert len(gaps_seen) > 150
    assert abs(sum(gaps_seen) / len(gaps_seen)) < 500
    assert max(map(abs, gaps_seen)) < 4_000


@settings(deadline=None)
@given(start=moments)
def test_contracts_of_the_synthetic_market_never_expire(start: datetime) -> None:
    market = SyntheticMarket(1, start)
    today = start.astimezone(TEHRAN).date()
    for contract in market.contracts:
        left = days_left(contract.expiration_date, today)
        assert left is None or left >= MIN_DAYS
        assert (left is None) == (
            contract.market not in {Market.FUTURES, Market.OPTION}
            or contract.contract_id in EXAMPLES
        )


@pytest.mark.thorough
def test_contract_that_would_expire_is_put_off_on_a_new_day() -> None:
    market = SyntheticMarket(1, NOON)
    before = market.contracts
    market.step(NOON + timedelta(seconds=1))
    assert market.contracts is before
    days = [NOON + timedelta(days=n) for n in range(1, 400)]
    for now in days:
        market.step(now)
        lefts = [days_left(c.expiration_date, now.date()) for c in market.contracts]
        assert min(left for left in lefts if left is not None) >= MIN_DAYS
    assert market.contracts != before
    assert [c.contract_id for c in market.contracts] == [c.contract_id for c in before]


def test_states_are_of_every_contract_at_the_start() -> None:
    market = SyntheticMarket(1, datetime(2026, 5, 23, 20, 30, tzinfo=UTC))
    states = dict(market.states())
    assert list(states) == [contract.contract_id for contract in market.contracts]
    assert {p.aggregate.date for p in states.values()} == {"2026-05-24"}
    assert {p.aggregate.time for p in states.values()} == {"00:00:00"}
    assert states["12345"].aggregate.trade_count > 0


def test_clock_set_back_does_not_stop_the_feed() -> None:
    market = SyntheticMarket(1, NOON)
    check_run(market, ticks(NOON, 10))
    earlier = NOON - timedelta(hours=1)
    changes = check_run(market, ticks(earlier, 10))
    assert changes[id_of("ContractA")] >= 8


def test_time_without_offset_is_refused() -> None:
    naive = datetime(2026, 5, 23, 12)  # noqa: DTZ001 - this is what is refused
    with pytest.raises(ValueError, match="must have an offset"):
        SyntheticMarket(1, naive)
    with pytest.raises(ValueError, match="must have an offset"):
        SyntheticMarket(1, NOON).step(naive)


def test_step_of_the_market_costs_little() -> None:
    market = SyntheticMarket(1, NOON)
    clock = list(ticks(NOON, 200))
    began = time.process_time()
    for now in clock:
        market.step(now)
    # About 0.1 ms; the bound is for slow machines.
    assert (time.process_time() - began) / len(clock) < 0.002
