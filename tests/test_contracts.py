"""Contracts: the spelling of their fields, and what a record must have."""

from __future__ import annotations

import json
from datetime import date

import pytest

from ime_live.contracts import Contract, Market, read_contract
from ime_live.errors import ContractError
from tests.support.nesting import NESTED, TOO_DEEP
from tests.support.rows import each_row


class TestReading:
    def test_fields_have_the_documented_spelling(self) -> None:
        raw = (
            '{"contractId":"12345","contractName":"سکه","market":"IMEFutures","aliases":["پ"],'
            '"StorageCost":1.5,"ExpirationDate":"2026-06-01","optionType":"call",'
            '"UnderlyingAssets_symbolName_or_contractName":"X"}'
        )
        read = read_contract(raw)
        assert read == read_contract(raw.encode()) == read_contract(read.to_json())
        assert (read.contract_id, read.names, read.market) == (
            "12345",
            ("سکه", "پ"),
            Market.FUTURES,
        )
        assert (read.storage_cost, read.underlying_name) == (1.5, "X")
        assert json.loads(read.to_json()) == json.loads(raw)

    @each_row(
        ("raw", "reason"),
        [
            ("", "truncated"),
            ("[]", "Expected `object`"),
            ("{}", "contractId"),
            ('{"contractId":"1"}', "contractName"),
            ('{"contractId":1,"contractName":"A"}', r"at `\$.contractId`"),
            ('{"contractId":"1","contractName":"A","market":1}', r"at `\$.market`"),
            ('{"contractId":" ","contractName":"A"}', "contractId must not be empty"),
            ('{"contractId":"1","contractName":""}', "contractName of contract 1 must not"),
            ('{"contractId":"1","contractName":" \u200c"}', "contractName of contract 1 must not"),
            ('{"x":' + NESTED, TOO_DEEP),
        ],
    )
    def test_malformed_contract_is_named(self, raw: str, reason: str) -> None:
        with pytest.raises(ContractError, match=reason):
            read_contract(raw)

    def test_market_of_a_newer_version_is_none_and_loses_nothing_else(self) -> None:
        raw = (
            '{"contractId":"1","contractName":"A","market":"IMEOfNextYear","tickSize":5,'
            '"ExpirationDate":"soon","settlementDate":"never"}'
        )
        assert read_contract(raw) == Contract(contract_id="1", contract_name="A", tick_size=5)

    @each_row(
        ("written", "day"),
        [
            ("2026-12-30", date(2026, 12, 30)),
            ("soon", None),
            ("", None),
            ("2026-13-01", None),
            (
                "1405-09-04",
                date(1405, 9, 4),
            ),  # a Jalali date, as an older import may have stored it
        ],
    )
    def test_text_that_is_no_day_is_no_expiration(self, written: str, day: date | None) -> None:
        raw = json.dumps({"contractId": "1", "contractName": "A", "ExpirationDate": written})
        assert read_contract(raw).expiration_date == day

    def test_another_fault_beside_a_bad_day_is_an_error(self) -> None:
        raw = '{"ExpirationDate":"soon","contractId":"1","contractName":5}'
        with pytest.raises(ContractError, match="contractName"):
            read_contract(raw)


class TestRow:
    def test_row_has_all_fields_and_the_days_that_are_left(self) -> None:
        contract = Contract(
            contract_id="1",
            contract_name="A",
            market=Market.OPTION,
            expiration_date=date(2000, 1, 1),
            board="updateMarketsInfo",
        )
        row = contract.to_dict()
        assert (row["contract_name"], row["market"]) == ("A", "IMEOption")
        assert (row["expiration_date"], row["days_to_expiration"]) == (date(2000, 1, 1), 0)
        assert row["strike_price"] is None
        assert "board" not in row

    def test_contract_without_a_last_day_has_no_days_left(self) -> None:
        assert Contract(contract_id="1", contract_name="A").days_to_expiration is None
