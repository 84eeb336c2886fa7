"""Back-off: waits that grow to a limit, and begin again after a success."""

from __future__ import annotations

from ime_live.backoff import Backoff, retry_after


def test_waits_grow_to_their_limit_and_begin_again() -> None:
    backoff = Backoff(30.0, lambda: 0.5)
    assert [backoff.next() for _ in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]
    assert backoff.failures == 7
    backoff.reset()
    assert (backoff.failures, backoff.next()) == (0, 0.5)
    assert Backoff(30.0, lambda: 0.0).next() == 0
    for _ in range(5000):  # for months
        assert backoff.next() <= 15


def test_failure_after_a_lasting_success_begins_again() -> None:
    backoff = Backoff(30.0, lambda: 0.5, first_limit=0.5, lasting=60.0)
    assert [backoff.next(1.0) for _ in range(8)] == [0.25, 0.5, 1, 2, 4, 8, 15, 15]
    assert backoff.next(59.9) == 15
    assert backoff.next(60.0) == 0.25  # a lasting success begins a new series
    assert backoff.next() == 0.5


def test_waits_are_random() -> None:
    assert len({Backoff(30.0).next() for _ in range(10)}) > 1


def test_refused_clients_return_at_random_times_between_two() -> None:
    assert (retry_after(lambda: 0.0), retry_after(lambda: 0.5)) == (2.0, 6.0)
    waits = {retry_after() for _ in range(100)}
    assert len(waits) > 1
    assert all(2.0 <= wait < 10.0 for wait in waits)
