"""Lines reach the log in order; a log that cannot be written neither raises nor blocks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from ime_live.logs.writer import LogWriter
from tests.logs.programs import SET_UP, run
from tests.support.servers import until

_PIPE_HOLDS: Final = 65_536


class Pipe:
    """A pipe whose reader does what the test tells it to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    def leave(self) -> None:
        """Close the reader's end."""
        self._open.discard(self.reader)
        os.close(self.reader)

    def read(self) -> list[str]:
        """Return the lines that arrive until the pipe is silent."""
        os.set_blocking(self.reader, False)
        data = b""
        with suppress(BlockingIOError):
            while chunk := os.read(self.reader, _PIPE_HOLDS):
                data += chunk
        return data.decode().splitlines()

    def close(self) -> None:
        """Close what is open."""
        for file in self._open:
            os.close(file)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def lines(count: int, size: int = 40) -> list[str]:
    return [f"{n:06} ".ljust(size, "x") for n in range(count)]


def test_lines_are_written_in_order(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writer)
    for line in lines(1000):
        writer.write(line)
    assert writer.flush()
    assert pipe.read() == lines(1000)
    assert writer.dropped == 0


def test_flush_without_lines_returns_at_once(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writer)
    assert writer.flush()
    writer.write("one")
    assert writer.flush()
    assert writer.flush()
    assert pipe.read() == ["one"]


def test_lines_of_several_threads_are_all_written_and_keep_each_ones_order(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writer)

    def log(name: str) -> None:
        for n in range(300):
            writer.write(f"{name} {n}")

    threads = [threading.Thread(target=log, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush()
    read = pipe.read()
    for name in "abc":
        assert [line for line in read if line[0] == name] == [f"{name} {n}" for n in range(300)]


def test_unread_log_does_not_block_the_program(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writer, capacity=1_000)
    count = _PIPE_HOLDS // 100 + 2_000
    for line in lines(count, 99):  # would wait forever where each is written at once
        writer.write(line)
    assert writer.dropped
    assert not writer.flush()
    # Once somebody reads, what waited comes, in order; the rest has been counted.
    read: list[str] = []

    def all_come() -> bool:
        read.extend(pipe.read())
        return len(read) == count - writer.dropped

    until(all_come)
    assert read == sorted(read)
    assert set(read) <= set(lines(count, 99))
    writer.write("and again")
    assert writer.flush()
    assert pipe.read() == ["and again"]


def test_lines_for_a_reader_that_has_gone_are_dropped(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writer)
    writer.write("one")
    assert writer.flush()
    pipe.leave()
    for line in lines(100):
        writer.write(line)
    assert writer.flush()
    assert writer.dropped == 100


def test_lines_for_a_full_disk_are_dropped() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        writer = LogWriter(full.fileno())
        for line in lines(100):
            writer.write(line)
        assert writer.flush()
        assert writer.dropped == 100


def test_lines_without_a_file_are_dropped() -> None:
    writer = LogWriter(-1)
    writer.write("one")
    assert writer.flush()
    assert writer.dropped == 1


def test_disk_that_has_room_again_gets_whole_lines(pipe: Pipe) -> None:
    room = 10

    class Disk(LogWriter):
        def _write_some(self, data: bytes) -> int:
            nonlocal room
            if not room:
                raise OSError(28, "No space left on device")
            written = super()._write_some(data[:room])
            room -= written
            return written

    writer = Disk(pipe.writer)
    for line in ("one", "two", "three", "four"):  # of which ten bytes end within the third
        writer.write(line)
    assert writer.flush()
    assert writer.dropped == 2
    room = 1000
    writer.write("five")
    assert writer.flush()
    assert pipe.read() == ["one", "two", "th", "five"]


def test_file_that_does_not_block_gets_all_lines(pipe: Pipe) -> None:
    # As a terminal that is shared with a process that has made it so.
    os.set_blocking(pipe.writer, False)
    writer = LogWriter(pipe.writer)
    for line in lines(3_000, 99):
        writer.write(line)
    read: list[str] = []

    def all_come() -> bool:
        read.extend(pipe.read())
        return len(read) == 3_000

    until(all_come)
    assert writer.dropped == 0


def test_text_that_cannot_be_encoded_is_escaped(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writer)
    writer.write("half a character: \ud800, سکه")
    assert writer.flush()
    assert pipe.read() == ["half a character: \\ud800, سکه"]


def test_line_without_end_is_cut(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writer)
    writer.write("x" * 10_000_000)
    writer.write("the next one")
    read: list[str] = []

    def all_come() -> bool:
        read.extend(pipe.read())
        return bool(read) and read[-1] == "the next one"

    until(all_come)
    assert sum(map(len, read)) < 100_000


def test_last_lines_of_a_process_are_written(tmp_path: Path) -> None:
    read = run(tmp_path, SET_UP + "for n in range(5_000): log.info('line', n=n)")
    assert [line.rpartition("=")[2] for line in read] == [str(n) for n in range(5_000)]


def test_line_at_the_very_end_of_a_process_does_not_hold_it_up(tmp_path: Path) -> None:
    program = """
class Unraisable:
    def __del__(self): raise LookupError("nobody can take this")
kept = [Unraisable()]
kept.append(kept)
"""
    run(tmp_path, SET_UP + program)


def test_forked_process_writes_its_own_lines(tmp_path: Path) -> None:
    program = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 for such a fork
for n in range(100): log.info("before", n=n)
child = os.fork()
for n in range(1_000): log.info("parent" if child else "child", n=n)
if child: assert os.waitpid(child, 0)[1] == 0
"""
    read = run(tmp_path, SET_UP + program)
    for event, count in (("before", 100), ("parent", 1_000), ("child", 1_000)):
        numbers = [line.rpartition("=")[2] for line in read if f" {event} " in line]
        assert numbers == [str(n) for n in range(count)]
