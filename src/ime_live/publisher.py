"""Publisher: publish the market data of contracts to all gateways when it has changed.

It checks a payload and passes it to the store. There one script compares it with the last state,
assigns a version, stores and publishes it atomically. The project's own feeds publish through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from msgspec import Struct

from ime_live.errors import (
    FencedError,
    ImeLiveError,
    PayloadError,
    SettingsError,
    StoreError,
    UnknownContractError,
)
from ime_live.market import Payload, Update
from ime_live.market_json import merge, read_payload, stored_json
from ime_live.registry import Registry
from ime_live.settings import StoreSettings, flag, options
from ime_live.settings.rule import WHOLE_NUMBER, Rule
from ime_live.store.network.connections import Connections
from ime_live.store.records import LastState
from ime_live.store.store import Store

# Attempts of a patch while other writers change the contract; each is one read and one script.
_ATTEMPTS: Final = 50


_IdT = TypeVar("_IdT")
_PayloadT = TypeVar("_PayloadT")

_CONNECTIONS: Final = Rule(
    "the connections of another part", lambda value: isinstance(value, Connections)
).or_none()
_TIMES: Final = Rule(
    "datetimes by contract id",
    lambda value: (
        isinstance(value, Mapping) and all(isinstance(time, datetime) for time in value.values())
    ),
).or_none()


class PublishResult(Struct, frozen=True):
    """Result of publishing one payload.

    Attributes:
        contract_id: id of the contract.
        version: version of the contract's last state now, in microseconds since the epoch; 0 if
            the payload was refused.
        published: True if the payload was a change, False if it equals the last state or was
            refused.
        error: why the payload was refused; None if it was accepted.
    """

    contract_id: str
    version: int = 0
    published: bool = False
    error: ImeLiveError | None = None

    @property
    def kind(self) -> str:
        """The error without the parts that differ from state to state, for logs; else empty."""
        if isinstance(self.error, PayloadError | StoreError):
            return self.error.kind
        return str(self.error or "")


class Publisher:
    """Publishes the market data of contracts to Redis or Valkey.

    ::

        async with Publisher("redis://127.0.0.1:6379") as publisher:
            result = await publisher.publish("12345", payload)

    The id of a contract is a text or a whole number: ``12345`` means ``"12345"``. The contract must
    be registered, because clients could not subscribe to it otherwise. If the store has no
    contracts at all, for example after a loss of its data, every id is accepted.
    """

    def __init__(
        self,
        redis_url: str = "redis://127.0.0.1:6379",
        *,
        key_prefix: str = "ime:",
        redis_timeout: float = 5.0,
        connections: Connections | None = None,
    ) -> None:
        """Create a publisher. It connects on first use.

        Args:
            redis_url: address of Redis or Valkey, in one of the forms in docs/redis.md.
            key_prefix: prefix of all keys and channels.
            redis_timeout: seconds to wait for an answer.
            connections: connections of another part of the process, to use and to leave open. Then
                ``redis_url`` and ``redis_timeout`` are ignored. None opens its own.

        Raises:
            SettingsError: an argument cannot be used; the text names it.
        """
        _CONNECTIONS.check("connections", connections)
        try:
            settings = StoreSettings(
                redis_url=redis_url, key_prefix=key_prefix, redis_timeout=redis_timeout
            )
            self._store = Store(settings, connections=connections)
        except SettingsError as error:
            raise SettingsError(_with_arguments(str(error))) from None
        self._registered: set[str] = set()
        """Ids that were registered when they were published for the first time."""

    @property
    def connections(self) -> Connections:
        """The connections to Redis."""
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
        """Close the connections, unless they were passed in."""
        await self._store.aclose()

    async def publish(
        self, contract_id: str | int, payload: Payload | Mapping[str, Any] | bytes
    ) -> PublishResult:
        """Publish the complete market data of a contract, if it differs from the last state.

        Args:
            contract_id: id of the contract.
            payload: all four sections, as a `Payload`, a mapping or JSON.

        Returns:
            The version of the contract's last state, and whether the payload was a change.

        Raises:
            PayloadError: the payload is incomplete or too long, a field of it is unknown or of the
                wrong type, or ``contract_id`` cannot be an id.
            UnknownContractError: no registered contract has this id.
            StoreSettingsError: Redis does not match the settings.
            StoreError: Redis could not be reached, or refused a command.
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
        """Publish the market data of many contracts, in few round trips.

        Args:
            payloads: pairs of a contract's id and its complete market data.
            token: fencing token, see `ime_live.store.lease`. The write is refused if a newer token
                was used before. None writes without a token: for a single publisher, or where a
                second one does no harm.
            pushed_at: by contract id, when the exchange pushed the data, by the exchange's clock.
                It is stored beside the state for the next leader. None stores no such time.

        Returns:
            One result per payload, in order. A refused payload has its `error`; the others are
            published.

        Raises:
            SettingsError: an argument is not of its type; the text names it.
            FencedError: a newer token was used before for one of the contracts. The other
                contracts are published.
            StoreSettingsError: Redis does not match the settings.
            StoreError: Redis could not be reached. Some payloads may be published; it is safe to
                publish all of them again.
        """
        WHOLE_NUMBER.or_none().check("token", token)
        _TIMES.check("pushed_at", pushed_at)
        outcomes: list[PublishResult] = []
        items: list[tuple[str, bytes]] = []
        pairs = _pairs_of(payloads)
        unknown: Mapping[str, ImeLiveError] = {}
        if token is None:  # a feed has registered what it publishes
            unknown = await self._unregistered(_ids_of(contract_id for contract_id, _ in pairs))
        for identifier, payload in pairs:
            contract_id = str(identifier)
            try:
                contract_id = _id_of(identifier)
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
        """Change some values of a contract's last state, and publish the result.

        ``await publisher.patch("12345", BestLimit={"1": {"buy_price": 5}})`` changes one price.
        Two patches of one contract at the same time both take effect.

        Args:
            contract_id: id of the contract.
            sections: by section, the values to change.

        Returns:
            The version of the contract's last state, and whether the patch was a change.

        Raises:
            PayloadError: the contract has no last state or it cannot be read, the result is not a
                valid payload, or ``contract_id`` cannot be an id.
            UnknownContractError: no registered contract has this id.
            StoreSettingsError: Redis does not match the settings.
            StoreError: Redis could not be reached or refused a command, or other writers kept
                changing the contract.
        """
        key = _id_of(contract_id)
        for name, section in sections.items():
            if not isinstance(section, Mapping):
                raise PayloadError(f"section {name} must be a mapping, got {section!r}")
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

    async def _unregistered(
        self, contract_ids: Iterable[str]
    ) -> Mapping[str, UnknownContractError]:
        """Return the ids that are not registered, each with its error."""
        ids = set(contract_ids) - self._registered
        if not ids:
            return {}
        # A contract whose record cannot be read is registered as well.
        self._registered.update(await self._store.registered(sorted(ids)))
        ids -= self._registered
        if not ids:
            return {}
        registry = Registry(await self._store.contracts(), conflicts=[])
        if not registry:
            return {}
        return {i: UnknownContractError(_unknown(i, registry)) for i in ids}


