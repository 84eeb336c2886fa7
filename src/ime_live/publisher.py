"""Publisher: market data in, changed states out to every gateway.

It checks a payload, and hands it to the store, whose script compares it with the last state,
gives it a version, keeps and publishes it, all at once. What a feed writes goes through here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from msgspec import Struct

from ime_live.contracts import Registry
from ime_live.errors import (
    FencedError,
    ImeLiveError,
    PayloadError,
    StoreError,
    UnknownContractError,
)
from ime_live.market import Payload, Update, merge, read_payload, stored_json
from ime_live.settings import StoreSettings
from ime_live.store.connections import Connections
from ime_live.store.store import State, Store

# Of a patch that others always overtake. Each attempt is one round trip and a script.
_ATTEMPTS: Final = 50


class PublishResult(Struct, frozen=True):
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

    @property
    def kind(self) -> str:
        """The error without what differs from state to state, for logs; empty if there is none."""
        if isinstance(self.error, PayloadError | StoreError):
            return self.error.kind
        return str(self.error or "")


class Publisher:
    """Publishes market data; use as ``async with Publisher(url) as publisher``.

    A contract's id is a text or a whole number: ``12345`` is ``"12345"``. The contract must be
    registered, since nobody could subscribe to it otherwise; only while no contract at all is
    registered, as in a store that has lost its data, every id is taken.
    """

    def __init__(
        self,
        redis_url: str = "redis://127.0.0.1:6379",
        *,
        key_prefix: str = "ime:",
        redis_timeout: float = 5.0,
        connections: Connections | None = None,
    ) -> None:
        """Make a publisher; nothing is connected before it is used.

        Args:
            redis_url: where Redis or Valkey is.
            key_prefix: what its keys and channels begin with.
            redis_timeout: seconds to wait for an answer.
            connections: of another part, to use in place of its own and to leave open.
                ``redis_url`` and ``redis_timeout`` do not count then.

        Raises:
            SettingsError: ``redis_url`` is none of the forms in docs/redis.md.
        """
        self._store = Store(
            StoreSettings(redis_url=redis_url, key_prefix=key_prefix, redis_timeout=redis_timeout),
            connections=connections,
        )
        self._registered: set[str] = set()
        """Ids that were registered when they were published for the first time."""

    @property
    def connections(self) -> Connections:
        """How Redis is reached."""
        return self._store.connections

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
        """Close its own connections."""
        await self._store.aclose()

    async def publish(
        self, contract_id: str | int, payload: Payload | Mapping[str, Any] | bytes
    ) -> PublishResult:
        """Publish a contract's complete market data, if it differs from the last state.

        Raises:
            PayloadError: the payload is not whole or too long, a field is unknown or of the wrong
                type; or ``contract_id`` cannot be an id.
            UnknownContractError: no contract of this id is registered.
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
        pushed_at: Mapping[str, datetime] | None = None,
    ) -> list[PublishResult]:
        """Publish many, in few round trips.

        Args:
            payloads: contract ids and their complete market data.
            token: a fencing token, see `ime_live.store.lease`: the write is refused if a newer
                token was used before. None if nobody else publishes, or it does no harm.
            pushed_at: by contract id, when the exchange pushed what the payload is from, on its
                own clock; kept beside the state for the next feed that leads.

        Returns:
            One outcome each, in order. One that is refused carries its `error`; the others are
            published all the same.

        Raises:
            FencedError: a newer token was used before for one of the contracts. What the others
                were given is published.
            StoreError: Redis could not be reached. Some may have been published; to publish all
                of them again is safe.
        """
        outcomes: list[PublishResult] = []
        items: list[tuple[str, bytes]] = []
        given = list(payloads)
        unknown: Mapping[str, ImeLiveError] = {}
        if token is None:  # a feed has registered what it publishes
            unknown = await self._unregistered(_ids_of(each for each, _ in given))
        for given_id, payload in given:
            contract_id = str(given_id)
            try:
                contract_id = _id_of(given_id)
                if contract_id in unknown:
                    raise unknown[contract_id]
                items.append((contract_id, stored_json(read_payload(payload))))
                outcomes.append(PublishResult(contract_id))
            except (PayloadError, UnknownContractError) as error:
                outcomes.append(PublishResult(contract_id, error=error))
        results = iter(await self._store.publish(items, token, pushed_at))
        for n, outcome in enumerate(outcomes):
            if outcome.error is None:
                result = next(results)
                if isinstance(result, FencedError):
                    raise result
                if isinstance(result, StoreError):
                    outcomes[n] = PublishResult(outcome.contract_id, error=result)
                else:
                    outcomes[n] = PublishResult(
                        outcome.contract_id, result.version, result.published
                    )
        return outcomes

    async def patch(self, contract_id: str | int, **sections: Mapping[str, Any]) -> PublishResult:
        """Publish the last state with some values changed.

        ``await publisher.patch("12345", BestLimit={"1": {"buy_price": 5}})`` changes one price.
        Two patches of one contract at the same time are both kept.

        Raises:
            PayloadError: the contract has no last state that can be read, or the result is not a
                payload.
            UnknownContractError: no contract of this id is registered.
            StoreError: Redis could not be reached or refused.
        """
        key = _id_of(contract_id)
        if error := (await self._unregistered([key])).get(key):
            raise error
        for _ in range(_ATTEMPTS):
            last = (await self._store.states([key])).get(key)
            if last is None:
                raise PayloadError(f"contract {key} has no last state to merge into")
            update = _read(key, last)
            data = stored_json(merge(update.payload, sections))
            stored = await self._store.publish_if(key, data, expected=update.version)
            if stored is not None:
                return PublishResult(key, stored.version, stored.published)
        raise StoreError(f"contract {key} changes faster than a patch can be merged into it")

    async def _unregistered(self, given: Iterable[str]) -> Mapping[str, UnknownContractError]:
        """Those of the ids that are not registered, each with its error."""
        ids = set(given) - self._registered
        if not ids:
            return {}
        # One whose record cannot be read is registered all the same.
        self._registered.update(await self._store.registered(sorted(ids)))
        ids -= self._registered
        if not ids:
            return {}
        registry = Registry(await self._store.contracts(), conflicts=[])
        if not registry:
            return {}
        return {i: UnknownContractError(_unknown(i, registry)) for i in ids}


