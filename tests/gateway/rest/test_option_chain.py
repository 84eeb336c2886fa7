"""Option chains: which options are side by side, and in which order."""

from __future__ import annotations

from datetime import date
from itertools import permutations

import pytest

from ime_live.contracts import Contract, Market
from ime_live.errors import PayloadError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.rest.option_chain import StrikePair, chain_data, options_of, pairs_of
from ime_live.registry import Registry

EARLY, LATE = date(2027, 1, 5), date(2027, 6, 5)
ANYONE = Identity("anonymous", None, None)


def option(
    contract_id: str,
    side: str | None,
    strike: float | None,
    day: date | None = EARLY,
    code: str = "GC",
) -> Contract:
    return Contract(
        contract_id=contract_id,
        contract_name=f"name {contract_id}",
        market=Market.OPTION,
        option_type=side,
        strike_price=strike,
        expiration_date=day,
        underlying_id=code,
    )


def ids(pairs: list[StrikePair]) -> list[tuple[str | None, str | None]]:
    return [
        (
            None if each.call is None else each.call.contract_id,
            None if each.put is None else each.put.contract_id,
        )
        for each in pairs
    ]


def test_pairs_are_in_the_order_of_expirations_and_strikes() -> None:
    options = [
        option("1", "put", 110, LATE),
        option("2", "call", 110.5),
        option("3", "put", 110),
        option("4", "call", 110),
        option("5", "call", 90, None),
        option("6", "call", None),
    ]
    expected = [("4", "3"), ("2", None), ("6", None), (None, "1"), ("5", None)]
    for order in permutations(options):
        assert ids(pairs_of(order)) == expected


def test_second_option_of_a_strike_makes_a_second_pair() -> None:
    options = [option(str(n), "call", 90) for n in (1, 2)] + [option("3", "put", 90)]
    assert ids(pairs_of(options)) == [("1", "3"), ("2", None)]


def test_options_of_other_underlyings_make_pairs_of_their_own() -> None:
    options = [option("1", "call", 90, code="GoldBar"), option("2", "put", 90, code="CDC")]
    assert ids(pairs_of(options)) == [(None, "2"), ("1", None)]


def test_chain_leaves_out_all_but_listed_options() -> None:
    future = Contract(contract_id="1", contract_name="F", market=Market.FUTURES, underlying_id="GC")
    registry = Registry([future, option("2", None, 90), option("3", "put", 90)])
    assert [each.contract_id for each in options_of(registry, ANYONE, "GC", None)] == ["3"]
    assert options_of(registry, ANYONE, "GC", LATE) == []


def test_empty_pair_has_no_contract() -> None:
    with pytest.raises(ValueError, match="got neither"):
        _ = StrikePair().either


def test_unreadable_state_is_named() -> None:
    data = chain_data(pairs_of([option("1", "call", 90)]), {"1": PayloadError("bad")}, EARLY)
    assert data.unreadable == ("name 1",)
    assert not data.is_complete
    assert b'"Aggregate":null' in data.json
    assert chain_data([], {}, EARLY).json == b"[]"
