"""The outcome of one fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from chaos.invariants import Violation

LIMIT: Final = 10.0
"""Seconds to convergence at the most. A half-open connection is noticed within 7."""


START: Final = "start"


class Outcome(Struct, frozen=True, kw_only=True):
    """The outcome of a fault.

    Attributes:
        store: the kind of store.
        number: of the fault in its run; for the start of a testbed, of the first fault to come.
        fault: its name; `START` for the start of a testbed.
        detail: how it was injected.
        injected: whether it was; the store's servers may not agree on a failover.
        seconds: from the fault's end to convergence, when each client holds the newest state of
            each of its contracts; None if there was none.
        refused: how often gateways refused, during the fault, to serve a client for now.
        lag: longest time in seconds for which the run itself was blocked. It does not count as
            time to convergence.
        violations: all violations.
        excerpt: of the histories of the first violations, as text.
    """

    store: str
    number: int
    fault: str
    detail: str = ""
    injected: bool = True
    seconds: float | None = None
    refused: int = 0
    lag: float = 0.0
    violations: Sequence[Violation] = ()
    excerpt: str = ""
