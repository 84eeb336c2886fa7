"""Metrics of several workers: their sum, also while another one starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ime_live.gateway.worker_metrics import MULTIPROCESS_VARIABLE
from tests.gateway.test_metrics import samples

_WORKER = """
from ime_live.gateway.metrics import Metrics
metrics = Metrics()
metrics.opened()
metrics.opened()
metrics.closed(1000, "client left")
metrics.delivered(3, 0)
print(metrics.exposition().decode())
metrics.close()
"""


def test_metrics_of_workers_are_added_up(tmp_path: Path) -> None:
    environment = {**os.environ, MULTIPROCESS_VARIABLE: str(tmp_path)}
    for worker in (1, 2):
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-W", "error", "-c", _WORKER],
            env=environment,
            capture_output=True,
            check=True,
        )
        found = samples(done.stdout)
        assert found["deliveries_total{}"] == 3 * worker
        assert found["connections_opened_total{}"] == 2 * worker
        # The first one's connections ended with it.
        assert found["connections{}"] == 1


def test_scrape_while_another_worker_starts_is_answered(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").touch()  # as it is before that worker has given it a size
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", _WORKER],
        env={**os.environ, MULTIPROCESS_VARIABLE: str(tmp_path)},
        capture_output=True,
        check=True,
    )
    assert samples(done.stdout)["deliveries_total{}"] == 3
