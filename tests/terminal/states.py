"""Messages of a stream, made as the client library makes them."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, Self

from ime_live.client.protocol.message import Message, Reader, Status
from ime_live.market import Payload

_READER = Reader(UTC, Payload)

NOW = datetime(2026, 5, 23, 11, 40, 1, tzinfo=UTC)


def message_of(
    payload: dict[str, Any], name: str = "A", seconds: float = 0, **day: object
) -> Message[Payload]:
    """A message; ``day`` is put into its ``Aggregate``."""
    data = copy.deepcopy(payload)
    data["Aggregate"] |= day
    at = datetime.fromtimestamp(NOW.timestamp() + seconds, UTC).replace(tzinfo=None)
    whole = {
        "contractName": name,
        "channel": "IME Stream",
        "timestamp": at.isoformat(timespec="microseconds"),
        "data": data,
    }
    message = _READER.read(json.dumps(whole).encode())
    assert isinstance(message, Message)
    return message


class FakeStream:
    """Stands for a stream and for what `connect` returns: gives messages that a test puts in."""

    def __init__(self) -> None:
        self.connected = True
        self.status: Status | None = None
        self._come: asyncio.Queue[Message[Payload] | Exception] = asyncio.Queue()
        self.tell: Callable[[Any], object] = print

    def put(self, *messages: Message[Payload] | Exception) -> None:
        """Let messages arrive, or an error that ends the stream."""
        for each in messages:
            self._come.put_nowait(each)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.connected = False

    async def __aiter__(self) -> AsyncIterator[Message[Payload]]:
        while True:
            each = await self._come.get()
            if isinstance(each, Exception):
                raise each
            yield each
