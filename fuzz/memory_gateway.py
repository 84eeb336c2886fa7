"""A gateway without sockets and without a store: its connections are objects in memory.

All else is the gateway's own code: HTTP, REST, streams, subscriptions, hub and pages.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from types import SimpleNamespace
from typing import Any, Final, cast

import msgspec

from ime_live.contracts import Contract, Market
from ime_live.gateway.api_docs.pages import routes_of
from ime_live.gateway.auth.authenticator import NoAuthenticator
from ime_live.gateway.auth.cors import Cors
from ime_live.gateway.http_protocol import CONTEXT, HttpProtocol
from ime_live.gateway.limits.rate_limit import RequestLimit
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.rest.handlers import Handlers
from ime_live.gateway.rest.readiness import Readiness
from ime_live.gateway.rest.request_admission import Admission
from ime_live.gateway.rest.routes import http_app
from ime_live.gateway.rest.status_report import StatusHandler
from ime_live.gateway.stream.live_selections import LiveSelections
from ime_live.gateway.upstream.sections import read_sections
from ime_live.gateway.upstream.status_messages import StatusMessages
from ime_live.gateway.web.static_files import module_routes, page_routes
from ime_live.market import Update, timestamp_of
from ime_live.registry import Registry
from ime_live.settings import AuthMode, GatewaySettings
from ime_live.status import FeedState, FeedStatus, MarketStatus
from ime_live.store.bar import Bar
from ime_live.timezones import zone_of
from tests.support.clock import GivenClock
from tests.support.gateway_connections import Process, Transport
from tests.support.hub_world import NOW, A

LIMIT: Final = 65_536
"""Bytes of the largest request."""

REGISTRY: Final = Registry(
    [
        Contract(contract_id="1", contract_name="KASH", market=Market.FUTURES),
        Contract(contract_id="2", contract_name="سکه0312پ01", aliases=("OLD",)),
        Contract(
            contract_id="3",
            contract_name="KASH05C250",
            market=Market.OPTION,
            underlying_id="KA",
            underlying_name="Saffron",
            option_type="call",
            strike_price=250_000,
            expiration_date=date(2026, 12, 1),
        ),
    ]
)
_STATE: Final = Update(NOW, A)
_BAR: Final = Bar(720, 1.0, 4.0, 1.0, 3.0, 10.0, 30.0, 2.0, 350.0, 2.5, 3.5)
_STATUS: Final = FeedStatus(
    FeedState.LIVE, NOW, NOW, {Market.FUTURES: MarketStatus(FeedState.LIVE, NOW, 1)}
)


class MemoryGateway(Process):
    """A process that serves three contracts, one of which has no state."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - as in GatewaySettings
        super().__init__(max_request=LIMIT, trusted_proxies="192.0.2.1", **settings)
        self.wanted: Counter[str] = Counter()
        """How many streams want each contract."""
        self._state = SimpleNamespace(
            connections=self.connections, tasks=set(), total_requests=0, default_headers=[]
        )
        zone = zone_of("UTC")
        itself = cast("Any", self)
        parts: Any = self.context
        parts.zone = zone
        parts.contract_cache = SimpleNamespace(registry=REGISTRY)
        parts.upstream = self
        parts.event_overlap = 1_000_000
        parts.status_loop = self
        parts.status_messages = StatusMessages(
            self.world.hub,
            clock=parts.market_clock,
            zone=zone,
            feed=lambda: _STATUS,
            on_sent=lambda: None,
        )
        parts.live_selections = LiveSelections(
            contract_cache=parts.contract_cache,
            upstream=itself,
            hub=self.world.hub,
            limit=self.context.settings.max_contracts,
            clock=parts.market_clock,
            timestamp=lambda moment: timestamp_of(moment, zone),
        )

    def connect(self) -> Transport:
        """Return a new connection."""
        config: Any = SimpleNamespace(loaded_app=_app(), timeout_keep_alive=5)
        state: Any = self._state
        return Transport(HttpProtocol(config, state, {CONTEXT: self.context}))

    async def receive(self, connection: Transport, data: bytes) -> None:
        """Let a client send bytes, read the responses, and leave."""
        connection.send(data)
        await self._work()
        while connection.unread and connection.ended is None and connection.is_reading():
            connection.send(b"")
            await self._work()
        self.timers.pass_time(0.6)
        await self._work()
        connection.abort()
        await self._work()

    async def _work(self) -> None:
        for _ in range(1000):
            turns = await self.settle()
            self.world.tick()
            if not turns and not self._state.tasks and not self.world.callbacks:
                return

    # The upstream, and the comparisons of the status loop

    async def acquire(self, ids: Iterable[str]) -> None:
        """Open contracts."""
        self.start_acquire(ids)

    def start_acquire(self, ids: Iterable[str]) -> set[asyncio.Task[None]]:
        """Open contracts at once."""
        for contract_id in ids:
            self.wanted[contract_id] += 1
            if self.wanted[contract_id] == 1:
                self.world.open(contract_id, last=None if contract_id == "2" else _STATE)
        return set()

    async def wait_for_arrivals(self, arrivals: Collection[Awaitable[None]]) -> None:
        """Do nothing: all contracts arrive at once."""
        assert not arrivals

    def check_channels(self, ids: Collection[str]) -> None:
        """None is refused."""

    def release(self, ids: Iterable[str]) -> None:
        """Close contracts."""
        for contract_id in ids:
            self.wanted[contract_id] -= 1
            assert self.wanted[contract_id] >= 0, "released twice"
            if not self.wanted[contract_id]:
                del self.wanted[contract_id]
                self.world.states.close(contract_id)

    async def compare(self, ids: Iterable[str]) -> Collection[str]:
        """Return that all contracts are as in the store."""
        return set(ids)


