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
"""Seconds without a connection after which boards are polled: a resumption takes one or
two, and trying all three transports again more. A connection that lasts as long is reliable."""

_LOOK: Final = 0.25  # seconds between two looks at the SignalR hub's connection

_AHEAD: Final = 32
"""Frames that wait for a slow reader. Then the SignalR hub's are left in its socket, and
polling waits: nothing is lost, and the memory is bounded by some 100 MB at worst."""

_Come = asyncio.Queue[bytes | Exception]
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
            settings: where the exchange is, and how it is reached.
            boards: methods of the boards that are wanted.
            hub: the SignalR hub, if not one of these settings.
            poller: the boards, if not of these settings.
            stays_away: seconds, see `POLLED_AFTER`.
            clock: the machine's clock.
            on_date: called with the times in the SignalR hub's answers.

        Raises:
            SettingsError: it cannot work with these.
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
        self._frame_at = 0.0  # when the SignalR hub gave a frame last

    @property
    def connection_state(self) -> ConnectionState:
        """The present state; while boards are polled, its error has the SignalR hub's as well."""
        hub = self._hub.connection_state
        if hub.source or self._poller is None or self._polling is None:
            return hub
        polled = self._poller.connection_state
        error = "; ".join(each for each in (hub.error, polled.error) if each) or None
        return replace(polled if polled.source else hub, error=error)

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield the exchange's frames in order of arrival; see `Source`. One reader at a time."""
        come = _Come(_AHEAD)
        self._frame_at = self._clock.monotonic()
        tasks = [asyncio.create_task(self._read_hub(come))]
        if self._poller is not None:
            tasks.append(asyncio.create_task(self._watch(come, self._poller)))
        try:
            while True:
                frame = await come.get()
                if isinstance(frame, Exception):
                    raise frame
                yield frame
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop_polling()

    async def _read_hub(self, come: _Come) -> None:
        try:
            async with aclosing(self._hub.frames()) as frames:
                async for frame in frames:
                    self._frame_at = self._clock.monotonic()
                    # A board that was asked for before must not come after this.
                    await self._stop_polling()
                    await come.put(frame)
        except Exception as error:  # noqa: BLE001 - raised again where frames are read
            await come.put(error)

    async def _watch(self, come: _Come, poller: Source) -> None:
        """Start and stop polling by the state of the SignalR hub's connection."""
        now = self._clock.monotonic
        there_at = now()  # the SignalR hub, when last, by a connection that lasted
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
                    self._polling = asyncio.create_task(self._poll(come, poller))
            elif connected_at is None:
                connected_at = now()
            elif now() - connected_at >= self._stays_away:
                # The market is quiet: nothing more is missed than with the SignalR hub alone.
                there_at = now()
                await self._stop_polling()
            await self._clock.sleep(_LOOK)

    async def _poll(self, come: _Come, poller: Source) -> None:
        try:
            async with aclosing(poller.frames()) as frames:
                async for frame in frames:
                    await come.put(frame)
        except Exception as error:  # noqa: BLE001 - raised again where frames are read
            await come.put(error)

    async def _stop_polling(self) -> None:
        """Stop polling, and wait until no polled board can arrive."""
        polling = self._polling
        if polling is None:
            return
        if not polling.cancelling():  # another time would disturb its end
            polling.cancel()
        await asyncio.wait([polling])
        if self._polling is polling:
            self._polling = None
