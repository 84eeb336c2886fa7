"""The command that keeps bars."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.running import run_until_stopped
from ime_live.settings import BarsSettings


@with_settings(BarsSettings)
def bars(*, settings: BarsSettings, reread: Callable[[], BarsSettings]) -> None:
    """Keep one-minute bars of all contracts in Redis, for candles.

    It reads the updates of all contracts until Ctrl-C or SIGTERM. A second process stands by, and
    takes over if the first one fails.
    """
    from ime_live.bars.aggregator import BarAggregator
    from ime_live.bars.bar_metrics import BarMetrics
    from ime_live.logs import configure_logging
    from ime_live.monitoring.monitor import Monitor
    from ime_live.process.listener import bind
    from ime_live.process.reload import Reloader

    async def keep() -> None:
        with ExitStack() as stack:
            listener = None
            if port := settings.bars_metrics_port:
                options = ("metrics_host", "bars_metrics_port")
                listener = stack.enter_context(bind(settings.metrics_host, port, options=options))
            aggregator = BarAggregator(settings)
            monitor = Monitor(BarMetrics(aggregator))
            async with monitor.serving(listener):
                await aggregator.run()

    configure_logging(settings)
    run_until_stopped(keep(), Reloader(settings, reread).reload)