def _read(contract_id: str, last: LastState | PayloadError) -> Update:
    try:
        if isinstance(last, PayloadError):
            raise last
        return last.read()
    except PayloadError as error:
        text = f"the last state of contract {contract_id} cannot be merged into: {error}"
        raise PayloadError(text) from error


def _with_arguments(text: str) -> str:
    """Name the arguments of `Publisher` in an error text, where it has options."""
    for option in options(StoreSettings):
        text = text.replace(flag(option.name), option.name)
    return text


def _pairs_of(payloads: Iterable[tuple[_IdT, _PayloadT]]) -> list[tuple[_IdT, _PayloadT]]:
    """Return the pairs as a list.

    Raises:
        SettingsError: they are not pairs of an id and market data.
    """
    rule = "payloads must be pairs of a contract's id and its market data"
    if not isinstance(payloads, Iterable) or isinstance(payloads, str | bytes | Mapping):
        raise SettingsError(f"{rule}, got {payloads!r}")
    pairs = list(payloads)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise SettingsError(f"{rule}, got {pair!r} among them")
    return pairs


def _id_of(value: object) -> str:
    """Convert an id to text.

    Raises:
        PayloadError: it is not a text or a whole number, is empty, has blanks around it, or
            cannot be encoded as UTF-8.
    """
    # True is an int in Python, and str() accepts b"5" and None.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PayloadError(
            f"contract id must be a text or a whole number, got {type(value).__name__}"
        )
    text = str(value)
    if not text.strip():
        raise PayloadError(f"contract id must not be empty, got {text!r}")
    if text != text.strip():
        raise PayloadError(f"contract id must have no blanks around it, got {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as from bytes that were decoded wrongly
        raise PayloadError(
            f"contract id must be a text that UTF-8 can carry, got {text!r}"
        ) from None
    return text


def _ids_of(values: Iterable[object]) -> Iterator[str]:
    """Return the values that can be ids."""
    for value in values:
        with suppress(PayloadError):
            yield _id_of(value)


def _unknown(contract_id: str, registry: Registry) -> str:
    try:
        contract = registry.by_name(contract_id)
    except UnknownContractError:
        return f"unknown contract: {contract_id} (register it with `ime-live contracts import`)"
    return (
        f"unknown contract: {contract_id} is the name of contract {contract.contract_id}; "
        "publish by the id"
    )
