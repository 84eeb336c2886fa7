"""Read the requested contracts of a REST call. No I/O.

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
    """Return names, ids and patterns of contracts, in the order sent, with repetitions.

    Args:
        by: whether the request names contracts by name or by id.
        query: query of one of `DATA_ENDPOINTS` or `CANDLE_ENDPOINTS`.
        limit: maximum number of contracts.

    Raises:
        RefusedError: there is no contract and no filter, or there are too many contracts.
    """
    names: tuple[str, ...] = query[_NAMES[by]] or ()
    # Patterns have a limit of their own, and their matches are counted later.
    check_count(sum(WILDCARD not in name for name in names), limit)
    return names
