"""Source: frames of the SignalR hub, or of the REST boards while the hub is unreachable.

It decides which of the two is read, and yields frames in the order of their arrival.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Final

import structlog
from msgspec.structs import replace

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.feeds.ime.frame_source import ConnectionState, OnDate, Source, ignore_date
from ime_live.feeds.ime.polling import BoardPoller
from ime_live.feeds.ime.signalr_client import SignalRClient
from ime_live.settings import SignalRHubSettings

log = structlog.get_logger()

POLLED_AFTER: Final = 10.0
"""Seconds without a connection after which boards are polled: a resumption takes one or two
seconds, and trying all three transports takes longer. A connection that lasts as long counts as
reliable."""

_CHECK_INTERVAL: Final = 0.25  # seconds between two checks of the SignalR hub's connection

_AHEAD: Final = 32
"""Maximum number of frames that wait for a slow reader. Then the hub's frames stay in its socket
and polling pauses: nothing is lost, and the memory is bounded, by some 100 MB at worst."""

_FrameQueue = asyncio.Queue[bytes | Exception]
"""Received frames, or the error that ends them."""


class ExchangeSource:
    """Reads the SignalR hub or the REST boards; implements `frame_source.Source`."""

    def __init__(
        self,
        settings: SignalRHubSettings,
        boards: Collection[str],
        *,
        hub: Source | None = None,
        poller: Source | None = None,
        stays_away: float = POLLED_AFTER,
        clock: Clock = SYSTEM_CLOCK,
        on_date: OnDate = ignore_date,
    ) -> None:
        """Check the settings; nothing is connected before `frames` is read.

        Args:
            settings: addresses of the exchange, and how to reach it.
            boards: methods of the boards to read.
            hub: source of the SignalR hub; None creates one from the settings.
            poller: source of the REST boards; None creates one from the settings.
            stays_away: seconds; see `POLLED_AFTER`.
            clock: the machine's clock.
            on_date: called with the times in the SignalR hub's answers.

        Raises:
            SettingsError: the settings cannot be used.
        """
        self._hub = SignalRClient(settings, on_date=on_date) if hub is None else hub
        if poller is None:
            boards_of_rest = BoardPoller(settings, boards)
            polls = settings.polling_interval > 0 and boards_of_rest.useful
            poller = boards_of_rest if polls else None
        self._poller = poller
        self._stays_away = stays_away
        self._clock = clock
        self._polling: asyncio.Task[None] | None = None
        self._frame_at = 0.0  # when the SignalR hub last sent a frame

    @property
    def connection_state(self) -> ConnectionState:
        """The present state.

        While boards are polled, `error` also contains the error of the SignalR hub.
        """
        hub = self._hub.connection_state
        if hub.source or self._poller is None or self._polling is None:
            return hub
        polled = self._poller.connection_state
        error = "; ".join(filter(None, (hub.error, polled.error))) or None
        return replace(polled if polled.source else hub, error=error)

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield the exchange's frames in order of arrival; see `Source`. One reader at a time."""
        queue = _FrameQueue(_AHEAD)
        self._frame_at = self._clock.monotonic()
        tasks = [asyncio.create_task(self._read_hub(queue))]
        if self._poller is not None:
            tasks.append(asyncio.create_task(self._watch(queue, self._poller)))
        try:
            while True:
                frame = await queue.get()
                if isinstance(frame, Exception):
                    raise frame
                yield frame
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop_polling()

    async def _read_hub(self, queue: _FrameQueue) -> None:
        try:
            async with aclosing(self._hub.frames()) as frames:
                async for frame in frames:
                    self._frame_at = self._clock.monotonic()
                    # A board that was requested earlier must not be yielded after this frame.
                    await self._stop_polling()
                    await queue.put(frame)
        except Exception as error:  # noqa: BLE001 - raised again where frames are read
            await queue.put(error)

    async def _watch(self, queue: _FrameQueue, poller: Source) -> None:
        """Start and stop polling by the state of the SignalR hub's connection."""
        now = self._clock.monotonic
        there_at = now()  # when the SignalR hub was last connected reliably
        connected_at: float | None = None
        while True:
            if not self._hub.connection_state.source:
                connected_at = None
                # A hub that reconnects repeatedly without frames counts as unreachable.
                away = now() - max(there_at, self._frame_at)
                if self._polling is None and away >= self._stays_away:
                    log.warning(
                        "SignalR hub unreachable; polling boards",
                        reason=self._hub.connection_state.error,
                    )
                    self._polling = asyncio.create_task(self._poll(queue, poller))
            elif connected_at is None:
                connected_at = now()
            elif now() - connected_at >= self._stays_away:
                # The market is quiet: polling would not yield more than the SignalR hub.
                there_at = now()
                await self._stop_polling()
            await self._clock.sleep(_CHECK_INTERVAL)

    async def _poll(self, queue: _FrameQueue, poller: Source) -> None:
        try:
            async with aclosing(poller.frames()) as frames:
                async for frame in frames:
                    await queue.put(frame)
        except Exception as error:  # noqa: BLE001 - raised again where frames are read
            await queue.put(error)

    async def _stop_polling(self) -> None:
        """Stop polling, and wait until no polled board can arrive."""
        polling = self._polling
        if polling is None:
            return
        if not polling.cancelling():  # a second cancellation would interrupt its cleanup
            polling.cancel()
        await asyncio.wait([polling])
        if self._polling is polling:
            self._polling = None
