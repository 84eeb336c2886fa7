"""Read which contracts a REST call asks for. No I/O.

Contracts are not looked up here: names and ids are returned as they were sent.
"""

from __future__ import annotations

from typing import Final

from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.contract_filter import WILDCARD
from ime_live.gateway.query.parameters import Endpoint
from ime_live.gateway.query.query_string import Query
from ime_live.gateway.query.stream_query import check_count

DATA_ENDPOINTS: Final = {By.NAME: Endpoint.DATA_BY_NAME, By.ID: Endpoint.DATA_BY_ID}

CANDLE_ENDPOINTS: Final = {By.NAME: Endpoint.CANDLES_BY_NAME, By.ID: Endpoint.CANDLES_BY_ID}

_NAMES: Final = {By.NAME: "contract_names", By.ID: "contract_ids"}


def read_contracts(by: By, query: Query, limit: int) -> tuple[str, ...]:
    """Return names, ids and patterns of contracts as sent, in that order, with repetitions.

    Args:
        by: how they are named.
        query: of one of `DATA_ENDPOINTS`.
        limit: how many there may be.

    Raises:
        RefusedError: there is none and no filter, or there are too many.
    """
    found: tuple[str, ...] = query[_NAMES[by]] or ()
    # Patterns have a limit of their own, and their matches are counted later.
    check_count(sum(WILDCARD not in name for name in found), limit)
    return found
