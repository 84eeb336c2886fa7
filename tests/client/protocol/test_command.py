"""Commands: the errors of a change."""

from __future__ import annotations

from typing import Final

from ime_live.client.protocol.command import Change
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
