"""A publishing program as a user writes one, in a process of its own.

``python -m chaos.publisher REDIS_URL [--uvloop]`` reads lines of ``{contract id: number}`` from
standard input and publishes the states of these numbers with the library's `Publisher`. Once a
second it publishes all states again and registers its contracts, which heals a store that lost
them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Final

import uvloop

from chaos.states import PUBLISHED, payload_of
from ime_live import Publisher
from ime_live.errors import StoreError
from ime_live.settings import StoreSettings
from ime_live.store.store import Store

_INTERVAL: Final = 1.0  # seconds between two publications of all states
_RETRY_DELAY: Final = 0.1
_TIMEOUT: Final = 2.0  # seconds for an answer of the store


class Program:
    """Publishes until standard input ends."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._states: dict[str, int] = {}
        self._due: set[str] = set()
        self._changed = asyncio.Event()
        self._as_float = False

    async def run(self) -> None:
        """Read, publish, and publish again."""
        settings = StoreSettings(redis_url=self._url, redis_timeout=_TIMEOUT)
        async with (
            Publisher(self._url, redis_timeout=_TIMEOUT) as publisher,
            Store(settings) as store,
        ):
            works = [
                asyncio.create_task(work)
                for work in (self._read(), self._publish(publisher), self._repeat(store))
            ]
            done, rest = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            for work in rest:
                work.cancel()
            for work in done:
                work.result()

    async def _read(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            numbers = json.loads(line)
            self._states |= numbers
            self._due |= numbers.keys()
            self._changed.set()

    async def _publish(self, publisher: Publisher) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            due, self._due = self._due, set()
            try:
                outcomes = await publisher.publish_many(
                    (i, payload_of(self._states[i], as_float=self._as_float)) for i in due
                )
                left = {outcome.contract_id for outcome in outcomes if outcome.error is not None}
            except StoreError:
                left = due
            if left:
                self._due |= left
                self._changed.set()
                await asyncio.sleep(_RETRY_DELAY)

    async def _repeat(self, store: Store) -> None:
        while True:
            try:
                await store.import_contracts(PUBLISHED)
            except StoreError as error:
                print(error, file=sys.stderr)
            # Equal states in another spelling, which must not count as changes.
            self._as_float = not self._as_float
            self._due |= self._states.keys()
            self._changed.set()
            await asyncio.sleep(_INTERVAL)


def main() -> None:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(prog="python -m chaos.publisher")
    parser.add_argument("url", help="where Redis or Valkey is")
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop instead of asyncio")
    given = parser.parse_args()
    run = uvloop.run if given.uvloop else asyncio.run
    run(Program(given.url).run())


if __name__ == "__main__":
    main()
