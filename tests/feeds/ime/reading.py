"""Reading: our client of the exchange's SignalR hub at work, and what it has given out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Self

from ime_live.feeds.ime.signalr_client import SignalRClient
from ime_live.settings import SignalRHubSettings
from tests.support.boards import numbers
from tests.support.clock import SleeplessClock
from tests.support.signalr.hub import Hub

NEVER: Final = 3600.0
"""Seconds that no test lasts."""


def settings(hub: Hub, **more: Any) -> SignalRHubSettings:  # noqa: ANN401 - any option
    """Settings for the test SignalR hub, with short waits."""
    usual: dict[str, Any] = {
        "base_url": hub.base_url,
        "polling_url": hub.polling_url,
        "connect_timeout": 10.0,
        "max_reconnect_delay": 0.03,
        "upgrade_after": NEVER,
    }
    return SignalRHubSettings(**usual | more)


class Reading:
    """A client that reads frames until the context ends; then its task is cancelled."""

    def __init__(self, hub: Hub, **more: Any) -> None:  # noqa: ANN401 - any option
        self.hub = hub
        self.client = SignalRClient(settings(hub, **more))
        self.frames: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        async for frame in self.client.frames():
            assert isinstance(json.loads(frame), dict)
            assert frame.strip() != b"{}"
            self.frames.append(bytes(frame))

    @property
    def numbers(self) -> list[int]:
        """The numbers of all messages that were given out, see `frames.future`."""
        return [number for frame in self.frames for number in numbers(frame)]

    @property
    def source(self) -> str:
        """Return the transport by which the client says it is connected."""
        return self.client.connection_state.source

    @property
    def error(self) -> str:
        """Return the last error that the client reported."""
        return self.client.connection_state.error or ""

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds; an error of the client is raised at once."""

        def holds() -> object:
            assert self._task is not None
            if self._task.done():
                self._task.result()
                raise AssertionError("the client has ended")
            return condition()

        try:
            await self.hub.until(holds)
        except AssertionError as error:
            raise AssertionError(
                f"{error}, {self.client.connection_state}, {self.numbers}"
            ) from None

    async def connected(self, transport: str) -> None:
        """Wait until hub and client agree that they are connected by a transport."""
        await self.until(lambda: self.source == transport == self.hub.live)
        await self.until(lambda: self.hub.reachable)

    async def reads(self, *expected: int) -> None:
        """Wait for as many numbers, and see that they are these."""
        await self.until(lambda: len(self.numbers) >= len(expected))
        assert self.numbers == list(expected)


class Waiting(SleeplessClock):
    """A client that reads, and whose waits take no time until `limit` of them; all are noted."""

    def __init__(self, hub: Hub, limit: int = 3, **more: Any) -> None:  # noqa: ANN401 - any option
        super().__init__()
        self.requested: list[int] = []
        """The requests that had come before each wait."""
        self._hub = hub
        self._limit = limit
        self.client = SignalRClient(settings(hub, **more), clock=self, random=lambda: 0.5)

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.requested.append(len(self._hub.requests))
        if len(self.waits) >= self._limit:
            await asyncio.sleep(NEVER)

    async def __aenter__(self) -> Waiting:
        self._task = asyncio.create_task(self._read())
        await self._hub.until(lambda: len(self.requested) >= self._limit)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        async for _ in self.client.frames():
            pass
