"""Queries that clients send again and again are read once."""

from __future__ import annotations

from datetime import UTC
from itertools import count
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ime_live.errors import RefusedError
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query import query_string
from ime_live.gateway.query.parameters import Endpoint
from ime_live.gateway.query.query_string import Query
from ime_live.gateway.query.stream_query import parse_query, read_request
from tests.support.rows import each_row

TEHRAN = ZoneInfo("Asia/Tehran")
NAMES = Endpoint.STREAM_BY_NAME


def test_equal_query_is_parsed_once() -> None:
    assert Query.of(NAMES, "contract_names=KEPT") is Query.of(NAMES, "contract_names=KEPT")
    # The same text means something else to another endpoint.
    other = Query.of(Endpoint.STREAM_BY_ID, "contract_names=KEPT")
    assert other.unknown == ("contract_names",)


def test_request_is_read_once_per_zone() -> None:
    query = parse_query(By.NAME, "contract_names=KEPT&since=2026-05-23T15:10")
    request = read_request(By.NAME, query, TEHRAN)
    assert read_request(By.NAME, query, TEHRAN) is request
    assert read_request(By.NAME, query, UTC).newer_than != request.newer_than


@each_row(
    "query",
    [
        "contract_names=A&token=secret",
        "contract_names=A&t%6Fken=secret",
        "contract_names=A&token=",
        "contract_names=A&Token=secret",
        "contract_names=A&tokne=secret",
        "contract_names=" + "A" * 2_000,
    ],
)
def test_query_that_may_hold_a_token_is_not_kept(query: str) -> None:
    assert Query.of(NAMES, query) is not Query.of(NAMES, query)
    assert not any("secret" in text for _, text in query_string._queries)


def test_newest_queries_are_kept() -> None:
    queries = [Query.of(NAMES, f"contract_names=N{n}") for n in range(501)]
    assert Query.of(NAMES, "contract_names=N500") is queries[500]
    assert Query.of(NAMES, "contract_names=N1") is queries[1]
    assert Query.of(NAMES, "contract_names=N0") is not queries[0]
    assert len(query_string._queries) == 500


def test_wrong_value_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(RefusedError, match="max_rate"):
            Query.of(NAMES, "contract_names=A&max_rate=fast")["max_rate"]


def test_value_is_read_once() -> None:
    query, numbers = Query(NAMES, "contract_names=A"), count()
    assert [query.cached("a", lambda: next(numbers)) for _ in range(3)] == [0, 0, 0]
    assert query["contract_names"] is query["contract_names"]
    assert "contract_names" in query
    assert "token" not in query


@given(st.text(st.sampled_from("ab=&+%20dDЖ;\x00")))
@example("a=1&&b&=c&d=&e=%D8%B3+%")
def test_pairs_are_those_of_the_standard_library(text: str) -> None:
    assert query_string._pairs_of(text) == parse_qsl(text, keep_blank_values=True)
