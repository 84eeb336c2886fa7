"""Supervise worker processes that share a port: start them, replace those that die or hang.

The kernel still assigns connections to a worker whose event loop hangs, so such a worker is
replaced. uvicorn's supervisor pings a thread of the worker, which answers even if the event loop
hangs. It also waits for ever for a stopped worker to exit, and logs none of this.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import connection, resource_tracker
from typing import Any, Final

import structlog

from ime_live.backoff import Backoff
from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import ImeLiveError
from ime_live.process import signals

log = structlog.get_logger()

CANNOT_START: Final = 3
"""Exit status of a worker that cannot start, as in uvicorn."""

HUNG: Final = 10.0
"""Time without a heartbeat after which a worker is replaced [s]."""

_START_TIMEOUT: Final = 60.0  # seconds until the first heartbeat; the imports take one or two
_CHECK_INTERVAL: Final = 0.2  # seconds between two checks of all workers
_SUSPENDED: Final = 2.0  # seconds between two checks after which this process was suspended
_LONGEST_DELAY: Final = 30.0
_RAN_WELL: Final = 60.0  # seconds of running after which an exit is unrelated to the previous one

_spawn: Final = multiprocessing.get_context("spawn")


class WorkerHeartbeat:
    """A time in shared memory that shows another process that an event loop runs."""

    def __init__(self) -> None:
        """Create a heartbeat without a beat."""
        # The monotonic clock of Linux is the same in all processes.
        self._last: Any = _spawn.RawValue(ctypes.c_double, 0.0)

    def beat(self) -> None:
        """Note that the event loop runs."""
        self._last.value = SYSTEM_CLOCK.monotonic()

    @property
    def last(self) -> float:
        """Time of the last beat, of the monotonic clock [s]; 0 without one."""
        return float(self._last.value)


class _Worker:
    """One of the workers, with its present process."""

    def __init__(self) -> None:
        self.process: Any = None
        self.outbox: connection.Connection | None = None
        """Connection that sends settings to the process."""
        self.heartbeat = WorkerHeartbeat()
        self.started_at = 0.0
        self.restart_at = 0.0
        """When a new process replaces one that has exited."""
        self.drains = False
        """Whether the signal to drain was sent to the process."""
        self.backoff = Backoff(_LONGEST_DELAY, lasting=_RAN_WELL)

    def is_hung(self, now: float, since: float, timeout: float) -> bool:
        """Return whether there was no heartbeat for a time.

        Args:
            now: the present time [s].
            since: begin of the measured time, if there was no beat later [s].
            timeout: the time [s].
        """
        if not self.heartbeat.last:
            return now - max(self.started_at, since) > _START_TIMEOUT
        return now - max(self.heartbeat.last, since) > timeout


class Workers:
    """The supervisor of the worker processes."""

    def __init__(
        self,
        work: Callable[[WorkerHeartbeat, connection.Connection, object], None],
        count: int,
        *,
        stop_timeout: float,
        hung: float = HUNG,
        reload: Callable[[], object] = signals.report_hangup,
    ) -> None:
        """Make a supervisor; `run` starts the workers.

        Args:
            work: function that a worker runs; it is pickled. It must beat the heartbeat, and read
                from the connection. Its last argument is the newest result of ``reload``, or None.
            count: number of workers.
            stop_timeout: time in which a stopped worker must exit [s].
            hung: time without a heartbeat after which a worker is replaced [s].
            reload: called on SIGHUP. Its result is pickled, sent to all workers, and passed to
                workers that start later. None sends nothing.
        """
        self._reload = reload
        self._hangup = False
        self._settings: object = None
        """The last result of ``reload``."""
        self._hung = hung
        self._work = work
        self._workers = [_Worker() for _ in range(count)]
        self._stop_timeout = stop_timeout
        self._signals: list[int] = []
        self._draining = False
        self._served = False
        """Whether at least one worker has started."""

    def run(self) -> None:
        """Run the workers until SIGTERM or Ctrl-C; a second Ctrl-C does not wait for clients.

        SIGUSR2 drains all workers, including those that start later.

        Raises:
            ImeLiveError: the workers cannot start.
        """
        multiprocessing.allow_connection_pickling()
        # Its start unblocks SIGINT, so it must not be started while signals are blocked.
        resource_tracker.ensure_running()
        for number in signals.STOP:
            signal.signal(number, lambda number, _: self._signals.append(number))
        signal.signal(signal.SIGHUP, lambda *_: self._note_hangup())
        signal.signal(signals.DRAIN, self._drain)
        try:
            self._watch()
        finally:
            self._end()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signals.reset()

    def _drain(self, *_: object) -> None:
        self._draining = True

    def _watch(self) -> None:
        checked_at = since = SYSTEM_CLOCK.monotonic()
        while not self._signals:
            now = SYSTEM_CLOCK.monotonic()
            if now - checked_at > _SUSPENDED:
                since = now  # the workers may have been suspended, too
            checked_at = now
            if self._hangup:
                self._hangup = False
                self._send_settings()
            for worker in self._workers:
                self._check(worker, now, since)
            running = [w.process.sentinel for w in self._workers if w.process is not None]
            connection.wait(running, _CHECK_INTERVAL) if running else time.sleep(_CHECK_INTERVAL)

    def _note_hangup(self) -> None:
        self._hangup = True

    def _send_settings(self) -> None:
        try:
            settings = self._reload()
        except Exception:
            log.exception("settings cannot be reloaded")
            return
        if settings is not None:
            self._settings = settings
            for worker in self._workers:
                self._send_to(worker)

    def _send_to(self, worker: _Worker) -> None:
        if worker.outbox is None or worker.process is None:
            return
        # A worker that has not read the previous settings hangs; its successor gets the newest.
        _, writable, _ = select.select([], [worker.outbox], [], 0)
        if not writable:
            log.error("worker reads no settings; killing it", pid=worker.process.pid)
            worker.process.kill()
            return
        with suppress(BrokenPipeError):  # the worker is exiting
            worker.outbox.send(self._settings)

    def _check(self, worker: _Worker, now: float, since: float) -> None:
        process = worker.process
        if process is None:
            if now >= worker.restart_at:
                self._start(worker)
            return
        self._served = self._served or bool(worker.heartbeat.last)
        if process.exitcode is None:
            if worker.is_hung(now, since, self._hung):
                log.error("worker does not respond; killing it", pid=process.pid)
                process.kill()
            elif self._draining and worker.heartbeat.last and not worker.drains:
                # After the first beat, when the worker handles the signal.
                worker.drains = True
                _send([process], signals.DRAIN)
            return
        if process.exitcode == CANNOT_START and not self._served:
            raise ImeLiveError("a worker cannot start; see above")
        wait = worker.backoff.next(now - worker.started_at)
        log.error(
            "worker exited; starting another one",
            pid=process.pid,
            status=_status_of(process.exitcode),
            seconds=round(wait, 2),
        )
        process.close()
        if worker.outbox is not None:
            worker.outbox.close()
        worker.process, worker.outbox, worker.restart_at = None, None, now + wait

    def _start(self, worker: _Worker) -> None:
        worker.heartbeat, worker.drains = WorkerHeartbeat(), False
        worker.started_at = SYSTEM_CLOCK.monotonic()
        inbox, worker.outbox = _spawn.Pipe(duplex=False)
        # The settings are passed at the start, because files of older settings may be gone.
        worker.process = _spawn.Process(
            target=self._work, args=(worker.heartbeat, inbox, self._settings)
        )
        with signals.block():
            worker.process.start()
        inbox.close()

    def _end(self) -> None:
        processes = [w.process for w in self._workers if w.process is not None]
        _send(processes, signal.SIGTERM)
        _send(processes, signal.SIGCONT)  # a suspended process would not get the first signal
        deadline = SYSTEM_CLOCK.monotonic() + self._stop_timeout
        hurried = False
        while running := [each for each in processes if each.exitcode is None]:
            if SYSTEM_CLOCK.monotonic() > deadline:
                log.error("workers do not exit; killing them", pids=[p.pid for p in running])
                _send(running, signal.SIGKILL)
            if not hurried and self._signals.count(signal.SIGINT) > 1:
                hurried = True
                _send(running, signal.SIGINT)
            connection.wait([each.sentinel for each in running], _CHECK_INTERVAL)


def _send(processes: Sequence[Any], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _status_of(exitcode: int) -> str:
    return signal.Signals(-exitcode).name if exitcode < 0 else str(exitcode)
