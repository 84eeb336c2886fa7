"""Registry: which spellings are one name, what is found, and what is refused."""

from __future__ import annotations

import pytest

from ime_live.contracts import Contract
from ime_live.errors import ContractError, UnknownContractError
from ime_live.registry import Registry
from ime_live.spelling import fold_name
from tests.support.rows import each_row


def contract(contract_id: str, name: str, *aliases: str) -> Contract:
    return Contract(contract_id=contract_id, contract_name=name, aliases=aliases)


class TestRegistry:
    @each_row(
        "spelling",
        [
            "نیم‌سکه0312پ01",
            "نیم سکه0312پ01",
            "نیم  سكه 0312 پ 01",
            "نيم\u00a0سكه۰۳۱۲پ۰۱",
            "نیم\u200d\u2009سکه٠٣١٢پ٠١",
            "نیم \u200c سکه 0312پ01",
            "نِیم\tسـکه0312پ01 ",
        ],
    )
    def test_name_with_a_zero_width_non_joiner_is_found_with_a_blank(self, spelling: str) -> None:
        registry = Registry([contract("1", "نیمسکه0312پ01")])
        assert registry.by_name(spelling).contract_id == "1"

    def test_registry_finds_by_id_and_by_name(self) -> None:
        coin, bar = contract("1", "سکه0312", "OLD"), contract("2", "Bar")
        registry = Registry([coin, bar])
        assert len(registry) == 2
        assert list(registry) == [coin, bar]
        assert "1" in registry
        assert "3" not in registry
        assert registry.by_id("1") is registry.by_id(" ۱ ") is coin
        for name in ("سکه0312", "سكه۰۳۱۲", "OLD", " OLD"):
            assert registry.by_name(name) is coin
        assert registry.by_name("Bar") is bar

    def test_registry_separates_ids_and_names(self) -> None:
        registry = Registry([contract("1", "A")])
        with pytest.raises(UnknownContractError, match="unknown contract: 1"):
            registry.by_name("1")
        with pytest.raises(UnknownContractError, match="unknown contract: A"):
            registry.by_id("A")

    def test_current_name_precedes_an_old_one(self) -> None:
        registry = Registry([contract("1", "A", "B"), contract("2", "B")])
        assert registry.by_name("B").contract_id == "2"

    def test_first_of_two_old_names_counts(self) -> None:
        registry = Registry([contract("1", "A", "Old"), contract("2", "B", "Old")])
        assert registry.by_name("Old").contract_id == "1"

    @pytest.mark.parametrize(
        ("second", "reason"),
        [
            (contract("1", "B"), "ids must be unique, got 1 twice"),
            (contract("2", "سكه"), "contracts 1 and 2 must have different names, got سكه twice"),
        ],
    )
    def test_registry_refuses_conflicting_names(self, second: Contract, reason: str) -> None:
        first = contract("1", "سکه")
        with pytest.raises(ContractError, match=reason):
            Registry([first, second])
        conflicts: list[ContractError] = []
        registry = Registry([first, second, contract("3", "C")], conflicts=conflicts)
        assert [str(error) for error in conflicts] == [reason]
        assert registry.by_name("سکه") is registry.by_id("1") is first
        assert registry.by_name("C").contract_id == "3"
        assert ("2" in registry) is (second.contract_id == "2")


class TestWithChanges:
    def test_changes_add_replace_and_remove_contracts(self) -> None:
        before = Registry([contract("1", "A"), contract("2", "B")])
        after = before.with_changes([contract("1", "A2"), contract("3", "C")], ["2", "9"])
        assert [each.contract_id for each in after] == ["1", "3"]
        assert after.by_name("A2").contract_id == "1"
        for name in ("A", "B"):
            with pytest.raises(UnknownContractError):
                after.by_name(name)
        assert [each.contract_name for each in before] == ["A", "B"]

    def test_names_of_two_contracts_can_be_exchanged(self) -> None:
        before = Registry([contract("1", "A"), contract("2", "B")])
        after = before.with_changes([contract("1", "B"), contract("2", "A")])
        assert after.by_name("A").contract_id == "2"

    def test_taken_name_is_refused_by_an_import(self) -> None:
        before = Registry([contract("1", "A")])
        with pytest.raises(ContractError, match="contracts 1 and 2 must have different names"):
            before.with_changes([contract("2", "A")])
        conflicts: list[ContractError] = []
        after = before.with_changes([contract("2", "A")], conflicts=conflicts)
        assert len(conflicts) == 1
        assert after.by_name("A").contract_id == "1"
        assert after.with_changes(removed=["1"]).by_name("A").contract_id == "2"


