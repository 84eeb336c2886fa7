"""Log writer: accept log lines without failing or waiting, and write them in a thread.

A log without a reader, or on a full disk, must neither raise nor delay anything. Lines wait in a
bounded queue. Lines that find no room, or cannot be written, are counted and dropped; the others
keep their order.
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
"""Lines that may wait; some 3 MB."""

_MAX_LINE: Final = 65_536  # characters; longer than any traceback

# Seconds for which the thread collects lines after the first one: a wake-up of the thread costs the
# other threads more than a line does.
_GATHER: Final = 0.005

# A write of whole lines up to this size is not mixed with those of other processes.
_CHUNK: Final = select.PIPE_BUF

# Seconds for the last lines of the process: without progress, and in all.
_PATIENCE: Final = 0.25
_MAX_FLUSH: Final = 2.0


class LogWriter:
    """Writes lines to an open file, such as standard error.

    Attributes:
        dropped: number of lines that were not written. With several threads it may be a few too
            low.
    """

    def __init__(self, file: int, *, capacity: int = CAPACITY) -> None:
        """Create a writer; its thread starts with the first line, and again in a forked process.

        Args:
            file: descriptor of the file; while it is not open, all lines are dropped.
            capacity: maximum number of waiting lines.
        """
        self.dropped = 0
        self._file = file
        self._capacity = capacity
        self._begin()
        os.register_at_fork(after_in_child=partial(_begin_again, weakref.ref(self)))

    def _begin(self) -> None:
        # Its put() may be interrupted by another one, of a signal or the garbage collector. An
        # event among the lines is set when all lines before it have been written.
        self._queue: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._done = 0
        """Number of lines that were written or dropped."""
        self._torn = False
        """Whether the file ends within a line."""
        self._hurry = False

    def write(self, line: str) -> None:
        """Queue a line without its end, or count it as dropped."""
        # At the end of the interpreter no thread begins, and starting one waits forever.
        late = self._thread is None and sys.is_finalizing()
        if late or self._queue.qsize() >= self._capacity:
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
            Whether all lines were written.
        """
        if self._thread is None:
            return self._queue.empty()
        done = threading.Event()
        self._hurry = True
        self._queue.put(done)
        end = SYSTEM_CLOCK.monotonic() + _MAX_FLUSH
        before = -1
        while self._done != before and SYSTEM_CLOCK.monotonic() < end:
            before = self._done
            if done.wait(_PATIENCE):
                break
        self._hurry = False
        return done.is_set()

    # In the thread

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if not self._hurry:
                time.sleep(_GATHER)
            lines: list[bytes] = []
            size = 0
            for item in self._waiting(first):
                if isinstance(item, threading.Event):
                    self._put_out(lines)
                    lines, size = [], 0
                    item.set()
                    continue
                line = item[:_MAX_LINE].encode("utf-8", "backslashreplace") + b"\n"
                if size + len(line) > _CHUNK:
                    self._put_out(lines)
                    lines, size = [], 0
                lines.append(line)
                size += len(line)
            self._put_out(lines)

    def _waiting(self, first: str | threading.Event) -> Iterator[str | threading.Event]:
        yield first
        try:
            for _ in range(self._queue.qsize()):
                yield self._queue.get_nowait()
        except Empty:
            return

    def _put_out(self, lines: list[bytes]) -> None:
        """Write lines, without a time limit; drop lines that cannot be written."""
        if lines and self._torn:
            lines[0] = b"\n" + lines[0]
        data = b"".join(lines)
        sent = 0
        try:
            while sent < len(data):
                sent += self._write_some(data[sent:])
        except OSError:
            pass  # the reader has closed the pipe or the disk is full, perhaps temporarily
        ends = list(accumulate(map(len, lines)))
        self.dropped += sum(end > sent for end in ends)
        if sent:
            self._torn = sent not in ends
        self._done += len(lines)

    def _write_some(self, data: bytes) -> int:
        while True:
            try:
                return os.write(self._file, data)
            except BlockingIOError:  # another process has made the shared file non-blocking
                poll = select.poll()
                poll.register(self._file, select.POLLOUT)
                poll.poll()


def _begin_again(reference: weakref.ref[LogWriter]) -> None:
    # In a forked process: there is no thread, and what waited is written by the parent.
    writer = reference()
    if writer is not None:
        writer._begin()
