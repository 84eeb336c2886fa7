"""The kinds of clients, and how many there are of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from chaos.checker import ClientChecker, ClientOptions
from chaos.clients.client import Client, Frontend
from chaos.clients.events import EventClient
from chaos.clients.library import LibraryClient
from chaos.clients.websocket import SlowClient, WebSocketClient
from chaos.invariants import Violation
from chaos.states import IDS


class Kind(msgspec.Struct, frozen=True):
    """A kind of client.

    Attributes:
        name: for reports.
        share: how many clients of a hundred are of this kind.
        make: its class.
        options: fields of `ClientOptions` besides the contracts.
        parameters: further query parameters.
    """

    name: str
    share: int
    make: type[Client]
    options: Mapping[str, Any] = {}
    parameters: Mapping[str, str] = {}


_STATUS: Final = {"status": "true"}
_LIBRARY: Final = {"resumes": True, "blind": True}

KINDS: Final[Sequence[Kind]] = (
    Kind("plain", 14, WebSocketClient),
    Kind("snapshot", 10, WebSocketClient, {"snapshot": True}),
    Kind("status", 14, WebSocketClient, {"snapshot": True}, _STATUS),
    Kind("resuming", 14, WebSocketClient, {"resumes": True}, _STATUS),
    Kind("throttled", 10, WebSocketClient, {"snapshot": True, "max_rate": 4.0}, _STATUS),
    Kind("sections", 6, WebSocketClient, {"snapshot": True, "sections": ("Aggregate",)}),
    Kind("sections", 4, WebSocketClient, {"snapshot": True, "sections": ("ContractInfo",)}),
    Kind("slow", 10, SlowClient, {"snapshot": True}, _STATUS),
    Kind("events", 5, EventClient, {"resumes": True}),
    Kind("events with status", 5, EventClient, {"resumes": True}, _STATUS),
    Kind("library", 8, LibraryClient, _LIBRARY, _STATUS),
)


def make_clients(
    count: int, frontend: Frontend, report: Callable[[Violation], None], chance: random.Random
) -> list[Client]:
    """Make clients of random kinds and selections.

    Args:
        count: their number, at most 100.
        frontend: where they connect.
        report: called with each violation.
        chance: decides.
    """
    kinds = [kind for kind in KINDS for _ in range(kind.share)]
    chance.shuffle(kinds)
    clients = []
    for n, kind in enumerate(kinds[:count]):
        contracts = chance.sample(IDS, chance.choice([1, 5, 10, 20, len(IDS)]))
        options = ClientOptions(tuple(contracts), **kind.options)
        client = kind.make(ClientChecker(f"{kind.name} {n}", options, report), frontend, chance)
        client.parameters = kind.parameters
        clients.append(client)
    return clients
