"""Live selections: keep the contracts of streams with filters up to date with the registry.

All streams with the same filters, named contracts and token patterns share one *live selection*.
Its contracts are found and acquired once, and the hub finds the group of its subscribers by this
object, whatever its size. When the registry changes, the difference is applied in one step to all
of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Final, Protocol, TypeVar

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

T = TypeVar("T")

_KEY: Final = "listing"
"""Key of control messages about listings; see `Hub.send`."""


class Matches(Struct, frozen=True):
    """The contracts of a live selection at one time.

    Attributes:
        contracts: contract id → reference; contracts that were named in the request come first.
        left_out: names of contracts that match a filter and are left out because of the limit.
    """

    contracts: Mapping[str, ContractRef]
    left_out: tuple[str, ...] = ()


class LiveSelection:
    """A selection that follows the registry. Only `LiveSelections` changes it.

    Attributes:
        named: contracts that were requested by name or id; they stay, whatever is listed.
        filters: filters for the other contracts.
        matches: all present contracts.
        users: number of streams with this selection.
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
        "users",
        "watchers",
    )

    def __init__(
        self,
        key: object,
        selection: StreamSelection,
        may_see: Callable[[Contract], bool],
        limit: int,
    ) -> None:
        """Make a selection without contracts.

        Args:
            key: key of the selection in `LiveSelections`.
            selection: the named contracts and the filters.
            may_see: returns whether the token covers a contract.
            limit: maximum number of contracts.
        """
        self.key = key
        self.named = selection.named
        self.filters = selection.filters
        self.matches = Matches({})
        self.users = 0
        self.arrivals: set[asyncio.Task[None]] = set()
        """Tasks that subscribe to the first contracts; see `Upstream.start_acquire`."""
        self.watchers: dict[Subscriber, Matches] = {}
        """Subscribers that get messages about listings, each with the contracts of its last one."""
        self._matchers = tuple(map(FilterMatcher, selection.filters))
        self._may_see = may_see
        self._limit = limit

    @property
    def contracts(self) -> Mapping[str, ContractRef]:
        """Contract id → reference."""
        return self.matches.contracts

    @property
    def matching(self) -> Collection[ContractRef]:
        """The contracts that a filter matches, without the named ones."""
        return [ref for i, ref in self.contracts.items() if i not in self.named]

    def find_matches(self, registry: Registry) -> Matches:
        """Return the named contracts, and those in a registry that a filter matches.

        If they are more than the limit, present contracts take precedence over new ones.
        """
        refs = references(matching(self._matchers, registry, self._may_see), registry, self.named)
        room = self._limit - len(self.named)
        if len(refs) <= room:
            return Matches({**self.named, **refs})
        present = self.contracts
        order = sorted(refs, key=lambda contract_id: contract_id not in present)
        chosen = set(order[:room])
        return Matches(
            {**self.named, **{i: ref for i, ref in refs.items() if i in chosen}},
            tuple(ref.name for i, ref in refs.items() if i not in chosen),
        )


