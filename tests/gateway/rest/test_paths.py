"""Paths of the REST calls, which are the documented ones."""

from __future__ import annotations

from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.rest.bodies import Section
from ime_live.gateway.rest.paths import (
    MARKETS_PATH,
    OPTION_CHAIN_PATH,
    SEARCH_PATH,
    candles_path,
    live_path,
    static_path,
)
from tests.support.paths import ROOT


def test_paths_are_those_of_the_service() -> None:
    paths = {live_path(section, By.NAME) for section in Section}
    assert paths == {
        "/live/data/overview/contract/name",
        "/live/data/best-limit/contract/name",
        "/live/data/aggregate/contract/name",
        "/live/data/allowed-price-range/contract/name",
        "/live/data/contract-info/contract/name",
    }
    assert live_path(Section.OVERVIEW, By.ID) == "/live/data/overview/contract/id"
    assert static_path(By.NAME) == "/static/data/contract/name"
    assert SEARCH_PATH == "/static/data/contract/search"


def test_paths_beyond_the_documentation_are_in_our_own() -> None:
    document = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    for path in (OPTION_CHAIN_PATH, MARKETS_PATH, candles_path(By.NAME).rpartition("/")[0]):
        assert path in document
