"""Instrument: what it is worth, its allowed range, and its contract on a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.feeds.synthetic.instrument import CALL, OPEN_RANGE, PUT, option_price
from ime_live.feeds.synthetic.instruments import INSTRUMENTS

BY_NAME = {instrument.contract.contract_name: instrument for instrument in INSTRUMENTS}


@given(forward=st.floats(1e3, 1e9), strike=st.floats(1e3, 1e9), deviation=st.floats(0.01, 0.5))
def test_option_is_worth_its_intrinsic_and_some_time_value(
    forward: float, strike: float, deviation: float
) -> None:
    spread = forward * deviation
    call = option_price(CALL, forward, strike, spread)
    put = option_price(PUT, forward, strike, spread)
    slack = 1e-9 * (forward + strike)
    assert call >= max(0.0, forward - strike) - slack
    assert put >= max(0.0, strike - forward) - slack
    assert call - put == pytest.approx(forward - strike, abs=slack)
    assert option_price(CALL, forward * 1.01, strike, spread) >= call - slack
    assert option_price(CALL, forward, strike, spread * 1.1) >= call - slack


def test_contract_that_would_expire_soon_is_put_off_by_whole_years() -> None:
    future = BY_NAME["SAFOR01"]
    assert future.contract.expiration_date == date(2022, 5, 8)
    assert future.contract_on(date(2022, 4, 8)) == future.contract
    assert future.contract_on(date(2022, 4, 9)).expiration_date == date(2023, 5, 8)
    assert future.contract_on(date(2026, 11, 27)).expiration_date == date(2027, 5, 8)
    forever = BY_NAME["ContractA"]
    assert forever.contract_on(date(2099, 1, 1)) is forever.contract


def test_allowed_range_is_rounded_inward_to_the_tick() -> None:
    future = replace(BY_NAME["SAFOR01"], tick=100, price_limit=0.05)
    assert future.allowed_range(100_050) == (95_100, 105_000)  # 95,047.5 and 105,052.5
    assert BY_NAME["KASH05C250"].allowed_range(9_100) == OPEN_RANGE


def test_fair_price_of_a_future_follows_its_underlying() -> None:
    future = replace(BY_NAME["SAFOR01"], factor=1.2)
    assert future.fair_price(1_000) == pytest.approx(1_200)
    call, put = BY_NAME["KASH05C250"], BY_NAME["KASH05P250"]
    for spot in (200_000, 250_000, 300_000):
        gap = call.fair_price(spot) - put.fair_price(spot)
        assert gap == pytest.approx(spot * call.factor - 250_000, abs=1)
