"""Queries of REST calls: both spellings, the order, and clear words for what is wrong."""

from __future__ import annotations

import pytest

from ime_live.contracts import Market
from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.http_errors import status_of
from ime_live.gateway.query.parameters import Endpoint
from ime_live.gateway.query.query_string import Query
from ime_live.gateway.query.rest_query import DATA_ENDPOINTS, read_contracts
from tests.support.rows import each_row


@each_row(
    ("by", "query", "contracts"),
    [
        (By.NAME, "contract_names=A&contract_names=B", ["A", "B"]),
        (By.NAME, "contract_name=A&contract_names=B&contract_name=C", ["A", "B", "C"]),
        (By.NAME, "contract_names=A&contract_names=&contract_names=+&contract_names=A", ["A", "A"]),
        (By.NAME, "contract_names=%D8%B3%D9%83%D9%870312%D9%BE01", ["سكه0312پ01"]),
        (By.NAME, "contract_names=a+b&contract_ids=9", ["a b"]),
        (By.ID, "contract_ids=1&contract_id=2&contract_names=x", ["1", "2"]),
        (By.ID, "other&contract_id=12345", ["12345"]),
    ],
)
def test_rest_query_has_contracts_by_name_or_id(by: By, query: str, contracts: list[str]) -> None:
    assert read_contracts(by, Query(DATA_ENDPOINTS[by], query), 5) == tuple(contracts)


@each_row(
    ("by", "query", "said"),
    [
        (By.NAME, "", "no contract: name at least one with contract_names="),
        (By.NAME, "contract_ids=1", "no contract: name at least one with contract_names="),
        (By.ID, "contract_ids=", "no contract: name at least one with contract_ids="),
        (By.ID, "contract_ids=1&" * 3, "too many contracts: 3, at most 2"),
    ],
)
def test_rest_query_without_or_with_too_many_contracts_is_refused(
    by: By, query: str, said: str
) -> None:
    refused(lambda: read_contracts(by, Query(DATA_ENDPOINTS[by], query), 2), said)


def search(query: str, name: str) -> object:
    return Query(Endpoint.SEARCH, query)[name]


def test_search_query_has_text_and_market() -> None:
    query = "market=IMEOption&Search_char=KASH05C"
    assert search(query, "market") is Market.OPTION
    assert search(query, "Search_char") == "KASH05C"
    assert search("Search_char=", "Search_char") == ""
    assert search("market=IMEOption", "Search_char") == ""
    markets = "IMEFutures, IMEOption, IMEDepositCertificate, IMEFund, IMEParallelSalaf"
    refused(lambda: search("", "market"), f"no market: name one of {markets} with market=")
    refused(
        lambda: search("market=imeoption", "market"),
        f"market must be one of {markets}, got 'imeoption'",
    )
    refused(lambda: search("market=", "market"), f"market must be one of {markets}, got ''")


def refused(ask: object, said: str) -> None:
    assert callable(ask)
    with pytest.raises(RefusedError) as caught:
        ask()
    assert caught.value.reason == said
    assert caught.value.code is CloseCode.POLICY_VIOLATION
    assert status_of(caught.value) == 422
