"""Log writer: accept log lines without raising or blocking, and write them in a thread.

A log without a reader, or on a full disk, must not delay the program. Lines wait in a bounded
queue. If the queue is full, or lines cannot be written, they are counted and dropped. The other
lines keep their order.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from queue import Empty, SimpleQueue
from typing import Final

from ime_live.clock import SYSTEM_CLOCK

CAPACITY: Final = 10_000
"""Maximum number of waiting lines, which take about 3 MB."""

_MAX_LINE: Final = 65_536  # characters; longer than any traceback

# Seconds after the first line in which the thread waits for others. A wake-up of the thread delays
# the other threads more than a line does.
_BATCH_DELAY: Final = 0.005

# Writes up to this size are atomic, so lines of several processes are not mixed.
_CHUNK: Final = select.PIPE_BUF

# Seconds that `flush` waits without progress, and in total.
_FLUSH_STEP: Final = 0.25
_LONGEST_FLUSH: Final = 2.0


class LogWriter:
    """Writes lines to an open file, such as standard error.

    Attributes:
        dropped: number of lines that were not written. With several threads it may be slightly too
            low.
    """

    def __init__(self, file: int, *, capacity: int = CAPACITY) -> None:
        """Make a writer, whose thread starts with the first line, in a forked process again.

        Args:
            file: file descriptor; if it is not open, all lines are dropped.
            capacity: maximum number of waiting lines.
        """
        self.dropped = 0
        self._file = file
        self._capacity = capacity
        self._reset()
        os.register_at_fork(after_in_child=partial(_reset_after_fork, weakref.ref(self)))

    def _reset(self) -> None:
        # SimpleQueue, because a signal handler or the garbage collector may interrupt put() with
        # another put(). An event in the queue is set when all lines before it are written.
        self._queue: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._done = 0
        """Number of lines that were written or dropped by the thread."""
        self._ends_in_line = False
        """Whether the last write ended within a line."""
        self._flushing = False

    def write(self, line: str) -> None:
        """Add a line without a line end to the queue; drop it if the queue is full."""
        # During the finalization of the interpreter, the start of a thread would never return.
        is_too_late = self._thread is None and sys.is_finalizing()
        if is_too_late or self._queue.qsize() >= self._capacity:
            self.dropped += 1
            return
        self._queue.put(line)
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread can be started; the next line tries again
            self._thread = None

    def flush(self) -> bool:
        """Wait until all lines are written, while there is progress, at most two seconds.

        Returns:
            Whether all lines are written.
        """
        if self._thread is None:
            return self._queue.empty()
        written = threading.Event()
        self._flushing = True
        self._queue.put(written)
        end = SYSTEM_CLOCK.monotonic() + _LONGEST_FLUSH
        previous = -1
        while self._done != previous and SYSTEM_CLOCK.monotonic() < end:
            previous = self._done
            if written.wait(_FLUSH_STEP):
                break
        self._flushing = False
        return written.is_set()

    # Methods that run in the thread

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if not self._flushing:
                time.sleep(_BATCH_DELAY)
            lines: list[bytes] = []
            size = 0
            for item in self._take_waiting(first):
                if isinstance(item, threading.Event):
                    self._write_lines(lines)
                    lines, size = [], 0
                    item.set()
                    continue
                line = item[:_MAX_LINE].encode("utf-8", "backslashreplace") + b"\n"
                if size + len(line) > _CHUNK:
                    self._write_lines(lines)
                    lines, size = [], 0
                lines.append(line)
                size += len(line)
            self._write_lines(lines)

    def _take_waiting(self, first: str | threading.Event) -> Iterator[str | threading.Event]:
        yield first
        try:
            for _ in range(self._queue.qsize()):
                yield self._queue.get_nowait()
        except Empty:
            return

    def _write_lines(self, lines: list[bytes]) -> None:
        """Write lines, without a time limit; drop those that cannot be written."""
        if lines and self._ends_in_line:
            lines[0] = b"\n" + lines[0]
        data = b"".join(lines)
        sent = 0
        try:
            while sent < len(data):
                sent += self._write_some(data[sent:])
        except OSError:
            pass  # the reader has gone or the disk is full, perhaps temporarily
        ends = list(accumulate(map(len, lines)))
        self.dropped += sum(end > sent for end in ends)
        if sent:
            self._ends_in_line = sent not in ends
        self._done += len(lines)

    def _write_some(self, data: bytes) -> int:
        while True:
            try:
                return os.write(self._file, data)
            except BlockingIOError:  # another process has made the shared file non-blocking
                poll = select.poll()
                poll.register(self._file, select.POLLOUT)
                poll.poll()


def _reset_after_fork(reference: weakref.ref[LogWriter]) -> None:
    # A forked process has no thread, and its parent writes the waiting lines.
    writer = reference()
    if writer is not None:
        writer._reset()
