"""Settings of the port on which feed and bars show their metrics."""

from __future__ import annotations

from dataclasses import dataclass

from ime_live.settings.option import Checked, option


@dataclass(frozen=True, kw_only=True)
class MetricsSettings(Checked):
    """The address of the port for metrics."""

    metrics_host: str = option(
        "127.0.0.1",
        "Address on which feed and bars answer /health, /ready and /metrics without a token.",
    )
