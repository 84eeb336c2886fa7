"""Contracts: the spelling of their fields, and what a record must have."""

from __future__ import annotations

import json

import pytest

from ime_live.contracts import Market, read_contract
from ime_live.errors import ContractError


class TestReading:
    def test_the_fields_have_the_documented_spelling(self) -> None:
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

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            ("", "truncated"),
            ("[]", "Expected `object`"),
            ("{}", "contractId"),
            ('{"contractId":"1"}', "contractName"),
            ('{"contractId":1,"contractName":"A"}', r"at `\$.contractId`"),
            ('{"contractId":"1","contractName":"A","market":"x"}', r"at `\$.market`"),
            ('{"contractId":" ","contractName":"A"}', "contractId must not be empty"),
            ('{"contractId":"1","contractName":""}', "contractName of contract 1 must not"),
            ('{"contractId":"1","contractName":" \u200c"}', "contractName of contract 1 must not"),
            ('{"x":' + "[" * 100_000, "recursion"),
        ],
    )
    def test_malformed_contract_is_named(self, raw: str, reason: str) -> None:
        with pytest.raises(ContractError, match=reason):
            read_contract(raw)
