"""Metrics of several workers: each worker writes its own to files, and each can read all.

This is the multiprocess mode of the Prometheus library, if `PROMETHEUS_MULTIPROC_DIR` is set.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from prometheus_client import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from ime_live.errors import SettingsError, system_reason
from ime_live.settings import flag

MULTIPROCESS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

# Files per worker: one for counters, one for histograms, and one for each of two kinds of gauges.
# The size is the initial one [bytes].
_METRIC_FILES: Final = 4
_METRIC_FILE_SIZE: Final = 65_536


@contextmanager
def metrics_folder(workers: int) -> Generator[str, None, None]:
    """Make a temporary folder for the metrics of several workers.

    Raises:
        SettingsError: there is not enough space.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ime-live-metrics-"))
            with tempfile.TemporaryDirectory(dir=folder) as trial:
                for number in range(workers * _METRIC_FILES):
                    # `truncate` would allocate no space. Without space, the first write into the
                    # mapped file would end the worker (SIGBUS).
                    Path(trial, str(number)).write_bytes(bytes(_METRIC_FILE_SIZE))
        except OSError as error:
            size = workers * _METRIC_FILES * _METRIC_FILE_SIZE >> 10
            raise SettingsError(
                f"{flag('workers')} {workers} needs {size} KiB for files of metrics in the "
                f"temporary directory (TMPDIR): {system_reason(error)}"
            ) from error
        yield folder


class WorkersCollector(MultiProcessCollector):
    """Reads the files of all workers, except empty ones.

    A starting worker creates a file before it sets its size. prometheus-client 0.26 raises for an
    empty file, so a scrape at that moment would fail.
    """

    def collect(self) -> Iterable[Metric]:
        """Return the sums of the metrics of all workers."""
        files = [str(file) for file in Path(self._path).glob("*.db") if _has_size(file)]
        merged: Iterable[Metric] = self.merge(files)  # type: ignore[no-untyped-call]
        return merged


def _has_size(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # its worker has exited
        return False


def forget_dead_workers() -> None:
    """Remove the gauges of killed workers from the sums; call this when a worker starts."""
    for file in Path(os.environ.get(MULTIPROCESS_VARIABLE, os.devnull)).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
