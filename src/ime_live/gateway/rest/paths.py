"""Paths of the REST calls."""

from __future__ import annotations

from typing import Final

from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.rest.bodies import Section

SEARCH_PATH: Final = "/static/data/contract/search"
OPTION_CHAIN_PATH: Final = "/static/data/contract/option-chain"
MARKETS_PATH: Final = "/static/data/market"


def live_path(section: Section, by: By) -> str:
    """Return the path of a call for live data."""
    return f"/live/data/{section.value}/contract/{by.value}"


def static_path(by: By) -> str:
    """Return the path of a call for static data."""
    return f"/static/data/contract/{by.value}"


def candles_path(by: By) -> str:
    """Return the path of a call for candles."""
    return f"/live/data/candles/contract/{by.value}"
