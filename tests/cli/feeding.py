"""Start `feed ime` as a process and read the contracts and states that it stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from ime_live.local.embedded import EmbeddedValkey
from ime_live.store.store import Store
from tests.support.gateways import Command
from tests.support.signalr.hub import Hub

PATIENCE: Final = 40.0
ALWAYS: Final = "sat-fri 00:00-24:00"


class Feeds:
    """Starts feeds, and ends them."""

    def __init__(self, folder: Path, hub: Hub, valkey: EmbeddedValkey) -> None:
        self._folder, self._hub, self._valkey = folder, hub, valkey
        self.made: list[Command] = []

    def start(
        self, *options: str, command: str = "ime", version: type[Command] = Command
    ) -> Command:
        """Start one; ``options`` count before the usual ones."""
        arguments = ["feed", command, "--base-url", self._hub.base_url]
        arguments += ["--polling-url", self._hub.polling_url, "--log-format", "json"]
        if command == "ime":
            arguments += ["--redis-url", self._valkey.url, "--no-official-holidays"]
            for market in ("futures", "options", "certificates"):
                arguments += [f"--hours-{market}", ALWAYS]
        feed = version(self._folder / str(len(self.made)), [*arguments, *options])
        self.made.append(feed)
        return feed


async def price_of(store: Store, contract_id: str) -> float | None:
    """The last price in the store; None without a last state."""
    last = (await store.last([contract_id])).get(contract_id)
    return None if last is None else last.payload.aggregate.last_price


async def until(condition: Callable[[], Awaitable[bool]], feeds: Feeds) -> None:
    """Wait until a condition holds that feeds bring about; fail with all they have said."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not await condition():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail("\n".join(each.output for each in feeds.made))
