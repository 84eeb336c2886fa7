"""Rate: a burst, then an even pace."""

from __future__ import annotations

import pytest

from ime_live.rate import BURST, Rate


def test_sender_that_waits_keeps_the_rate_after_a_burst() -> None:
    rate = Rate(8.0)
    due, now = 0.0, 1000.0
    sent = []
    for _ in range(140):
        due, wait = rate.take(due, now)
        while wait:
            now += wait
            due, wait = rate.take(due, now)
        sent.append(now)
    at_once = round(8.0 * BURST)
    assert sent[:at_once] == [1000.0] * at_once
    assert sent[at_once] > 1000.0
    later = sent[at_once:]
    assert later[-1] - later[0] == pytest.approx((len(later) - 1) / 8)
    assert all(late - early >= 1.0 - 1e-6 for early, late in zip(later, later[8:], strict=False))


def test_refused_request_does_not_count() -> None:
    rate = Rate(1.0)
    due = 0.0
    for _ in range(round(BURST)):
        due, wait = rate.take(due, 10.0)
        assert wait == 0.0
    assert rate.take(due, 10.0) == rate.take(rate.take(due, 10.0)[0], 10.0)
    assert rate.take(due, 10.0)[1] == pytest.approx(0.5)


def test_rate_of_zero_never_waits() -> None:
    rate = Rate(0)
    due = 0.0
    for _ in range(1000):
        due, wait = rate.take(due, 10.0)
        assert wait == 0.0
