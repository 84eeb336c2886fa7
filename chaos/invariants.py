"""Invariants: what must hold whatever breaks, and what shows that one does not."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

CLAIM_LIMIT: Final = 2.0
"""Seconds for which a status may say ``current: true`` although the store differs."""


class Invariant(StrEnum):
    """A property that must hold whatever breaks."""

    NEWEST = "each client ends with the newest state of each of its contracts"
    GROWS = "the timestamps of a contract grow"
    CHANGED = "a client never receives an equal state twice in a row"
    CONNECTED = "a fault disconnects no client but those of a gateway that was killed or stopped"
    CURRENT = f"no status says current: true after the store has differed for {CLAIM_LIMIT:g} s"
    NAMED = "a status names the last message of each contract"
    PROVEN = "after a fault, status messages say current: true again"
    REST = "plain HTTP answers with the newest states"
    RUNS = "no process ends unless it is stopped, and then with exit status 0"
    STORED = "the store ends with the state that was published last"


class Violation(Struct, frozen=True):
    """A broken invariant.

    Attributes:
        invariant: which one.
        client: the client, or the process, that shows it.
        contract: the contract; empty if it is about no single one.
        text: the details.
    """

    invariant: Invariant
    client: str
    contract: str
    text: str
