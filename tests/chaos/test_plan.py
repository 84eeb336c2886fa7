"""Plans repeat by their seed, and the market's states are as documented."""

from __future__ import annotations

import itertools

from chaos.__main__ import arguments_of, line_of
from chaos.fault import FAULTS
from chaos.invariants import Invariant, Violation
from chaos.market import Market
from chaos.outcome import START, Outcome
from chaos.plan import Plan
from chaos.states import LISTED, PUBLISHED, number_in, payload_of, returns
from chaos.stores import STORES
from tests.support.rows import each_row


def names(plan: Plan) -> list[tuple[int, str]]:
    return [(number, fault.name) for number, fault in plan.schedule()]


@each_row("store", STORES)
def test_each_kind_of_fault_comes_once_before_any_comes_again(store: str) -> None:
    table = {fault.name for fault in FAULTS if store in fault.stores}
    found = names(Plan(1, store, 2 * len(table)))
    assert [number for number, _ in found] == list(range(1, 2 * len(table) + 1))
    first, second = found[: len(table)], found[len(table) :]
    assert {name for _, name in first} == {name for _, name in second} == table
    assert [name for _, name in first] != [name for _, name in second]


def test_seed_repeats_a_plan_or_a_part_of_it() -> None:
    whole = names(Plan(7, "single", 40))
    assert names(Plan(7, "single", 40)) == whole
    assert names(Plan(7, "single", 3, first=21)) == whole[20:23]
    assert names(Plan(8, "single", 40)) != whole
    assert {name for _, name in names(Plan(7, "cluster", 9, only="Cluster"))} == {
        name for name in (fault.name for fault in FAULTS) if "cluster" in name
    }


def test_plan_contains_every_kind_of_fault() -> None:
    assert {fault.name for fault in FAULTS} >= {
        "store killed, back empty",
        "store killed, back with its data",
        "store killed, back with older data",
        "store frozen",
        "links half-open",
        "links reset",
        "links refused",
        "store out of memory",
        "FLUSHALL",
        "CLIENT KILL",
        "output buffer limit",
        "SCRIPT FLUSH",
        "gateway killed",
        "gateway stopped",
        "gateway paused",
        "publisher killed",
        "leading feed paused",
        "leading feed stalled",
        "log closed",
        "log not read",
        "Sentinel failover",
        "cluster takeover",
        "slot moved",
    }


def test_outcome_shows_how_to_repeat_it() -> None:
    found = (Violation(Invariant.NEWEST, "plain 1", "1", "nothing"),)
    outcome = Outcome(store="single", number=13, fault="FLUSHALL", violations=found)
    assert line_of(outcome).endswith("FLUSHALL (): no convergence, 1 violations")
    arguments = arguments_of(Plan(7, "single", 40), outcome)
    assert arguments == "--seed 7 --topology single --first 13 --faults 1"
    arguments = arguments_of(Plan(7, "single", 40, only="FLUSH", clients=9), outcome)
    assert arguments.endswith('--first 13 --faults 1 --only "FLUSH" --clients 9')


def test_start_shows_how_to_repeat_it_without_a_fault() -> None:
    outcome = Outcome(store="single", number=13, fault=START, seconds=1.0, injected=False)
    assert line_of(outcome) == "single  13 start (): 1.00 s"
    arguments = arguments_of(Plan(7, "single", 40), outcome)
    assert arguments == "--seed 7 --topology single --first 13 --faults 0"
    assert list(Plan(7, "single", 0, first=13).schedule()) == []


def test_outcome_reports_refusals_and_its_own_lag() -> None:
    outcome = Outcome(store="single", number=1, fault="FLUSHALL", seconds=1.0, refused=3, lag=0.7)
    assert line_of(outcome).endswith("(): 1.00 s, 3 refused, run blocked for 0.7 s")


def test_numbers_of_states_grow_except_where_they_may_return() -> None:
    lines: list[bytes] = []
    market = Market("1", lines.append)
    seen = {contract.contract_id: [1] for contract in PUBLISHED + LISTED}
    for _ in range(300):
        market.change(PUBLISHED)
        market.change(LISTED)
        for contract_id, numbers in seen.items():
            numbers.append(market.numbers[contract_id])
    back = 0
    for numbers in seen.values():
        for before, after in itertools.pairwise(numbers):
            assert after > before or (returns(after) and before == after + 1)
            back += after < before
        assert all(a != b for a, b in itertools.pairwise(numbers))
    assert back > 100
    assert len(lines) == 300  # the publisher does not publish the board


def test_data_of_a_state_carries_its_number() -> None:
    assert number_in(payload_of(17)) == 17
    assert payload_of(17) == payload_of(17, as_float=True)
    assert repr(payload_of(17)) != repr(payload_of(17, as_float=True))
