"""Incomplete requests: together they may take so much memory; small ones are always taken."""

from __future__ import annotations

from ime_live.gateway.limits.request_memory import ALWAYS_TAKEN, RequestMemory

LARGE = 100_000


def test_large_requests_are_refused_beyond_the_limit() -> None:
    memory = RequestMemory(3 * LARGE)
    assert all(memory.change(0, LARGE) for _ in range(3))
    assert not memory.change(0, LARGE)
    memory.change(LARGE, 0)
    memory.change(LARGE, 0)
    assert memory.change(0, LARGE)
    assert memory.buffered == 3 * LARGE


def test_small_requests_are_taken_beyond_the_limit() -> None:
    memory = RequestMemory(LARGE)
    memory.change(0, 2 * LARGE)
    assert memory.change(0, ALWAYS_TAKEN)
    assert not memory.change(ALWAYS_TAKEN, ALWAYS_TAKEN + 1)


def test_limit_of_zero_is_none() -> None:
    assert RequestMemory(0).change(0, 1 << 40)
