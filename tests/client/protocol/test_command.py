"""Commands: the errors of a change, and the pace at which a client may send."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from ime_live.client.protocol.command import BURST, Change, CommandRate
from ime_live.client.protocol.message import Key
from ime_live.errors import ControlError, RefusedError
from ime_live.messages import Action, ControlFault

B: Final[Key] = ("name", "B")


def test_error_of_a_command_depends_on_the_fault() -> None:
    change = Change(Action.SUBSCRIBE, [B], snapshot=True)
    change.settle([B], [ControlFault("B", "contract not covered by the token: B")])
    assert type(change.error()) is RefusedError
    change = Change(Action.SUBSCRIBE, [B], snapshot=True)
    change.settle([B], [ControlFault(None, "too many contracts: 1001, at most 1000")])
    assert type(change.error()) is ControlError


def test_command_rate_stays_within_the_limit_of_the_gateway() -> None:
    rate = CommandRate()
    assert [rate.wait(0.0) for _ in range(BURST)] == [0.0] * BURST
    now, sent = 0.0, []
    for _ in range(100):
        now += rate.wait(now)
        sent.append(now)
    assert all(late - early <= 1.0 + 1e-9 for early, late in zip(sent, sent[8:], strict=False))
    assert sent[99] - sent[0] == pytest.approx(99 / 8)
    later = timedelta(hours=1).total_seconds()
    assert [rate.wait(later) for _ in range(BURST)] == [0.0] * BURST
