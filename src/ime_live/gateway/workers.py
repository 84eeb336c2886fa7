"""Start worker processes that share a port, replace those that die or hang, and stop them.

A worker whose event loop has stood still for a while is replaced as well: the kernel still gives
it connections, which it would not answer. uvicorn's own supervisor asks a thread of the worker,
which answers although the loop is stuck. It also waits forever for a stopped worker to end, and
logs none of this.
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
"""Exit status of a worker that cannot start, with these settings or at all (uvicorn's)."""

HUNG: Final = 10.0
"""Seconds without a beat of its loop after which a worker is replaced."""

_START_TIMEOUT: Final = 60.0  # seconds until the first beat; importing everything takes one or two
_LOOK: Final = 0.2  # seconds between two checks of all workers
_PAUSED: Final = 2.0  # seconds between two checks that mean that this process was stopped meanwhile
_LONGEST_DELAY: Final = 30.0
_RAN_WELL: Final = 60.0  # seconds after which a death is unrelated to the one before

_spawn: Final = multiprocessing.get_context("spawn")


class WorkerHeartbeat:
    """Tells another process that an event loop is running."""

    def __init__(self) -> None:
        """Create a heartbeat without a beat."""
        # The monotonic clock of Linux is the same in all processes.
        self._last: Any = _spawn.RawValue(ctypes.c_double, 0.0)

    def beat(self) -> None:
        """Note that the loop is running."""
        self._last.value = SYSTEM_CLOCK.monotonic()

    @property
    def last(self) -> float:
        """Return the time of the last beat; 0 without one."""
        return float(self._last.value)


class _Worker:
    """A worker's place, and its present process."""

    def __init__(self) -> None:
        self.process: Any = None
        self.outbox: connection.Connection | None = None
        """Of its process; gives it settings that were read again."""
        self.heartbeat = WorkerHeartbeat()
        self.started = 0.0
        self.due = 0.0
        """When a new process replaces one that has died."""
        self.drains = False
        """Whether the process was told to drain."""
        self.backoff = Backoff(_LONGEST_DELAY, lasting=_RAN_WELL)

    def silent(self, now: float, since: float, hung: float) -> bool:
        """Return whether its loop has stopped; times before ``since`` do not count."""
        if not self.heartbeat.last:
            return now - max(self.started, since) > _START_TIMEOUT
        return now - max(self.heartbeat.last, since) > hung


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
            work: the function that a worker runs; it must beat the heartbeat, and read from the
                connection. Its last argument is the newest result of ``reload``, None before the
                first. It is pickled.
            count: number of workers.
            stop_timeout: time in which a stopped worker must end [s].
            hung: time without a beat after which a worker is replaced [s].
            reload: called for SIGHUP. Its result is sent to all workers, and passed to those that
                start later; it is pickled. None sends nothing.
        """
        self._reload = reload
        self._hangup = False
        self._sent: object = None
        """The result that was sent last."""
        self._hung = hung
        self._work = work
        self._workers = [_Worker() for _ in range(count)]
        self._stop_timeout = stop_timeout
        self._signals: list[int] = []
        self._draining = False
        self._served = False
        """Whether a worker has ever started completely."""

    def run(self) -> None:
        """Run the workers until SIGTERM or Ctrl-C; a second Ctrl-C does not wait for clients.

        SIGUSR2 drains all workers, also those that start later.

        Raises:
            ImeLiveError: the workers cannot start.
        """
        multiprocessing.allow_connection_pickling()
        # It unblocks SIGINT when it starts, so it must not start between a worker and its mask.
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
        looked = since = SYSTEM_CLOCK.monotonic()
        while not self._signals:
            now = SYSTEM_CLOCK.monotonic()
            if now - looked > _PAUSED:
                since = now  # suspended, perhaps with the workers: their silence proves nothing
            looked = now
            if self._hangup:
                self._hangup = False
                self._pass_on()
            for worker in self._workers:
                self._look(worker, now, since)
            running = [w.process.sentinel for w in self._workers if w.process is not None]
            connection.wait(running, _LOOK) if running else time.sleep(_LOOK)

    def _note_hangup(self) -> None:
        self._hangup = True

    def _pass_on(self) -> None:
        try:
            result = self._reload()
        except Exception:
            log.exception("settings cannot be reloaded")
            return
        if result is not None:
            self._sent = result
            for worker in self._workers:
                self._send_to(worker)

    def _send_to(self, worker: _Worker) -> None:
        if worker.outbox is None or worker.process is None:
            return
        # One that has not read the former ones has stopped; its successor gets the newest.
        _, writable, _ = select.select([], [worker.outbox], [], 0)
        if not writable:
            log.error("worker takes no settings; killing it", pid=worker.process.pid)
            worker.process.kill()
            return
        with suppress(BrokenPipeError):  # it ends just now
            worker.outbox.send(self._sent)

    def _look(self, worker: _Worker, now: float, since: float) -> None:
        process = worker.process
        if process is None:
            if now >= worker.due:
                self._start(worker)
            return
        self._served = self._served or bool(worker.heartbeat.last)
        if process.exitcode is None:
            if worker.silent(now, since, self._hung):
                log.error("worker does not respond; killing it", pid=process.pid)
                process.kill()
            elif self._draining and worker.heartbeat.last and not worker.drains:
                # Not before its first beat, when it has its handlers.
                worker.drains = True
                _send([process], signals.DRAIN)
            return
        if process.exitcode == CANNOT_START and not self._served:
            raise ImeLiveError("a worker cannot start; see above")
        wait = worker.backoff.next(now - worker.started)
        log.error(
            "worker exited; starting another one",
            pid=process.pid,
            status=_status_of(process.exitcode),
            seconds=round(wait, 2),
        )
        process.close()
        if worker.outbox is not None:
            worker.outbox.close()
        worker.process, worker.outbox, worker.due = None, None, now + wait

    def _start(self, worker: _Worker) -> None:
        worker.heartbeat, worker.drains = WorkerHeartbeat(), False
        worker.started = SYSTEM_CLOCK.monotonic()
        inbox, worker.outbox = _spawn.Pipe(duplex=False)
        # Not sent after the start: it might start with keys or files that are no longer valid.
        worker.process = _spawn.Process(
            target=self._work, args=(worker.heartbeat, inbox, self._sent)
        )
        with signals.block():
            worker.process.start()
        inbox.close()

    def _end(self) -> None:
        processes = [w.process for w in self._workers if w.process is not None]
        _send(processes, signal.SIGTERM)
        _send(processes, signal.SIGCONT)  # a suspended one would not get the first signal
        deadline = SYSTEM_CLOCK.monotonic() + self._stop_timeout
        hurried = False
        while running := [each for each in processes if each.exitcode is None]:
            if SYSTEM_CLOCK.monotonic() > deadline:
                log.error("workers do not exit; killing them", pids=[p.pid for p in running])
                _send(running, signal.SIGKILL)
            if not hurried and self._signals.count(signal.SIGINT) > 1:
                hurried = True
                _send(running, signal.SIGINT)
            connection.wait([each.sentinel for each in running], _LOOK)


def _send(processes: Sequence[Any], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _status_of(exitcode: int) -> str:
    return signal.Signals(-exitcode).name if exitcode < 0 else str(exitcode)
