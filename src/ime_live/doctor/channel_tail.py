"""Channel tail: show the messages on contracts' channels in Redis, each with its review.

It also listens to channels that publishers use by mistake: those of a contract's name, and those
without the braces around the id.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from ime_live.clock import SYSTEM_CLOCK
from ime_live.contracts import Contract
from ime_live.doctor.publication import PublicationReviewer, Review
from ime_live.errors import PayloadError, StoreError, UnknownContractError
from ime_live.market_json import read_stored
from ime_live.registry import Registry
from ime_live.settings import StoreSettings
from ime_live.store.pubsub import PubSub
from ime_live.store.records import LastState
from ime_live.store.store import Store

_WAITING: Final = 10_000
"""Maximum number of messages that wait for their review; older ones are dropped and counted."""


class _TailedChannel(Struct, frozen=True):
    """A channel, the contract that it is for, and the fault of its name, if any."""

    contract_id: str
    fault: str | None = None


class Arrival(Struct, frozen=True, kw_only=True):
    """A message that has arrived, and its review.

    Attributes:
        contract_id: id of the contract.
        contract_name: its name; None if it is not registered.
        received: microseconds since the Unix epoch.
        raw: the message.
        review: its contents and faults.
    """

    contract_id: str
    contract_name: str | None
    received: int
    raw: bytes
    review: Review


class ChannelTail:
    """Listens to the channels of contracts; use ``async with`` and iterate over it.

    It continues after outages, and reports them.
    """

    def __init__(self, settings: StoreSettings, names: Iterable[str]) -> None:
        """Create a listener that is not connected yet.

        Args:
            settings: where Redis is.
            names: ids or names of contracts.
        """
        self._store = Store(settings)
        self._names = tuple(dict.fromkeys(names))
        self._contracts: dict[str, Contract | None] = {}
        self._channels: dict[str, _TailedChannel] = {}
        self._reviewers: dict[str, PublicationReviewer] = {}
        self._arrivals: deque[tuple[str, int, bytes] | str] = deque()
        self._left_out = 0
        self._arrived = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ChannelTail:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._store.aclose()

    async def start(self) -> list[str]:
        """Read the registry, and begin to listen.

        Returns:
            Notes about the contracts, such as those that are not registered.

        Raises:
            StoreError: Redis cannot be reached at the start, or refuses a command.
        """
        notes = await self._read_contracts()
        states = await self._states(self._contracts)
        for contract_id in self._contracts:
            state = states.get(contract_id)
            if isinstance(state, LastState):
                self._reviewers[contract_id].note_state(state.version)
            else:
                notes.append(f"{contract_id}: {self._unstored(contract_id, state)}")
        pubsub = PubSub(
            self._store,
            on_message=self._take,
            on_contracts=lambda _: None,
            on_connected=lambda: self._queue_text(
                "connected to Redis; waiting for messages"
                + "".join(f"; except {name}: {error}" for name, error in pubsub.refused.items())
            ),
            on_disconnected=lambda error: self._queue_text(f"{error}; waiting until Redis answers"),
        )
        pubsub.subscribe_to({channel: channel for channel in self._channels})
        self._listening = asyncio.create_task(pubsub.run())
        return notes

    async def __aiter__(self) -> AsyncIterator[Arrival | str]:
        """Iterate over messages with their reviews, and texts about the connection."""
        while True:
            if not self._arrivals:
                self._arrived.clear()
                await self._arrived.wait()
            batch = [*self._arrivals]
            self._arrivals.clear()
            if left_out := self._left_out:
                self._left_out = 0
                yield f"{left_out} messages arrived too fast, and are not shown"
            async for arrival in self._reviewed(batch):
                yield arrival

    async def _read_contracts(self) -> list[str]:
        registry = Registry(await self._store.contracts(), conflicts=[])
        notes: list[str] = []
        for name in self._names:
            contract_id, contract = name, None
            try:
                contract = registry.by_id(name)
            except UnknownContractError:
                try:
                    contract = registry.by_name(name)
                except UnknownContractError:
                    notes.append(
                        f"{name} is not a registered contract, so no client can ask for it; "
                        "register it: ime-live contracts import"
                    )
                else:
                    notes.append(
                        f"{name} is a name; the channel is that of its id: "
                        f"{self._store.keys.live(contract.contract_id)}"
                    )
            if contract is not None:
                contract_id = contract.contract_id
            self._contracts[contract_id] = contract
            self._reviewers.setdefault(contract_id, PublicationReviewer())
            self._add_channels(contract_id, contract)
        return notes

    def _add_channels(self, contract_id: str, contract: Contract | None) -> None:
        live = self._store.keys.live
        right = live(contract_id)
        rule = f"the message must be published to {right}, which gateways listen to"
        wrong = {live(contract_id).replace("{", "").replace("}", ""): "without the braces"}
        names = () if contract is None else (contract.contract_name, *contract.aliases)
        for name in names:
            wrong[live(name)] = "that of its name"
            wrong[live(name).replace("{", "").replace("}", "")] = "that of its name, without braces"
        for channel, what in wrong.items():
            fault = f"{rule}; it was published to {channel}, {what}"
            self._channels.setdefault(channel, _TailedChannel(contract_id, fault))
        self._channels[right] = _TailedChannel(contract_id)

    async def _states(self, ids: Iterable[str]) -> dict[str, LastState | PayloadError]:
        return await self._store.states(ids)

    def _take(self, channel: str, message: bytes) -> None:
        if len(self._arrivals) >= _WAITING:
            self._arrivals.popleft()
            self._left_out += 1
        self._arrivals.append((channel, SYSTEM_CLOCK.time_us(), message))
        self._arrived.set()

    def _queue_text(self, text: str) -> None:
        self._arrivals.append(text)
        self._arrived.set()

    async def _reviewed(
        self, batch: list[tuple[str, int, bytes] | str]
    ) -> AsyncIterator[Arrival | str]:
        ids = {self._channels[entry[0]].contract_id for entry in batch if isinstance(entry, tuple)}
        unreadable: str | None = None
        states: dict[str, LastState | PayloadError] = {}
        try:
            states = await self._states(ids)
            unknown = [i for i in ids if self._contracts[i] is None]
            self._contracts |= await self._store.contracts_of(unknown)
        except StoreError as error:
            unreadable = f"whether it is stored is not known: {error}"
        # Only the newest state is in the store: an older message of the batch cannot be compared.
        last = {
            self._channels[entry[0]].contract_id: n
            for n, entry in enumerate(batch)
            if isinstance(entry, tuple)
        }
        for n, entry in enumerate(batch):
            if isinstance(entry, str):
                yield entry
                continue
            channel, received, message = entry
            contract_id = self._channels[channel].contract_id
            review = self._review(self._channels[channel], message, received)
            notes = list(review.notes)
            if self._contracts[contract_id] is None:
                notes.append("the contract is not registered: ime-live contracts import")
            if unreadable is not None:
                notes.append(unreadable)
            elif last[contract_id] == n and review.accepted:
                notes += self._faults_of_stored(contract_id, review, states.get(contract_id))
            contract = self._contracts[contract_id]
            yield Arrival(
                contract_id=contract_id,
                contract_name=None if contract is None else contract.contract_name,
                received=received,
                raw=message,
                review=msgspec.structs.replace(review, notes=tuple(notes)),
            )

    def _review(self, channel: _TailedChannel, message: bytes, received: int) -> Review:
        if channel.fault is None:
            return self._reviewers[channel.contract_id].review(message, received)
        review = PublicationReviewer().review(message, received)
        return msgspec.structs.replace(review, faults=(channel.fault, *review.faults))

    def _unstored(self, contract_id: str, state: LastState | PayloadError | None) -> str:
        key = self._store.keys.last(contract_id)
        if isinstance(state, PayloadError):
            return f"the last state in {key} cannot be read: {state}"
        return f"no last state is stored in {key}, so snapshot=true has nothing to send"

    def _faults_of_stored(
        self, contract_id: str, review: Review, state: LastState | PayloadError | None
    ) -> Iterator[str]:
        if not isinstance(state, LastState):
            yield self._unstored(contract_id, state)
            return
        key = self._store.keys.last(contract_id)
        try:
            payload = read_stored(state.data)
        except PayloadError as error:
            yield f"the last state in {key} cannot be read: {error}"
            return
        if review.version is not None and state.version < review.version:
            yield (
                f"the state is not stored: {key} has version {state.version}, which is older; "
                "store a state before you publish it"
            )
        elif review.version in (None, state.version) and payload != review.payload:
            yield f"the state is not stored: {key} has other data; store it before you publish it"