class _RestContext:
    """The data of REST calls, in place of a store."""

    def __init__(self) -> None:
        self.registry = REGISTRY
        self.status = _STATUS
        self.readable = self.reached = True
        self.cors = Cors([])
        clock = GivenClock(lambda: NOW)
        diagnostics = Diagnostics()
        parts: Any = self
        admission = Admission(NoAuthenticator(), RequestLimit(0), diagnostics, clock)
        self.handlers = Handlers(
            admission=admission,
            contract_cache=parts,
            state_reader=parts,
            feed=parts,
            bar_store=cast("Any", SimpleNamespace(read=_read_bars)),
            diagnostics=diagnostics,
            max_contracts=100,
            is_store_connected=lambda: True,
            zone=zone_of("UTC"),
            clock=clock,
        )
        self.status_handler = StatusHandler(
            admission=admission,
            contract_cache=parts,
            feed=parts,
            bars=cast("Any", SimpleNamespace(status=None)),
            versions=cast("Any", SimpleNamespace(read=_read_versions)),
            diagnostics=diagnostics,
            zone=zone_of("UTC"),
            clock=clock,
        )

    async def read(self, ids: Iterable[str]) -> Mapping[str, object]:
        sections = read_sections(msgspec.json.encode(A))
        return {contract_id: sections for contract_id in ids if contract_id != "2"}

    def now(self) -> float:
        return NOW / 1e6

    def readiness(self) -> Readiness:
        return Readiness(True, None, True, len(self.registry), 0, FeedState.LIVE)

    def exposition(self) -> bytes:
        return b""

    def count_request(self, call: str, status: int, seconds: float) -> None:
        del call, status, seconds


async def _read_bars(days: Sequence[tuple[str, date]]) -> list[list[Bar]]:
    return [[_BAR] for _ in days]


async def _read_versions(ids: Iterable[str]) -> Mapping[str, int]:
    return {contract_id: NOW for contract_id in ids if contract_id != "2"}


@cache
def _app() -> Any:  # noqa: ANN401 - ASGI
    settings = GatewaySettings(auth=AuthMode.NONE)
    pages = [*page_routes(), *module_routes(), *routes_of(lambda: settings)]
    return http_app(cast("Any", _RestContext()), settings, pages)


def in_loop(work: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], None]:
    """Return a function that does asynchronous work in an event loop of its own."""

    def run(data: bytes) -> None:
        loop = asyncio.new_event_loop()
        errors: list[BaseException] = []
        loop.set_exception_handler(
            lambda _, context: errors.append(context.get("exception") or RuntimeError(str(context)))
        )
        try:
            loop.run_until_complete(work(data))
        finally:
            loop.close()
        if errors:
            raise errors[0]

    return run