class RegistrySource(Protocol):
    """Interface to the present registry, such as that of the contract cache."""

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
            contract_cache: holds the present registry.
            upstream: supplies the state table with contracts.
            hub: the hub of the subscribers.
            limit: maximum number of contracts per stream.
            clock: the clock of timestamps; that of a recording while it is played.
            timestamp: returns the timestamp of a version [microseconds since the epoch].
        """
        self._contract_cache = contract_cache
        self._upstream = upstream
        self._hub = hub
        self.limit = limit
        """Maximum number of contracts per stream; a change applies to later selections only."""
        self._clock = clock
        self._timestamp = timestamp
        self._selections: dict[object, LiveSelection] = {}
        self.limited = LogLimiter(log, clock=clock)
        self._wake = asyncio.Event()
        self._shared: dict[tuple[int, wire.Format], bytes] | None = None
        """Frames by the last contracts and the format of a subscriber; None unless a change is
        being announced to all."""

    def __len__(self) -> int:
        return len(self._selections)

    def open(self, selection: StreamSelection, identity: Identity) -> LiveSelection:
        """Return the live selection of a stream. Call `wait_for_arrivals` first, and `close` once.

        Args:
            selection: the named contracts and the filters.
            identity: identity of the client, whose token restricts the matches of the filters.

        Raises:
            RefusedError: 1008; more contracts match than a stream may have.
        """
        key = (self.limit, selection.filters, identity.patterns, tuple(selection.named.items()))
        live = self._selections.get(key)
        if live is None:
            live = LiveSelection(key, selection, identity.may_see, self.limit)
            live.matches = live.find_matches(self._contract_cache.registry)
        check_count(len(live.contracts) + len(live.matches.left_out), self.limit)
        if not live.users:
            self._selections[key] = live
            live.arrivals = self._upstream.start_acquire(live.contracts)
        live.users += 1
        return live

    async def wait_for_arrivals(self, live: LiveSelection) -> None:
        """Wait until the contracts of a selection are subscribed and their states loaded.

        Like `Upstream.acquire`, this returns earlier if the store cannot be reached or hangs.
        """
        if live.arrivals:
            live.arrivals = {task for task in live.arrivals if not task.done()}
            await self._upstream.wait_for_arrivals(live.arrivals)

    def close(self, live: LiveSelection) -> None:
        """End one use of a selection; its subscriber must have left the hub or the group."""
        live.users -= 1
        if not live.users:
            del self._selections[live.key]
            self._upstream.release(live.contracts)

    def watch(self, live: LiveSelection, subscriber: Subscriber) -> None:
        """Begin to send a subscriber messages about listings."""
        live.watchers[subscriber] = live.matches

    def unwatch(self, live: LiveSelection, subscriber: Subscriber) -> None:
        """Stop sending a subscriber messages about listings."""
        live.watchers.pop(subscriber, None)

    # Changes of the registry

    def on_registry(self) -> None:
        """Update all selections soon, because the registry has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Update all selections at each change of the registry, until cancelled."""
        self._wake.set()  # an earlier run may have failed before all were updated
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
            matches = live.find_matches(registry)
            if live.users and matches != live.matches:
                # Before the change is applied, so that a subscriber misses no update.
                arrivals |= self._upstream.start_acquire(_not_in(matches.contracts, live.contracts))
                changes.append((live, matches))
            await time_slice.yield_if_over()
        await self._upstream.wait_for_arrivals(arrivals)
        for live, matches in changes:
            if live.users:
                self._apply(live, matches)
            else:
                self._upstream.release(_not_in(matches.contracts, live.contracts))

    def _apply(self, live: LiveSelection, matches: Matches) -> None:
        previous, live.matches = live.matches, matches
        removed = _not_in(previous.contracts, matches.contracts)
        changed = {
            i: ref for i, ref in matches.contracts.items() if previous.contracts.get(i) is not ref
        }
        if matches.left_out and matches.left_out != previous.left_out:
            self.limited.warning(
                "contracts are left out of streams",
                key="left out",
                matching=len(matches.contracts) + len(matches.left_out),
                limit=self.limit,
            )
        self._shared = {}
        for subscriber in list(live.watchers):
            self._hub.send(subscriber, partial(self._frame, live, subscriber), _KEY)
        self._shared = None
        self._hub.revise(live, changed, removed)
        self._upstream.release(removed)

    def _frame(self, live: LiveSelection, subscriber: Subscriber) -> bytes:
        """Return the frame of a message with all changes since the subscriber's last one."""
        previous, present = live.watchers.get(subscriber, live.matches), live.matches
        if subscriber in live.watchers:
            live.watchers[subscriber] = present
        # For a slow subscriber the frame is made later, and is not shared.
        shared = {} if self._shared is None else self._shared
        key = id(previous), subscriber.group.format
        if key not in shared:
            timestamp = self._timestamp(self._clock.time_us()).encode()
            text = wire.control_message(timestamp, _listing(live, previous, present))
            shared[key] = wire.framed(text, subscriber.group.format)
        return shared[key]


def _listing(live: LiveSelection, previous: Matches, present: Matches) -> bytes:
    previous_refs, present_refs = previous.contracts.values(), present.contracts.values()
    total = len(present.contracts) + len(present.left_out)
    limit = len(present.contracts)
    return answer(
        live.named,
        [
            ControlFault(name, f"too many contracts: {total}, at most {limit}")
            for name in _not_in(present.left_out, previous.left_out)
        ],
        action=LISTING,
        filters=live.filters,
        matching=live.matching,
        change=(_not_in(present_refs, previous_refs), _not_in(previous_refs, present_refs)),
    )


def _not_in(items: Iterable[T], others: Iterable[T]) -> list[T]:
    others = set(others)
    return [item for item in items if item not in others]
