"""Assemble, start and stop the parts of one gateway process."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import Final

import structlog

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.gateway.auth.cors import Cors
from ime_live.gateway.auth.keys import authenticator_from
from ime_live.gateway.auth.revocations import Revocations
from ime_live.gateway.drain import Drain
from ime_live.gateway.http.lingering import SlowReader
from ime_live.gateway.hub.hub import Hub
from ime_live.gateway.hub.state_table import StateTable
from ime_live.gateway.limits.rate_limit import RequestLimit
from ime_live.gateway.limits.request_memory import RequestMemory
from ime_live.gateway.limits.stream_limits import StreamLimits
from ime_live.gateway.limits.work_queue import WorkQueue
from ime_live.gateway.metrics import Metrics
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.rest.handlers import Handlers
from ime_live.gateway.rest.readiness import ReadinessProbe
from ime_live.gateway.rest.request_admission import Admission
from ime_live.gateway.rest.status_report import StatusHandler
from ime_live.gateway.stream import fanout
from ime_live.gateway.stream.context import EVENT_OVERLAP, GatewayContext
from ime_live.gateway.stream.handshake import Negotiator
from ime_live.gateway.stream.heartbeat import Heartbeat
from ime_live.gateway.stream.live_selections import LiveSelections
from ime_live.gateway.stream.open_streams import OpenStreams
from ime_live.gateway.tasks import keep_running
from ime_live.gateway.upstream.contract_cache import ContractCache
from ime_live.gateway.upstream.feed_monitor import FeedMonitor
from ime_live.gateway.upstream.reconciler import Reconciler
from ime_live.gateway.upstream.revocation_cache import RevocationCache
from ime_live.gateway.upstream.state_reader import StateReader
from ime_live.gateway.upstream.status_loop import StatusLoop
from ime_live.gateway.upstream.status_messages import StatusMessages
from ime_live.gateway.upstream.upstream import Upstream
from ime_live.gateway.upstream.version_cache import VersionCache
from ime_live.gateway.worker_metrics import forget_dead_workers
from ime_live.log_limiter import LogLimiter
from ime_live.logs import configure_logging
from ime_live.market import timestamp_of
from ime_live.monitoring.commit import built_commit
from ime_live.rate import Rate
from ime_live.settings import AuthMode, GatewaySettings
from ime_live.store.bar_store import BarStore
from ime_live.store.lease import BARS, Lease
from ime_live.store.pubsub import PubSub
from ime_live.store.revocation_store import RevocationStore
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of

log = structlog.get_logger()

_KEYS_INTERVAL: Final = 1.0  # seconds between two checks of the files of keys


class Gateway:
    """All parts of one gateway process. Make it in a running event loop."""

    def __init__(self, settings: GatewaySettings, clock: Clock = SYSTEM_CLOCK) -> None:
        """Assemble the parts.

        Args:
            settings: the settings.
            clock: the clock of market data; that of a recording while it is played. Tokens expire
                by the machine's clock.

        Raises:
            SettingsError: settings contradict each other, or a file of keys cannot be read.
        """
        loop = asyncio.get_running_loop()
        self._limited = LogLimiter(log)
        self._store = Store(settings)
        self._metrics = Metrics(clock)
        self._metrics.program.set_build(
            version=version("ime-live"), commit=built_commit(), fanout=fanout.IMPLEMENTATION
        )
        states = StateTable(
            zone=settings.zone,
            clock=clock,
            events=self._metrics,
        )
        hub = Hub(
            states,
            send=fanout.send,
            clock=clock,
            call_soon=loop.call_soon,
            call_later=loop.call_later,
            events=self._metrics,
        )
        self._pubsub = PubSub(
            self._store,
            on_message=lambda contract_id, message: self._upstream.on_message(contract_id, message),
            on_contracts=self._on_contracts,
            on_revoked=lambda: self._revocation_cache.on_changed(),
            on_connected=self._on_connected,
        )
        reconciler = Reconciler(
            states,
            self._store,
            caught_up=self._pubsub.caught_up,
        )
        self._upstream = Upstream(
            states,
            self._pubsub,
            reconciler,
            on_received=self._metrics.count_received,
            on_malformed=self._metrics.count_malformed,
        )
        self._contract_cache = ContractCache(
            self._store,
            settings.contracts_interval,
            on_change=lambda: self.context.live_selections.on_registry(),
        )
        # Read once a second, so that a half-open connection is noticed for all parts that use it.
        self._lease = Lease(settings, connections=self._store.connections)
        self._feed = FeedMonitor(
            self._lease, clock=clock, on_change=lambda: self.context.status_loop.on_change()
        )
        bars_lease = Lease(settings, program=BARS, connections=self._store.connections)
        self._bars = FeedMonitor(bars_lease, program=BARS, clock=clock)
        versions = VersionCache(self._store)
        status_messages = StatusMessages(
            hub,
            zone=settings.zone,
            clock=clock,
            feed=lambda: self._feed.status,
            on_sent=self._metrics.count_status,
        )
        # Without tokens, no revocations are loaded.
        self._revocations = Revocations(
            loaded=settings.auth is AuthMode.NONE, on_change=self._end_revoked
        )
        self._revocation_cache = RevocationCache(
            RevocationStore(settings, connections=self._store.connections), self._revocations
        )
        authenticator = authenticator_from(settings, revocations=self._revocations)
        diagnostics = Diagnostics(strict=settings.strict_query)
        self._requests = RequestLimit(settings.request_rate)
        admission = Admission(authenticator, self._requests, diagnostics)
        self.status_handler = StatusHandler(
            admission=admission,
            contract_cache=self._contract_cache,
            feed=self._feed,
            bars=self._bars,
            versions=versions,
            diagnostics=diagnostics,
            zone=settings.zone,
            clock=clock,
        )
        """Handler of requests for status reports."""
        self._state_reader = StateReader(self._store)
        self.handlers = Handlers(
            admission=admission,
            contract_cache=self._contract_cache,
            state_reader=self._state_reader,
            feed=self._feed,
            bar_store=BarStore(settings, connections=self._store.connections),
            diagnostics=diagnostics,
            max_contracts=settings.max_contracts,
            is_store_connected=lambda: self._pubsub.connected,
            zone=zone_of(TEHRAN),
            clock=clock,
        )
        """Handlers of the REST calls."""
        open_streams = OpenStreams()
        drain = Drain(open_streams, grace=settings.shutdown_grace, spread=settings.shutdown_spread)
        self.readiness = ReadinessProbe(
            drain=drain,
            pubsub=self._pubsub,
            contract_cache=self._contract_cache,
            revocations=self._revocations,
            feed=self._feed,
            metrics=self._metrics,
        ).read
        """Returns whether the process can serve clients, and the reason if it cannot."""
        self.context = GatewayContext(
            settings=settings,
            zone=settings.zone,
            authenticator=authenticator,
            contract_cache=self._contract_cache,
            diagnostics=diagnostics,
            upstream=self._upstream,
            live_selections=LiveSelections(
                contract_cache=self._contract_cache,
                upstream=self._upstream,
                hub=hub,
                limit=settings.max_contracts,
                clock=clock,
                timestamp=partial(timestamp_of, zone=settings.zone),
            ),
            states=states,
            hub=hub,
            status_messages=status_messages,
            status_loop=StatusLoop(
                status_messages, reconciler, self._feed, settings.status_interval
            ),
            heartbeat=Heartbeat(
                settings.ping_interval,
                settings.ping_timeout,
                settings.slow_client_timeout,
                limited=self._limited,
            ),
            metrics=self._metrics,
            loop=loop,
            handshake=Negotiator(compression=settings.compression),
            limits=StreamLimits(settings),
            request_memory=RequestMemory(settings.max_waiting),
            work=WorkQueue(loop.call_soon),
            slow_reader=SlowReader(loop.call_later, SYSTEM_CLOCK),
            open_streams=open_streams,
            drain=drain,
            event_overlap=0 if self._store.connections.one_clock else EVENT_OVERLAP,
            limited=self._limited,
            log=structlog.get_logger().bind(),
            clock=SYSTEM_CLOCK,
            market_clock=clock,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the background tasks, without waiting for the store."""
        forget_dead_workers()
        await self.context.authenticator.start()
        for name, run in (
            ("pubsub", self._pubsub.run),
            *self._auth_tasks(),
            ("upstream", self._upstream.run),
            ("contract_cache", self._contract_cache.run),
            ("live_selections", self.context.live_selections.run),
            ("feed", self._feed.run),
            ("bars", self._bars.run),
            ("status_loop", self.context.status_loop.run),
            ("heartbeat", self._run_heartbeat),
            ("metrics", self._sync_metrics),
        ):
            work = keep_running(run, partial(self._note_failure, name))
            self._tasks.append(asyncio.create_task(work, name=name))
        # Imported objects stay for ever, so the garbage collector need not search them. It took
        # 2.4 % of the CPU while 15,000 clients connected. Higher thresholds made no difference.
        gc.collect()
        gc.freeze()

    async def reload(self, settings: GatewaySettings) -> None:
        """Use other limits, keys and another log level from now on; streams stay open.

        Args:
            settings: new settings, which must differ in live options only.

        Raises:
            SettingsError: keys cannot be loaded; nothing has changed.
        """
        context = self.context
        # First, because this may fail. A new JWKS URL may take a few seconds.
        await context.authenticator.adopt(authenticator_from(settings))
        configure_logging(settings)
        context.log = structlog.get_logger().bind()
        context.apply(settings)
        self.handlers.max_contracts = settings.max_contracts
        self._requests.rate = Rate(settings.request_rate)
        self._revocation_cache.on_changed()

    async def aclose(self) -> None:
        """Stop the background tasks and close all parts, even if one of them raises."""
        if self.context.settings.auth is not AuthMode.NONE:
            today = datetime.fromtimestamp(self.now(), self.context.zone).date().isoformat()
            await self.context.open_streams.report(today)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        async with AsyncExitStack() as stack:
            stack.callback(self._metrics.close)
            stack.push_async_callback(self._store.aclose)
            stack.push_async_callback(self.context.authenticator.aclose)
            stack.push_async_callback(self._state_reader.aclose)
            stack.push_async_callback(self._upstream.aclose)

    def _note_failure(self, part: str, error: BaseException) -> None:
        self._metrics.count_failure(part)
        self._limited.error(
            "background task failed; restarting it",
            key=(part, repr(error)),
            part=part,
            exc_info=error,
        )

    def _auth_tasks(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        if self.context.settings.auth is AuthMode.NONE:
            return []
        return [
            ("revocations", self._revocation_cache.run),
            ("keys", self._watch_keys),
            ("usage", partial(self.context.open_streams.run, self.context.zone)),
        ]

    async def _watch_keys(self) -> None:
        while True:
            await asyncio.sleep(_KEYS_INTERVAL)
            self.context.authenticator.reload()

    def _end_revoked(self) -> None:
        self.context.open_streams.recheck(self.context.authenticator.check)

    async def _run_heartbeat(self) -> None:
        heartbeat = self.context.heartbeat
        while True:
            await asyncio.sleep(heartbeat.resolution)
            heartbeat.tick(SYSTEM_CLOCK.monotonic())
            self._end_slowest()

    def _end_slowest(self) -> None:
        limits = self.context.limits
        if limits.memory_is_full:
            waiting = limits.waiting
            ended = self.context.heartbeat.end_slowest(lambda: not limits.memory_is_full)
            event = "too much data waits for slow clients; closed some of them"
            self._limited.warning(event, key=event, bytes=waiting, closed=ended)

    async def _sync_metrics(self) -> None:
        while True:
            self._note_state()
            self._metrics.sync()
            await self._metrics.program.measure_loop()

    def _note_state(self) -> None:
        """Set the gauges of the metrics to the present state of the process."""
        metrics = self._metrics
        metrics.contracts = self._upstream.contracts
        metrics.ready = self.readiness().ready
        metrics.drain_state = self.context.drain.state
        metrics.store_connected = self._pubsub.connected
        metrics.feed = self._feed.status
        metrics.waiting = self.context.limits.waiting

    # Callbacks of the Pub/Sub connection

    def _on_contracts(self, ids: list[str] | None) -> None:
        if ids is None:
            self._contract_cache.on_connected()
        else:
            self._contract_cache.on_changed(ids)

    def _on_connected(self) -> None:
        self._contract_cache.on_connected()
        self._revocation_cache.on_changed()
        self._upstream.on_connected()

    # Interface `RestContext`

    @property
    def cors(self) -> Cors:
        """The web pages that may read responses."""
        return self.context.cors

    def now(self) -> float:
        """Return the present time [Unix seconds]."""
        return SYSTEM_CLOCK.time()

    def count_request(self, call: str, status: int, seconds: float) -> None:
        """Count a REST request and its duration [s]; ``call`` must be one of a few paths."""
        self._metrics.count_request(call, status, seconds)

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        self._note_state()
        return self._metrics.exposition()
