"""Input of the commands: a file or standard input, by lines, with numbers for what is wrong."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, TextIO

import typer

from ime_live.errors import ImeLiveError

# Lines handed on at once: so many as are there, but no more.
_BATCH: Final = 500

# So many that a slow store holds the reader up instead of filling the memory.
_AHEAD: Final = 2_000

_END: Final = None


def open_input(source: str) -> TextIO:
    """Open a file, or standard input for ``-``.

    Raises:
        ImeLiveError: the file cannot be read.
    """
    if source == "-":
        return sys.stdin
    try:
        return Path(source).open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ImeLiveError(f"{source}: {error.strerror or error}") from error


async def batches(source: str) -> AsyncIterator[list[tuple[int, str]]]:
    """Lines with their numbers, from 1, without blank ones; as many at once as have come.

    Raises:
        ImeLiveError: the file cannot be read.
    """
    lines = open_input(source)
    queue: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue(_AHEAD)
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            with lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        asyncio.run_coroutine_threadsafe(queue.put((number, line)), loop).result()
        finally:
            asyncio.run_coroutine_threadsafe(queue.put(_END), loop).result()

    reading = asyncio.create_task(asyncio.to_thread(read))
    ended = False
    while not ended:
        batch = []
        item = await queue.get()
        while item is not _END:
            batch.append(item)
            if len(batch) == _BATCH or queue.empty():
                break
            item = queue.get_nowait()
        ended = item is _END
        if batch:
            yield batch
    await reading


class LineReport:
    """Tells which lines were bad, and how it went in the end."""

    def __init__(self, source: str) -> None:
        self._source = "standard input" if source == "-" else source
        self.bad = 0

    def refuse(self, number: int, reason: object) -> None:
        """Line ``number`` is skipped for this reason."""
        self.bad += 1
        typer.echo(f"{self._source}, line {number}: {reason}", err=True)

    def close(self, **counts: int) -> None:
        """Say the counts; exit with 1 if a line was bad."""
        counts["bad lines"] = self.bad
        typer.echo(", ".join(f"{count} {name}" for name, count in counts.items()), err=True)
        if self.bad:
            raise typer.Exit(1)
