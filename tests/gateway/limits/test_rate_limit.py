"""The limit on requests: its pace, its burst, and that it forgets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.gateway.limits.rate_limit import RequestLimit
from ime_live.rate import BURST


def taken(limit: RequestLimit, now: float, tries: int = 1000, who: str = "a") -> int:
    """How many of so many requests at one moment are answered."""
    return sum(limit.take(who, now) == 0 for _ in range(tries))


def test_rate_limit_allows_a_burst_before_the_rate() -> None:
    limit = RequestLimit(10)
    assert taken(limit, 100.0) == 10 * BURST
    assert taken(limit, 100.0) == 0
    assert taken(limit, 101.0) == 10
    assert taken(limit, 101.0 + BURST) == 10 * BURST
    assert taken(limit, 9999.0) == 10 * BURST  # it does not add up


def test_rate_limit_is_separate_per_key() -> None:
    limit = RequestLimit(1)
    assert taken(limit, 0.0) == BURST
    assert taken(limit, 0.0, who="b") == BURST


def test_rate_limit_below_one_per_second_allows_one() -> None:
    limit = RequestLimit(0.1)
    assert taken(limit, 0.0) == 1
    assert limit.take("a", 4.0) == pytest.approx(6.0)
    assert limit.take("a", 10.0) == 0


def test_request_may_cost_several_tokens() -> None:
    limit = RequestLimit(10)
    assert limit.take("a", 0.0) == 0
    limit.charge("a", 40)
    assert taken(limit, 0.0) == 9
    limit.charge("a", 1000)  # an answered request counts with any cost
    assert limit.take("a", 100.0) > 0
    assert limit.take("a", 110.0) == 0
    limit.charge("nobody", 5)
    assert len(limit) == 1


def test_rate_limit_of_zero_allows_everything() -> None:
    limit = RequestLimit(0)
    assert taken(limit, 0.0) == 1000
    assert len(limit) == 0


def test_least_recently_used_key_is_evicted() -> None:
    limit = RequestLimit(1, max_clients=3)
    for who in ("a", "b", "c"):
        assert taken(limit, 0.0, who=who) == BURST
    limit.take("a", 1.0)
    assert taken(limit, 1.0, who="d") == BURST
    assert len(limit) == 3
    assert taken(limit, 1.0, who="a") == 0
    assert taken(limit, 1.0, who="b") == BURST


@given(st.floats(0.01, 500), st.lists(st.floats(0, 3), max_size=60))
def test_retry_after_is_the_time_until_the_next_request_passes(
    rate: float, pauses: list[float]
) -> None:
    limit = RequestLimit(rate)
    now = answered = 0.0
    for pause in pauses:
        now += pause
        wait = limit.take("a", now)
        answered += wait == 0
        if wait:
            assert limit.take("a", now + wait * 0.99 - 1e-9) > 0
            now += wait + 1e-9
            assert limit.take("a", now) == 0
            answered += 1
    assert answered <= max(1, rate * BURST) + rate * now + 1
