"""The kinds of fault, and the table of all of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from chaos.testbed import Testbed

Inject = Callable[[Testbed, random.Random], Awaitable[str]]
"""Injects a fault and ends it; returns the details in words."""

SINGLE: Final = frozenset({"single"})
SENTINEL: Final = frozenset({"sentinel"})
CLUSTER: Final = frozenset({"cluster"})
ALL: Final = SINGLE | SENTINEL | CLUSTER

_STOP_MARKET: Final = 0.5
"""Probability that the market stops moving before a fault ends, so that no later change hides
what was lost in it."""


class Fault(Struct, frozen=True):
    """A kind of fault.

    Attributes:
        name: for reports.
        stores: the kinds of store that it applies to.
        inject: injects it.
    """

    name: str
    stores: frozenset[str]
    inject: Inject


FAULTS: Final[list[Fault]] = []
"""All kinds, in the order of their definition."""


def fault(name: str, stores: frozenset[str] = ALL) -> Callable[[Inject], Inject]:
    """Add the decorated function to `FAULTS`; the arguments are those of `Fault`."""

    def add(inject: Inject) -> Inject:
        FAULTS.append(Fault(name, stores, inject))
        return inject

    return add


async def hold(testbed: Testbed, chance: random.Random, least: float, most: float) -> str:
    """Let a fault last for a random time, rather short; the market may stop moving during it.

    Args:
        testbed: under test.
        chance: decides.
        least, most: seconds.

    Returns:
        The time in words.
    """
    seconds = chance.triangular(least, most, least)
    moving = chance.uniform(0, seconds) if chance.random() < _STOP_MARKET else None
    if moving is None:
        await asyncio.sleep(seconds)
        return f"for {seconds:.1f} s"
    await asyncio.sleep(moving)
    testbed.market.moving = False
    await asyncio.sleep(seconds - moving)
    return f"for {seconds:.1f} s, no changes after {moving:.1f} s"
