"""The plan of a run: which faults are injected, by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Final

from msgspec import Struct

import chaos.failover_faults
import chaos.process_faults
import chaos.store_faults  # noqa: F401 - importing them fills the table
from chaos.fault import FAULTS, Fault

MOST_CLIENTS: Final = 100


class Plan(Struct, frozen=True):
    """The plan of a run.

    Attributes:
        seed: decides everything that is random.
        store: the kind of store.
        faults: how many faults; with 0 the testbed is only started.
        first: number of the first one, from 1; to repeat a part of a run.
        only: a part of the names of the faults; empty for all kinds.
        clients: the number of clients.
    """

    seed: int
    store: str
    faults: int
    first: int = 1
    only: str = ""
    clients: int = MOST_CLIENTS

    def schedule(self) -> Iterator[tuple[int, Fault]]:
        """The faults with their numbers. Each kind comes once before any comes again."""
        kinds = [
            kind
            for kind in FAULTS
            if self.store in kind.stores and self.only.lower() in kind.name.lower()
        ]
        number = 0
        for turn in count():
            random.Random(f"{self.seed}:{self.store}:{turn}").shuffle(kinds)
            for kind in kinds:
                number += 1
                if number >= self.first + self.faults:
                    return
                if number >= self.first:
                    yield number, kind