def _read(contract_id: str, last: State | PayloadError) -> Update:
    try:
        if isinstance(last, PayloadError):
            raise last
        return last.read()
    except PayloadError as error:
        text = f"the last state of contract {contract_id} cannot be merged into: {error}"
        raise PayloadError(text) from error


def _id_of(given: object) -> str:
    """The id that somebody gives as a text or a whole number.

    Raises:
        PayloadError: it is neither, empty, or has blanks around it, or no UTF-8 can carry it.
    """
    # True is a number in Python, and b"5" and None have texts, too.
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise PayloadError(
            f"contract id must be a text or a whole number, got {type(given).__name__}"
        )
    text = str(given)
    if not text.strip():
        raise PayloadError("contract id is empty")
    if text != text.strip():
        raise PayloadError(f"contract id must have no blanks around it, got {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:  # a half of a pair, as of bytes that were decoded in a wrong way
        raise PayloadError(
            f"contract id must be a text that UTF-8 can carry, got {text!r}"
        ) from None
    return text


def _ids_of(given: Iterable[object]) -> Iterator[str]:
    """Those that can be ids."""
    for each in given:
        with suppress(PayloadError):
            yield _id_of(each)


def _unknown(contract_id: str, registry: Registry) -> str:
    try:
        contract = registry.by_name(contract_id)
    except UnknownContractError:
        return f"unknown contract: {contract_id} (register it with `ime-live contracts import`)"
    return (
        f"unknown contract: {contract_id} is a name, of contract {contract.contract_id}: "
        "publish by the id"
    )
