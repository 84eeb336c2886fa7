"""One shared subscription for all clients of a server.

The channel of a message names the contract, by which the clients are found. A server adds its own
way to send.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from typing import Generic, TypeVar
from urllib.parse import parse_qs, urlsplit

import redis.asyncio as redis

T = TypeVar("T")

Deliver = Callable[[str, str], None]
"""Takes a contract's name and a message for all who want it."""


def names_in(path: str) -> list[str]:
    """The contracts that a request asks for."""
    return parse_qs(urlsplit(path).query)["contract_names"]


class Rooms(Generic[T]):
    """The members that want each contract."""

    def __init__(self) -> None:
        self._members: defaultdict[str, set[T]] = defaultdict(set)

    def join(self, names: list[str], member: T) -> None:
        """Add a member to some contracts."""
        for name in names:
            self._members[name].add(member)

    def leave(self, names: list[str], member: T) -> None:
        """Remove a member from its contracts."""
        for name in names:
            self._members[name].discard(member)

    def of(self, name: str) -> set[T]:
        """The members of a contract."""
        return self._members[name]


async def listen(deliver: Deliver) -> None:
    """Hand every message of every channel to ``deliver``, forever."""
    client = redis.from_url(os.environ["REDIS_URL"], protocol=2)
    pubsub = client.pubsub()
    await pubsub.psubscribe("bench:*")
    async for message in pubsub.listen():
        if message["type"] == "pmessage":
            deliver(message["channel"].decode().partition(":")[2], message["data"].decode())