class TestWithImport:
    def test_import_reports_its_changes(self) -> None:
        before = Registry([contract("1", "A"), contract("2", "B")])
        batch = [contract("3", "C"), contract("2", "B2"), contract("1", "A")]
        after, result = before.with_import(batch)
        assert (result.added, result.changed, result.unchanged) == (("3",), ("2",), ("1",))
        assert len(after) == 3

    def test_renamed_contract_answers_to_its_old_names(self) -> None:
        registry = Registry([contract("1", "A", "Older")])
        for name in ("B", "C", "A"):
            registry, _ = registry.with_import([contract("1", name)])
        assert {"A", "B", "C", "Older"} == set(registry.by_id("1").names)
        assert registry.by_id("1").contract_name == "A"

    def test_import_of_another_spelling_adds_no_alias(self) -> None:
        registry, _ = Registry([contract("1", "سكه")]).with_import([contract("1", "سکه")])
        assert registry.by_id("1").names == ("سکه",)

    def test_second_import_is_unchanged(self) -> None:
        registry, _ = Registry([contract("1", "A")]).with_import([contract("1", "B")])
        assert registry.with_import([contract("1", "B")])[1].unchanged == ("1",)

    @each_row(
        ("batch", "reason"),
        [
            ([contract("2", "A")], "contracts 1 and 2 must have different names"),
            ([contract("2", "B"), contract("2", "C")], "ids must be unique, got contract 2 twice"),
            ([contract("", "B")], "contractId must not be empty"),
            ([contract("2", " ")], "contractName of contract 2 must not be empty"),
        ],
    )
    def test_import_of_conflicting_contracts_is_refused(
        self, batch: list[Contract], reason: str
    ) -> None:
        with pytest.raises(ContractError, match=reason):
            Registry([contract("1", "A")]).with_import(batch)


class TestUnderlyings:
    COIN = Contract(
        contract_id="2",
        contract_name="GCOR01C11000",
        underlying_id="GC",
        underlying_name="سکه طلا",
        underlying_title="",
    )
    LOTUS = Contract(contract_id="3", contract_name="TLTR04C33", underlying_id="LG ETC")
    OLDER = Contract(contract_id="9", contract_name="GCBA00C1", underlying_id="GC")

    @each_row(
        ("text", "ids"),
        [
            ("GC", "92"),
            (" GC ", "92"),
            ("سكه طلا", "2"),
            ("سکه\u200cطلا", "2"),
            ("LG ETC", "3"),
            ("gc", ""),  # upper and lower case differ, as in the names of contracts
            ("G", ""),
            ("", ""),
            (" \u200c", ""),
        ],
    )
    def test_registry_finds_contracts_of_an_underlying(self, text: str, ids: str) -> None:
        registry = Registry([self.COIN, self.LOTUS, self.OLDER, contract("1", "GC")])
        assert "".join(each.contract_id for each in registry.of_underlying(text)) == ids
        matching = {each.contract_id for each in registry if fold_name(text) in each.underlyings}
        assert matching == set(ids)

    def test_changed_registry_finds_changed_underlyings(self) -> None:
        before = Registry([self.COIN])
        assert before.of_underlying("GC") == [self.COIN]
        after = before.with_changes([self.OLDER], removed=["2"])
        assert after.of_underlying("GC") == [self.OLDER]
