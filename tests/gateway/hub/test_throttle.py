"""Throttle: a contract that was sent is closed for the interval, and opens by itself."""

from __future__ import annotations

import pytest

from ime_live.gateway.hub.channel import Channel
from ime_live.gateway.hub.throttle import Throttle

ONE, TWO = Channel("1", 0), Channel("2", 0)


@pytest.fixture
def throttle() -> Throttle:
    """A throttle of one second; contracts were sent at 10.0 and 10.4."""
    throttle = Throttle(1.0)
    throttle.close(ONE, 10.0, b"one")
    throttle.close(TWO, 10.4, b"two")
    return throttle


def test_throttle_opens_contracts_that_are_due(throttle: Throttle) -> None:
    throttle.open_due(10.9)
    assert ONE in throttle.closed
    throttle.open_due(11.1)
    assert ONE not in throttle.closed
    assert TWO in throttle.closed
    assert len(throttle.closed) == 1
    throttle.open_due(11.5)
    assert len(throttle.closed) == 0


def test_throttle_is_due_when_the_first_named_contract_opens(throttle: Throttle) -> None:
    assert throttle.due([TWO, ONE]) == 11.0
    assert throttle.due([TWO]) == 11.4
    assert throttle.due([Channel("3", 0)]) is None


def test_throttle_keeps_timestamps_of_the_last_messages(throttle: Throttle) -> None:
    throttle.open_due(11.1)
    assert throttle.timestamps([ONE, TWO]) == {TWO: b"two"}


def test_throttle_is_open_for_a_forgotten_contract(throttle: Throttle) -> None:
    throttle.forget(ONE)
    throttle.forget(ONE)
    assert ONE not in throttle.closed
    assert throttle.due([ONE, TWO]) == 11.4
