"""Limits on streams: what is refused, and that everything is given back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ime_live.errors import LimitError
from ime_live.gateway.limits.stream_limits import Permit, StreamLimits
from ime_live.settings import LimitSettings
from tests.support.clock import GivenClock


class World:
    """Limits with a clock that a test sets."""

    def __init__(self, **settings: float) -> None:
        self.now = 1000.0
        none = {"handshake_rate": 0.0, "max_connections": 0, "max_subject_connections": 0}
        self.limits = StreamLimits(
            LimitSettings(**none | settings),  # type: ignore[arg-type] # names are the test's
            clock=GivenClock(monotonic=lambda: self.now),
            random=lambda: 0.0,
        )


def refusal(act: Callable[[], object]) -> tuple[str, int, float]:
    with pytest.raises(LimitError) as caught:
        act()
    return caught.value.kind, caught.value.status, caught.value.retry_after


def test_admit_beyond_the_limit_of_all_streams_is_refused_with_503() -> None:
    limits = World(max_connections=2).limits
    first, _ = limits.admit(), limits.admit()
    assert refusal(limits.admit) == ("connections", 503, 2.0)
    first.free()
    first.free()
    assert isinstance(limits.admit(), Permit)
    assert limits.streams == 2


def test_admit_refuses_an_address_and_no_other() -> None:
    limits = World(max_address_connections=1).limits
    permit = limits.admit("2001:db8::1")
    assert refusal(lambda: limits.admit("2001:db8::2")) == ("address", 429, 2.0)
    limits.admit("2001:db8:0:1::1")
    limits.admit()
    permit.free()
    limits.admit("2001:db8::2")


def test_admit_beyond_the_handshake_rate_is_refused_with_retry_after() -> None:
    world = World(handshake_rate=2)
    for _ in range(10):
        world.limits.admit("203.0.113.7").free()
    kind, status, wait = refusal(lambda: world.limits.admit("203.0.113.7"))
    assert (kind, status) == ("rate", 429)
    assert 0 < wait <= 0.5
    world.limits.admit("203.0.113.8").free()
    world.now += wait
    world.limits.admit("203.0.113.7").free()


def test_claim_refuses_a_subject_and_no_other() -> None:
    limits = World(max_subject_connections=1).limits
    first, second, third = limits.admit(), limits.admit(), limits.admit()
    first.claim("alice")
    assert refusal(lambda: second.claim("alice"))[:2] == ("subject", 429)
    third.claim("bob")
    second.free()
    assert refusal(lambda: limits.admit().claim("alice"))[0] == "subject"
    first.free()
    limits.admit().claim("alice")


def test_claim_of_a_freed_permit_is_not_counted() -> None:
    limits = World(max_subject_connections=1).limits
    permit = limits.admit()
    permit.free()
    permit.claim("alice")
    limits.admit().claim("alice")


def test_limit_of_unsent_memory_refuses_new_streams() -> None:
    limits = World(max_waiting=100).limits
    slow, fast = limits.admit(), limits.admit()
    slow.wait(60)
    fast.wait(40)
    assert refusal(limits.admit)[:2] == ("memory", 503)
    fast.wait(0)
    limits.admit()
    slow.wait(100)
    assert limits.memory_is_full
    slow.free()
    slow.wait(7)
    assert limits.waiting == 0


def test_limit_of_zero_sets_no_limit() -> None:
    limits = World(max_address_connections=0, max_waiting=0).limits
    for _ in range(2000):
        permit = limits.admit("203.0.113.7")
        permit.claim("alice")
        permit.wait(1 << 30)


def test_change_of_limits_counts_the_streams_that_are_open() -> None:
    world = World(max_connections=3, handshake_rate=1)
    limits = world.limits
    permits = [limits.admit("203.0.113.7") for _ in range(3)]
    limits.change(LimitSettings(max_connections=2, handshake_rate=100))
    permits[0].free()
    assert refusal(limits.admit) == ("connections", 503, 2.0)
    permits[1].free()
    for _ in range(100):  # the new rate
        limits.admit("203.0.113.7").free()
    limits.change(LimitSettings(max_connections=0, handshake_rate=0))
    for _ in range(400):
        limits.admit("203.0.113.7")
