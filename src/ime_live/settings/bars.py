"""Settings of the program that keeps bars."""

from __future__ import annotations

from dataclasses import dataclass

from ime_live.settings.log import LogSettings
from ime_live.settings.metrics import MetricsSettings
from ime_live.settings.option import option
from ime_live.settings.store import StoreSettings


@dataclass(frozen=True, kw_only=True)
class BarsSettings(StoreSettings, MetricsSettings, LogSettings):
    """The bar aggregator, which makes bars of the streams."""

    bars_days: int = option(
        10,
        "Time for which the bars of a trading day are kept after their last change [days].",
        minimum=1,
        maximum=3650,
    )
    bars_metrics_port: int = option(
        0,
        "Port for /health, /ready and /metrics of the bar aggregator; 0 opens none.",
        minimum=0,
        maximum=65_535,
    )
