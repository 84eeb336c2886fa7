"""Contract filters: which contracts match, and how messages name them."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest

from ime_live.contracts import Contract, Market
from ime_live.errors import RefusedError
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.query.contract_filter import (
    FilterMatcher,
    check_filters,
    matching,
    present_name,
    references,
    split_names,
)
from ime_live.messages import ContractFilter
from ime_live.registry import Registry
from tests.support.rows import each_row

CONTRACT = Contract(
    contract_id="11",
    contract_name="GCAZ05",
    market=Market.OPTION,
    aliases=("GOLD",),
    underlying_id="IRK1",
    underlying_name="نیم‌سکه",
)


@each_row(
    ("parts", "by", "matches"),
    [
        ({"markets": ["IMEOption"]}, "name", True),
        ({"markets": ["IMEFutures"]}, "name", False),
        ({"markets": ["IMEFutures", "IMEOption"]}, "name", True),
        ({"patterns": ["GC*"]}, "name", True),
        ({"patterns": ["X*", "*Z05"]}, "name", True),
        ({"patterns": ["GO*"]}, "name", True),
        ({"patterns": ["gc*"]}, "name", False),
        ({"patterns": ["1*"]}, "name", False),
        ({"patterns": ["1*"]}, "id", True),
        ({"patterns": ["GC*"]}, "id", False),
        ({"patterns": ["name:GC*"]}, "id", True),
        ({"patterns": ["name:1*"]}, "id", False),
        ({"patterns": ["name:*", "1*"], "markets": ["IMEFutures"]}, "id", False),
        ({"patterns": ["id:1*"]}, "name", True),
        ({"underlyings": ["IRK1"]}, "name", True),
        ({"underlyings": ["نيم سكه"]}, "name", True),
        ({"underlyings": ["IRK"]}, "name", False),
        ({"underlyings": ["IRK1"], "markets": ["IMEFutures"]}, "name", False),
        ({"underlyings": ["IRK1"], "markets": ["IMEOption"], "patterns": ["GC*"]}, "id", False),
    ],
)
def test_parts_of_a_filter_narrow_each_other(
    parts: dict[str, list[str]],
    by: Literal["name", "id"],
    matches: bool,
) -> None:
    assert FilterMatcher(ContractFilter.of(by, **parts)).match(CONTRACT) is matches


@pytest.mark.parametrize("fields", [{"expired": True}, {"delisted": True}])
def test_contract_that_is_not_listed_does_not_match(fields: dict[str, bool]) -> None:
    gone = msgspec.structs.replace(CONTRACT, **fields)
    assert not FilterMatcher(ContractFilter.of("name", markets=["IMEOption"])).match(gone)


def test_hostile_pattern_is_matched_at_once() -> None:
    name = "a" * 200
    long = msgspec.structs.replace(CONTRACT, contract_name=name)
    pattern = "*a" * 60 + "*b"
    assert not FilterMatcher(ContractFilter.of("name", patterns=[pattern])).match(long)


def test_matches_are_ordered_by_name_and_named_by_the_first_filter() -> None:
    registry = Registry(
        Contract(contract_id=str(n), contract_name=name) for n, name in enumerate("CAB")
    )
    filters = [
        FilterMatcher(ContractFilter.of("id", patterns=["2*"])),
        FilterMatcher(ContractFilter.of("name", patterns=["*"])),
    ]
    found = matching(filters, registry, lambda contract: contract.contract_name != "C")
    assert [(i, by) for i, (_, by) in found.items()] == [("1", By.NAME), ("2", By.ID)]


def test_contract_whose_name_another_one_has_is_named_by_its_id() -> None:
    twins = [Contract(contract_id=i, contract_name="TWIN") for i in ("1", "2")]
    registry = Registry(twins, conflicts=[])
    assert [present_name(each, By.NAME, registry) for each in twins] == ["TWIN", "id:2"]
    # The client has named another contract by this name, which was that one's then.
    found = matching(
        [FilterMatcher(ContractFilter.of("name", patterns=["TW*"]))], registry, lambda _: True
    )
    named = {"7": ContractRef.of(By.NAME, "TWIN")}
    assert {i: ref.name for i, ref in references(found, registry, named).items()} == {
        "1": "id:1",
        "2": "id:2",
    }


def test_exact_name_is_no_pattern() -> None:
    names, chosen = split_names(By.NAME, ["A*", "B*", "C"], lambda _, name: name == "A*")
    assert names == ["A*", "C"]
    assert chosen == ContractFilter.of("name", patterns=["B*"])
    assert split_names(By.NAME, ["A"], lambda *_: False) == (["A"], None)


def test_number_of_patterns_is_limited() -> None:
    check_filters([ContractFilter.of("name", patterns=[f"{n}*" for n in range(100)])])
    with pytest.raises(RefusedError, match="too many patterns: 101, at most 100"):
        check_filters([ContractFilter.of("name", patterns=[f"{n}*" for n in range(101)])])
