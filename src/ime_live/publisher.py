"""Publisher: market data in, changed states out to every gateway.

It checks a payload, and hands it to the store, whose script compares it with the last state,
gives it a version, keeps and publishes it, all at once. What a feed writes goes through here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from msgspec import Struct

from ime_live.errors import FencedError, ImeLiveError, PayloadError, StoreError
from ime_live.market import Payload, merge, read_payload, stored_json
from ime_live.settings import StoreSettings
from ime_live.store import Store

# Of a patch that others always overtake. Each attempt is one round trip and a script.
_ATTEMPTS: Final = 50


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
    """Publishes market data; use as ``async with Publisher(url) as publisher``.

    A contract's id is a text or a number: ``12345`` is ``"12345"``.
    """

    def __init__(
        self,
        redis_url: str = "redis://127.0.0.1:6379",
        *,
        key_prefix: str = "ime:",
        redis_timeout: float = 5.0,
    ) -> None:
        """Make a publisher; nothing is connected before it is used.

        Args:
            redis_url: where Redis or Valkey is.
            key_prefix: what its keys and channels begin with.
            redis_timeout: seconds to wait for an answer.

        Raises:
            SettingsError: ``redis_url`` is not a URL of Redis.
        """
        self._store = Store(
            StoreSettings(redis_url=redis_url, key_prefix=key_prefix, redis_timeout=redis_timeout)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._store.aclose()

    async def publish(
        self, contract_id: str | int, payload: Payload | Mapping[str, Any] | bytes
    ) -> Outcome:
        """Publish a contract's complete market data, if it differs from the last state.

        Raises:
            PayloadError: the payload is not whole, a field is unknown or of the wrong type.
            StoreError: Redis could not be reached or refused.
        """
        [outcome] = await self.publish_many([(contract_id, payload)])
        if outcome.error is not None:
            raise outcome.error
        return outcome

    async def publish_many(
        self,
        payloads: Iterable[tuple[str | int, Payload | Mapping[str, Any] | bytes]],
        *,
        token: int | None = None,
    ) -> list[Outcome]:
        """Publish many, in few round trips.

        Args:
            payloads: contract ids and their complete market data.
            token: a fencing token, see `ime_live.lease`: the write is refused if a newer token was
                used before. None if nobody else publishes, or it does no harm.

        Returns:
            One outcome each, in order. One that is refused carries its `error`; the others are
            published all the same.

        Raises:
            FencedError: a newer token was used before for one of the contracts. What the others
                were given is published.
            StoreError: Redis could not be reached. Some may have been published; to publish all
                of them again is safe.
        """
        outcomes: list[Outcome] = []
        items: list[tuple[str, bytes]] = []
        for given_id, payload in payloads:
            contract_id = str(given_id)
            try:
                items.append((_checked(contract_id), stored_json(read_payload(payload))))
                outcomes.append(Outcome(contract_id))
            except PayloadError as error:
                outcomes.append(Outcome(contract_id, error=error))
        results = iter(await self._store.publish(items, token))
        for n, outcome in enumerate(outcomes):
            if outcome.error is None:
                result = next(results)
                if isinstance(result, FencedError):
                    raise result
                if isinstance(result, StoreError):
                    outcomes[n] = Outcome(outcome.contract_id, error=result)
                else:
                    outcomes[n] = Outcome(outcome.contract_id, result.version, result.published)
        return outcomes

    async def patch(self, contract_id: str | int, **sections: Mapping[str, Any]) -> Outcome:
        """Publish the last state with some values changed.

        ``await publisher.patch("12345", BestLimit={"1": {"buy_price": 5}})`` changes one price.
        Two patches of one contract at the same time are both kept.

        Raises:
            PayloadError: the contract has no last state, or the result is not a payload.
            StoreError: Redis could not be reached or refused.
        """
        key = _checked(str(contract_id))
        for _ in range(_ATTEMPTS):
            last = (await self._store.last([key])).get(key)
            if last is None:
                raise PayloadError(f"contract {key} has no last state to merge into")
            data = stored_json(merge(last.payload, sections))
            stored = await self._store.publish_if(key, data, expected=last.version)
            if stored is not None:
                return Outcome(key, stored.version, stored.published)
        raise StoreError(f"contract {key} changes faster than a patch can be merged into it")


def _checked(contract_id: str) -> str:
    if not contract_id.strip():
        raise PayloadError("contract id is empty")
    return contract_id
