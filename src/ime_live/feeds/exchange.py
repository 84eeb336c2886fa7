"""The exchange: run the feed, or the recorder, of its SignalR hub."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import structlog

from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import FeedError
from ime_live.feeds.boards.newest import NewestBoards
from ime_live.feeds.boards.price_limits import read_boards, read_price_limits
from ime_live.feeds.ime.source import ExchangeSource
from ime_live.feeds.pipeline.exchange_clock import ExchangeClock
from ime_live.feeds.pipeline.feed import Feed, ReadOptions
from ime_live.feeds.pipeline.feed_metrics import FeedMetrics
from ime_live.feeds.pipeline.fenced import FencedWriter
from ime_live.feeds.pipeline.health import FeedHealth
from ime_live.feeds.pipeline.hours import TradingHours
from ime_live.feeds.pipeline.ingest import Ingest
from ime_live.feeds.pipeline.leadership import holder_name
from ime_live.feeds.pipeline.registrar import Registrar
from ime_live.feeds.recording.recording import Recorder
from ime_live.monitoring.monitor import Monitor
from ime_live.process.listener import bind
from ime_live.publisher import Publisher
from ime_live.settings import FeedSettings, RecorderSettings
from ime_live.store.lease import Lease
from ime_live.store.store import Store, check_settings
from ime_live.timezones import TEHRAN, zone_of

log = structlog.get_logger()


async def feed(settings: FeedSettings) -> None:
    """Publish the exchange's market data until cancelled.

    Raises:
        SettingsError: the settings cannot be used; the text says why.
        FeedError: the recording cannot be started.
    """
    boards = read_boards(settings.boards)
    zone = zone_of(TEHRAN)
    reading = ReadOptions(boards, read_price_limits(settings.price_limits), zone)
    health = FeedHealth(
        boards,
        stale_after=settings.stale_after,
        hours=TradingHours(settings, zone),
        max_lag=settings.max_lag,
    )
    exchange_clock = ExchangeClock(zone, SYSTEM_CLOCK)
    source = ExchangeSource(settings, boards, on_date=exchange_clock.note_date)
    async with AsyncExitStack() as stack:
        listener = None
        if port := settings.feed_metrics_port:
            options = ("metrics_host", "feed_metrics_port")
            listener = stack.enter_context(bind(settings.metrics_host, port, options=options))
        await check_settings(settings, writes=True)
        store = await stack.enter_async_context(Store(settings))
        # All share the connections, so that each notices when one of them breaks.
        connections = store.connections
        lease = Lease(settings, holder_name(), connections=connections)
        publisher = Publisher(key_prefix=settings.key_prefix, connections=connections)
        newest = NewestBoards()
        writer = FencedWriter(publisher, Registrar(store), newest)
        recorder = None
        if settings.record:
            recorder = _recorder(settings, Path(settings.record))
            stack.callback(_end, recorder)

        running = Feed(
            source,
            Ingest(writer, writer.register, newest),
            lease,
            health,
            reading,
            writer=writer,
            clock=exchange_clock,
            recorder=recorder,
            failovers=lambda: connections.failovers,
        )
        monitor = Monitor(FeedMetrics(running, writer))
        await stack.enter_async_context(monitor.serving(listener))
        await running.run()


async def record(settings: RecorderSettings, file: Path) -> None:
    """Record the exchange's frames until cancelled.

    Raises:
        SettingsError: the settings cannot be used; the text says why.
        FeedError: the frames cannot be recorded.
    """
    source = ExchangeSource(settings, read_boards(settings.boards))
    with _recorder(settings, file) as recorder:
        async with aclosing(source.frames()) as frames:
            async for frame in frames:
                recorder.write(frame)


def _recorder(settings: RecorderSettings | FeedSettings, file: Path) -> Recorder:
    return Recorder(file, zone_of(TEHRAN), size=settings.record_size, keep=settings.record_keep)


def _end(recorder: Recorder) -> None:
    try:
        recorder.close()
    except FeedError as error:
        log.warning("the end of the recording was not written", error=str(error))
