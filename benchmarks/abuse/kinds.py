"""The table of all kinds of abuse."""

from __future__ import annotations

from typing import Final

from benchmarks.abuse.bombs import BOMBS
from benchmarks.abuse.floods import FLOODS
from benchmarks.abuse.kind import Kind
from benchmarks.abuse.slow_clients import SLOW_CLIENTS
from benchmarks.abuse.storms import STORMS

FAMILIES: Final = (SLOW_CLIENTS, FLOODS, BOMBS, STORMS)
"""Kinds that are measured on the same two gateways, one after the other."""

KINDS: Final[dict[str, Kind]] = {kind.name: kind for family in FAMILIES for kind in family}
