"""Publisher: market data in, changed states out to every gateway.

It checks a payload, and hands it to the store, whose script compares it with the last state,
gives it a version, keeps and publishes it, all at once. What a feed writes goes through here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from ime_live.errors import ImeLiveError
from ime_live.market import Payload


class Outcome(Struct, frozen=True):
    """What became of a payload.

    Attributes:
        contract_id: the contract it belongs to.
        version: of the state that is now the last one, microseconds since the epoch; 0 if the
            payload was refused.
        published: True if it was a change, False if it was equal to the last state.
        error: why it was refused, else None.
    """

    contract_id: str
    version: int = 0
    published: bool = False
    error: ImeLiveError | None = None


class Publisher:
    """Publishes market data; see `ime_live.publisher`. Use as ``async with Publisher(url)``."""

    def __init__(
        self, redis_url: str = "redis://127.0.0.1:6379", *, key_prefix: str = "ime:"
    ) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        raise NotImplementedError

    async def publish(
        self, contract_id: str, payload: Payload | Mapping[str, Any] | bytes
    ) -> Outcome:
        """One payload; raises PayloadError, StoreError."""
        raise NotImplementedError

    async def publish_many(
        self, payloads: Iterable[tuple[str, Payload | Mapping[str, Any] | bytes]]
    ) -> list[Outcome]:
        """Many, pipelined, one outcome each in order; a bad payload is an outcome with `error`."""
        raise NotImplementedError
