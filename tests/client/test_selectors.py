"""Selectors: names, ids, markets and underlyings become contracts and filters."""

from __future__ import annotations

from typing import Any

import pytest

from ime_live.client.selectors import keys_of, selectors_of
from ime_live.errors import SettingsError
from ime_live.messages import ContractFilter
from tests.support.rows import each_row


def test_keys_have_no_duplicates_and_keep_their_order() -> None:
    assert keys_of([" B ", "A", "B"], [5, "5"]) == [("name", "B"), ("name", "A"), ("id", "5")]


def test_patterns_and_markets_become_one_filter_after_the_contracts() -> None:
    selectors = selectors_of(["GC*", "A"], [], markets=["IMEFutures"])
    assert selectors == [
        ("name", "A"),
        ContractFilter.of("name", markets=["IMEFutures"], patterns=["GC*"], underlyings=[]),
    ]


def test_patterns_of_names_and_ids_become_two_filters() -> None:
    selectors = selectors_of(["GC*"], ["1*"], underlying=" GC ")
    assert selectors == [
        ContractFilter.of("name", markets=[], patterns=["GC*"], underlyings=["GC"]),
        ContractFilter.of("id", markets=[], patterns=["1*"], underlyings=["GC"]),
    ]


@each_row(
    ("arguments", "text"),
    [
        ({"markets": "IMEFutures"}, "markets must be a list of markets, got 'IMEFutures'"),
        ({"markets": ["Mars"]}, "markets must be some of .*, got 'Mars'"),
        ({"underlying": 5}, "underlying must be a text or a list of texts, got 5"),
        ({"underlying": [" "]}, "must be a name or an id that is not empty, got ' '"),
    ],
)
def test_malformed_filter_is_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        selectors_of([], [], **arguments)
