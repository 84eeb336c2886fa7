"""Live selections: keep the contracts of streams with filters up to date with the registry.

All streams with the same filters, named contracts and patterns of a token share one *live
selection*. It is worked out once, its contracts are acquired once, and the hub finds the group of
its subscribers by this object, whatever its size. When the registry changes, the difference is
applied in one step to all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final, Protocol

import structlog
from msgspec import Struct

from ime_live.clock import Clock
from ime_live.contracts import Contract
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import ContractRef
from ime_live.gateway.hub.hub import Hub
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.query.contract_filter import FilterMatcher, matching, references
from ime_live.gateway.query.stream_query import StreamSelection, check_count
from ime_live.gateway.stream.selection import answer
from ime_live.gateway.tasks import TimeSlice
from ime_live.gateway.upstream.upstream import Upstream
from ime_live.log_limiter import LogLimiter
from ime_live.messages import LISTING, ControlFault
from ime_live.registry import Registry

log = structlog.get_logger()

_KEY: Final = "listing"
"""Key of control messages about listings, see `Hub.send`."""


class Matches(Struct, frozen=True):
    """The contracts of a live selection at one moment.

    Attributes:
        contracts: contract id → how messages name it; those that are named come first.
        left_out: names of those that match and are not in it, because of the limit.
    """

    contracts: Mapping[str, ContractRef]
    left_out: tuple[str, ...] = ()


class LiveSelection:
    """A selection that follows the registry. Only `LiveSelections` changes it.

    Attributes:
        named: contracts that were asked for by name or id; they stay, whatever is listed.
        filters: the filters of the others.
        matches: all its contracts at present.
        users: number of streams that have it.
    """

    __slots__ = (
        "_limit",
        "_matchers",
        "_may_see",
        "arrivals",
        "filters",
        "key",
        "matches",
        "named",
        "told",
        "users",
    )

    def __init__(
        self,
        key: object,
        selected: StreamSelection,
        may_see: Callable[[Contract], bool],
        limit: int,
    ) -> None:
        """Make a selection without contracts.

        Args:
            key: by which it is found.
            selected: the named contracts and the filters.
            may_see: whether the token covers a contract.
            limit: number of contracts that it may have.
        """
        self.key = key
        self.named = selected.named
        self.filters = selected.filters
        self.matches = Matches({})
        self.users = 0
        self.arrivals: set[asyncio.Task[None]] = set()
        """Subscriptions under way of its first contracts."""
        self.told: dict[Subscriber, Matches] = {}
        """Subscribers that get messages about listings, each with the contracts it knows of."""
        self._matchers = tuple(map(FilterMatcher, selected.filters))
        self._may_see = may_see
        self._limit = limit

    @property
    def contracts(self) -> Mapping[str, ContractRef]:
        """Contract id → how messages name it."""
        return self.matches.contracts

    @property
    def matching(self) -> Collection[ContractRef]:
        """The contracts that filters match, without those that are named."""
        return [ref for i, ref in self.contracts.items() if i not in self.named]

    def work_out(self, registry: Registry) -> Matches:
        """Return the contracts that it has with this registry.

        Contracts that it has already go before others when there are more than the limit.
        """
        found = references(matching(self._matchers, registry, self._may_see), registry, self.named)
        room = self._limit - len(self.named)
        if len(found) <= room:
            return Matches({**self.named, **found})
        before = self.contracts
        kept = sorted(found, key=lambda contract_id: contract_id not in before)
        chosen = set(kept[:room])
        return Matches(
            {**self.named, **{i: ref for i, ref in found.items() if i in chosen}},
            tuple(ref.name for i, ref in found.items() if i not in chosen),
        )


class RegistrySource(Protocol):
    """Interface to the present registry, as the contract cache."""

    @property
    def registry(self) -> Registry:
        """The registry as it is now."""


class LiveSelections:
    """All live selections of a process, kept current by `run`."""

    def __init__(
        self,
        *,
        contract_cache: RegistrySource,
        upstream: Upstream,
        hub: Hub,
        limit: int,
        clock: Clock,
        timestamp: Callable[[int], str],
    ) -> None:
        """Start without selections.

        Args:
            contract_cache: has the registry.
            upstream: supplies the state table with contracts.
            hub: the hub of the subscribers.
            limit: number of contracts that a stream may have.
            clock: the clock of timestamps; while a recording is played, its time.
            timestamp: returns the text of a moment in microseconds since the epoch.
        """
        self._contract_cache = contract_cache
        self._upstream = upstream
        self._hub = hub
        self.limit = limit
        """Contracts per stream; it counts for selections that are made or changed from now on."""
        self._clock = clock
        self._timestamp = timestamp
        self._selections: dict[object, LiveSelection] = {}
        self.limited = LogLimiter(log, clock=clock)
        self._wake = asyncio.Event()
        self._shared: dict[tuple[int, wire.Format], bytes] | None = None
        """Frames by what a subscriber knew and its format, while one change is announced to all."""

    def __len__(self) -> int:
        return len(self._selections)

    def open(self, selected: StreamSelection, identity: Identity) -> LiveSelection:
        """Return the live selection of a stream. Await `arrived` before its use, `close` it once.

        Args:
            selected: the named contracts and the filters.
            identity: the client; its token restricts what the filters match.

        Raises:
            RefusedError: 1008; more contracts match than a stream may have.
        """
        key = (self.limit, selected.filters, identity.patterns, tuple(selected.named.items()))
        live = self._selections.get(key)
        if live is None:
            live = LiveSelection(key, selected, identity.may_see, self.limit)
            live.matches = live.work_out(self._contract_cache.registry)
        check_count(len(live.contracts) + len(live.matches.left_out), self.limit)
        if not live.users:
            self._selections[key] = live
            live.arrivals = self._upstream.want(live.contracts)
        live.users += 1
        return live

    async def arrived(self, live: LiveSelection) -> None:
        """Wait until the contracts of a selection are subscribed and their states known.

        It returns earlier if the store cannot be reached or hangs, as `Upstream.acquire`.
        """
        if live.arrivals:
            live.arrivals = {task for task in live.arrivals if not task.done()}
            await self._upstream.arrived(live.arrivals)

    def close(self, live: LiveSelection) -> None:
        """End one use of a selection, whose subscriber has left the hub or its group."""
        live.users -= 1
        if not live.users:
            del self._selections[live.key]
            self._upstream.release(live.contracts)

    def watch(self, live: LiveSelection, subscriber: Subscriber) -> None:
        """Send a subscriber messages about later listings."""
        live.told[subscriber] = live.matches

    def unwatch(self, live: LiveSelection, subscriber: Subscriber) -> None:
        """Stop sending a subscriber messages about listings."""
        live.told.pop(subscriber, None)

    # The registry

    def on_registry(self) -> None:
        """Apply the registry, which has changed, to all selections."""
        self._wake.set()

    async def run(self) -> None:
        """Apply each change of the registry, until cancelled."""
        self._wake.set()  # an earlier run may have failed in the middle
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._selections:
                await self._follow(self._contract_cache.registry)

    async def _follow(self, registry: Registry) -> None:
        changes: list[tuple[LiveSelection, Matches]] = []
        arrivals: set[asyncio.Task[None]] = set()
        time_slice = TimeSlice(self._clock)
        for live in list(self._selections.values()):
            matches = live.work_out(registry)
            if live.users and matches != live.matches:
                # Before it is applied: a subscriber must not miss what is published meanwhile.
                arrivals |= self._upstream.want(_beside(matches.contracts, live.contracts))
                changes.append((live, matches))
            await time_slice.yield_if_over()
        await self._upstream.arrived(arrivals)
        for live, matches in changes:
            if live.users:
                self._apply(live, matches)
            else:
                self._upstream.release(_beside(matches.contracts, live.contracts))

    def _apply(self, live: LiveSelection, matches: Matches) -> None:
        before, live.matches = live.matches, matches
        removed = _beside(before.contracts, matches.contracts)
        renamed = {
            i: ref for i, ref in matches.contracts.items() if before.contracts.get(i) is not ref
        }
        if matches.left_out and matches.left_out != before.left_out:
            self.limited.warning(
                "contracts are left out of streams",
                key="left out",
                matching=len(matches.contracts) + len(matches.left_out),
                limit=self.limit,
            )
        self._shared = {}
        for subscriber in list(live.told):
            self._hub.send(subscriber, partial(self._frame, live, subscriber), _KEY)
        self._shared = None
        self._hub.revise(live, renamed, removed)
        self._upstream.release(removed)

    def _frame(self, live: LiveSelection, subscriber: Subscriber) -> bytes:
        """Make a message with all changes since the subscriber's last one."""
        told, now = live.told.get(subscriber, live.matches), live.matches
        if subscriber in live.told:
            live.told[subscriber] = now
        # A slow subscriber may make it later, and knows less.
        shared = {} if self._shared is None else self._shared
        key = id(told), subscriber.group.format
        if key not in shared:
            timestamp = self._timestamp(self._clock.time_us()).encode()
            text = wire.control_message(timestamp, _listing(live, told, now))
            shared[key] = wire.framed(text, subscriber.group.format)
        return shared[key]


def _listing(live: LiveSelection, told: Matches, now: Matches) -> bytes:
    before, present = set(told.contracts.values()), set(now.contracts.values())
    known = set(told.left_out)
    total = len(now.contracts) + len(now.left_out)
    limit = len(now.contracts)
    return answer(
        live.named,
        [
            ControlFault(name, f"too many contracts: {total}, at most {limit}")
            for name in now.left_out
            if name not in known
        ],
        action=LISTING,
        filters=live.filters,
        matching=live.matching,
        change=(
            [ref for ref in now.contracts.values() if ref not in before],
            [ref for ref in told.contracts.values() if ref not in present],
        ),
    )


def _beside(these: Mapping[str, ContractRef], others: Mapping[str, ContractRef]) -> list[str]:
    return [contract_id for contract_id in these if contract_id not in others]
