"""Specifications: titles, margins and limits of futures, options and certificates."""

from __future__ import annotations

from datetime import date

from ime_live.contracts import Market
from ime_live.feeds.synthetic.instrument import Underlying
from ime_live.feeds.synthetic.specifications import (
    MONTHS,
    Derivative,
    certificate,
    future,
    options,
)
from tests.support.rows import each_row

COIN = Underlying("سکه طلا", 100_000_000, 0.007, "GC", "سکه طلا")
COINS = Derivative(COIN, size=10, tick=100, initial_margin=20_000_000)


def test_future_has_the_month_of_its_code_and_70_percent_maintenance_margin() -> None:
    instrument = future("GCOR01", "1", COINS, 1.02, 3, 500, "2022-05-08")
    contract = instrument.contract
    assert contract.title == "قرارداد آتی سکه طلا تحویل اردیبهشت ماه 1401"
    assert (contract.market, contract.csize, contract.tick_size) == (Market.FUTURES, 10, 100)
    assert (contract.initial_margin, contract.maintenance_margin) == (20_000_000, 14_000_000)
    assert contract.expiration_date == date(2022, 5, 8)
    assert (contract.underlying_id, instrument.price_limit) == ("GC", 0.05)
    assert future("A", "1", COINS, 1, 3, 500, None).contract.expiration_date is None


def test_strike_has_a_call_and_a_put_without_price_limits() -> None:
    strikes = (("11000", 110_000_000, "1", "2"),)
    call, put = options("GCOR01", COINS, 1.05, 0.1, 20, "2022-05-17", strikes)
    for side, name, contract_id in ((call, "GCOR01C11000", "1"), (put, "GCOR01P11000", "2")):
        contract = side.contract
        assert (contract.contract_name, contract.contract_id) == (name, contract_id)
        assert (contract.market, contract.strike_price) == (Market.OPTION, 110_000_000)
        assert contract.initial_margin == 210_000_000  # a fifth of ten coins at 105 million
        assert contract.required_margin is not None
        assert contract.required_margin > contract.initial_margin
        assert side.price_limit is None
        assert side.is_thin
    assert (call.contract.option_type, put.contract.option_type) == ("call", "put")
    assert call.contract.title == (
        "قرارداد اختیار معامله خرید سکه طلا سررسید اردیبهشت ماه 1401 با قیمت اعمال 110،000،000 ریال"
    )
    assert "اختیار معامله فروش" in (put.contract.title or "")


@each_row("market", [Market.DEPOSIT_CERTIFICATE, Market.FUND, Market.PARALLEL_SALAF])
def test_certificates_funds_and_salaf_trade_alike(market: Market) -> None:
    instrument = certificate("X", "1", "a title", COIN, tick=5, pace=3, order_size=7, market=market)
    contract = instrument.contract
    assert (contract.market, contract.title, contract.tick_size) == (market, "a title", 5)
    assert (contract.expiration_date, contract.csize) == (None, None)
    assert (instrument.price_limit, instrument.open_interest) == (0.05, 0)
    assert not instrument.is_thin


def test_every_month_has_a_code() -> None:
    assert len(MONTHS) == len(set(MONTHS.values())) == 12
    assert all(len(code) == 2 for code in MONTHS)
