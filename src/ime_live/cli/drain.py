"""The command that takes a gateway out of service, and reports its progress."""

from __future__ import annotations

import os
import time
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import typer
from msgspec import Struct

from ime_live.cli.arguments.options import with_settings
from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import ImeLiveError, SettingsError
from ime_live.process import signals
from ime_live.settings import DrainSettings, flag

if TYPE_CHECKING:
    from ime_live.gateway.pid_file import PidFile, RunningGateway

_POLL_INTERVAL: Final = 1.0  # seconds; the gateway updates its metrics as often
_TIMEOUT: Final = 5.0  # seconds for an answer
_PATIENCE: Final = 30.0  # seconds without an answer after which the gateway counts as hanging


class DrainProgress(Struct, frozen=True):
    """Progress of a drain.

    Attributes:
        serving: workers that have not begun to drain.
        draining: workers that drain.
        streams: open streams.
    """

    serving: int
    draining: int
    streams: int


@with_settings(DrainSettings)
def drain(*, settings: DrainSettings) -> None:
    """Take a gateway out of service, and wait until its streams end.

    Its /ready answers 503 at once. For --shutdown-grace seconds it accepts new streams, until load
    balancers have noticed. Then it refuses them, and closes the open ones in even steps within
    --shutdown-spread seconds. Both are settings of the gateway. It stays out of service, and
    answers HTTP, until it is stopped.

    Run this command on the gateway's machine, as its user or as root. The exit status is 0 once
    no stream is open. If the command is stopped, the drain continues.
    """
    from ime_live.gateway.pid_file import PidFile

    if not settings.pid_file:
        raise SettingsError(
            f"{flag('pid_file')} must name the file with which the gateway was started, got none"
        )
    file = PidFile(settings.pid_file)
    gateway = file.read()
    try:
        os.kill(gateway.pid, signals.DRAIN)
    except PermissionError as error:
        raise ImeLiveError(
            f"process {gateway.pid} must be drained by its user or by root"
        ) from error
    except ProcessLookupError as error:
        raise ImeLiveError(_describe_end(gateway, None)) from error
    _watch(gateway, file)


def _watch(gateway: RunningGateway, file: PidFile) -> None:
    """Report the progress until no stream is open.

    Raises:
        ImeLiveError: the gateway has ended, or hangs.
    """
    last: DrainProgress | None = None
    answered = SYSTEM_CLOCK.monotonic()
    while True:
        progress = _read_progress(gateway.url)
        if progress is not None and not progress.serving:
            answered = SYSTEM_CLOCK.monotonic()
            if progress != last:
                typer.echo(_describe(progress))
            last = progress
            if not (progress.draining or progress.streams):
                return
        elif not _is_running(gateway, file):
            raise ImeLiveError(_describe_end(gateway, last))
        elif SYSTEM_CLOCK.monotonic() - answered > _PATIENCE:
            raise ImeLiveError(
                f"the gateway at {gateway.url} must drain, but has not begun or answered for "
                f"{_PATIENCE:g} s; see its log"
            )
        time.sleep(_POLL_INTERVAL)


def _is_running(gateway: RunningGateway, file: PidFile) -> bool:
    try:
        return file.read() == gateway
    except SettingsError:
        raise
    except ImeLiveError:  # no gateway holds it
        return False


def _read_progress(url: str) -> DrainProgress | None:
    """Read the progress from the gateway's metrics; None if it does not answer."""
    from prometheus_client.parser import text_string_to_metric_families

    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in {"ime_live_workers", "ime_live_connections"}:
                values[sample.labels.get("state", "streams")] = sample.value
    if values.keys() < {"serving", "draining", "streams"}:
        return None
    return DrainProgress(*(int(values[name]) for name in ("serving", "draining", "streams")))


def _describe(progress: DrainProgress) -> str:
    streams = f"{progress.streams:,} {'stream' if progress.streams == 1 else 'streams'} open"
    return (
        f"draining: {streams}" if progress.draining or progress.streams else f"drained: {streams}"
    )


def _describe_end(gateway: RunningGateway, last: DrainProgress | None) -> str:
    streams = "" if last is None else f"; {last.streams:,} streams were open before"
    return f"the gateway has ended before it was drained (process {gateway.pid}){streams}"
