"""Instruments: the contracts of the synthetic market can be registered, and options have chains."""

from __future__ import annotations

from ime_live.contracts import Market, read_contract
from ime_live.feeds.boards.underlyings import UNDERLYINGS
from ime_live.feeds.synthetic.instrument import CALL, PUT
from ime_live.feeds.synthetic.instruments import INSTRUMENTS
from ime_live.registry import Registry


def test_contracts_of_the_synthetic_market_can_be_registered() -> None:
    contracts = [each.contract for each in INSTRUMENTS]
    registry = Registry(contracts)
    assert len(registry) == len(contracts) >= 42
    assert [(c.contract_name, c.contract_id) for c in contracts[:2]] == [
        ("ContractA", "12345"),
        ("ContractB", "67890"),
    ]
    assert {c.market for c in contracts} == set(Market)
    assert registry.by_name("سکه۰۳۱۲پ۰۱").market is Market.DEPOSIT_CERTIFICATE
    assert registry.by_name("CD1GOB0001").contract_name == "GoldBar"
    for contract in contracts:
        assert contract.title
        assert contract.contract_id.isdigit()
        assert read_contract(contract.to_json()) == contract
        if contract.market is Market.OPTION:
            assert contract.option_type in {CALL, PUT}
            assert contract.strike_price
            assert (contract.option_type == CALL) == ("C" in contract.contract_name[6:])
        if contract.market in {Market.FUTURES, Market.OPTION}:
            assert contract.csize


def test_options_have_an_underlying_that_trades() -> None:
    options = [each for each in INSTRUMENTS if each.contract.market is Market.OPTION]
    assert options
    for each in options:
        option = each.contract
        assert option.underlying_id
        assert option.underlying_name == UNDERLYINGS[option.underlying_id]
        assert option.underlying_title
        # One of the contracts that cost what the underlying does; the strikes are around it.
        [spot] = [
            other
            for other in INSTRUMENTS
            if other.underlying is each.underlying
            and other.contract.market in {Market.DEPOSIT_CERTIFICATE, Market.FUND}
        ]
        price = spot.fair_price(spot.underlying.price)
        assert 0.75 < price / (option.strike_price or 0) < 1.25


def test_market_has_a_whole_option_chain() -> None:
    registry = Registry(each.contract for each in INSTRUMENTS)
    for underlying, name in (("GC", "سكه طلا"), ("KA", "کهربا")):
        chain = [c for c in registry.of_underlying(underlying) if c.market is Market.OPTION]
        assert chain == [c for c in registry.of_underlying(name) if c.market is Market.OPTION]
        sides = {(c.expiration_date, c.strike_price, c.option_type) for c in chain}
        assert len(sides) == len(chain)
        assert {(day, strike) for day, strike, _ in sides} == {
            (day, strike) for day, strike, side in sides if side == CALL
        }
    expirations = {c.expiration_date for c in registry.of_underlying("KA") if c.strike_price}
    assert len(expirations) == 2
