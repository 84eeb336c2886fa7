"""The limit on requests: its pace, its burst, and that it forgets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.gateway.rate_limit import BURST, RequestLimit


def taken(limit: RequestLimit, now: float, tries: int = 1000, who: str = "a") -> int:
    """How many of so many requests at one moment are answered."""
    return sum(limit.take(who, now) == 0 for _ in range(tries))


def test_a_burst_and_then_the_pace() -> None:
    limit = RequestLimit(10)
    assert taken(limit, 100.0) == 10 * BURST
    assert taken(limit, 100.0) == 0
    assert taken(limit, 101.0) == 10
    assert taken(limit, 101.0 + BURST) == 10 * BURST
    assert taken(limit, 9999.0) == 10 * BURST  # it does not add up


def test_each_has_a_limit_of_its_own() -> None:
    limit = RequestLimit(1)
    assert taken(limit, 0.0) == BURST
    assert taken(limit, 0.0, who="b") == BURST


def test_a_slow_limit_lets_one_through() -> None:
    limit = RequestLimit(0.1)
    assert taken(limit, 0.0) == 1
    assert limit.take("a", 4.0) == pytest.approx(6.0)
    assert limit.take("a", 10.0) == 0


def test_a_request_may_count_as_several() -> None:
    limit = RequestLimit(10)
    assert limit.take("a", 0.0) == 0
    limit.owe("a", 40)
    assert taken(limit, 0.0) == 9
    limit.owe("a", 1000)  # what was answered is counted, however much it is
    assert limit.take("a", 100.0) > 0
    assert limit.take("a", 110.0) == 0
    limit.owe("nobody", 5)
    assert len(limit) == 1


def test_none() -> None:
    limit = RequestLimit(0)
    assert taken(limit, 0.0) == 1000
    assert len(limit) == 0


def test_who_was_silent_longest_is_forgotten() -> None:
    limit = RequestLimit(1, most=3)
    for who in ("a", "b", "c"):
        assert taken(limit, 0.0, who=who) == BURST
    limit.take("a", 1.0)
    assert taken(limit, 1.0, who="d") == BURST
    assert len(limit) == 3
    assert taken(limit, 1.0, who="a") == 0
    assert taken(limit, 1.0, who="b") == BURST


@given(st.floats(0.01, 500), st.lists(st.floats(0, 3), max_size=60))
def test_the_wait_is_what_it_takes(rate: float, pauses: list[float]) -> None:
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
