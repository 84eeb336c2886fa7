"""Settings of the bar aggregator: limits of the days and of the port."""

from __future__ import annotations

from typing import Any

import pytest

from ime_live.errors import SettingsError
from ime_live.settings import BarsSettings
from tests.support.rows import each_row


@each_row(
    ("values", "text"),
    [
        ({"bars_days": 0}, "--bars-days must be 1 or more, got 0"),
        ({"bars_days": 3651}, "--bars-days must be 3650 or less, got 3651"),
        ({"bars_metrics_port": 65_536}, "--bars-metrics-port must be 65535 or less, got 65536"),
    ],
)
def test_value_out_of_range_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        BarsSettings(**values)
    assert str(refused.value) == text


def test_port_for_metrics_is_closed_and_on_loopback_by_default() -> None:
    settings = BarsSettings()
    assert (settings.bars_metrics_port, settings.metrics_host) == (0, "127.0.0.1")
