"""SignalR client: read frames from the exchange's SignalR hub, forever.

It decides which transport to try, whether to resume or renegotiate a lost connection, and how long
to wait. `SignalRConnection` does the work. Each change is logged once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from random import random as random_fraction
from typing import Final
from urllib.parse import urlsplit

import structlog

from ime_live.backoff import Backoff
from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import FeedError
from ime_live.feeds.ime.access import read_access
from ime_live.feeds.ime.addresses import Address
from ime_live.feeds.ime.connection import ConnectionContext, SignalRConnection
from ime_live.feeds.ime.frame_source import ConnectionState, OnDate, ignore_date
from ime_live.feeds.ime.negotiation import negotiate
from ime_live.feeds.ime.responses import (
    UnexpectedResponseError,
    asked_to_wait,
    is_busy,
    with_prefix,
)
from ime_live.feeds.ime.signalr import TransportName, read_transports
from ime_live.log_limiter import LogLimiter
from ime_live.settings import SignalRHubSettings

log = structlog.get_logger()

# An unreadable frame is repeated by each resumption from before it.
_MAX_RESUMPTIONS: Final = 2

_NOT_OFFERED: Final = "the SignalR hub offers none"


class SignalRClient:
    """Reads frames from the exchange's SignalR hub; implements `frame_source.Source`."""

    def __init__(
        self,
        settings: SignalRHubSettings,
        *,
        clock: Clock = SYSTEM_CLOCK,
        random: Callable[[], float] = random_fraction,
        on_date: OnDate = ignore_date,
    ) -> None:
        """Check the settings; `frames` connects.

        Args:
            settings: address of the SignalR hub, and how to reach it.
            clock: the machine's clock.
            random: returns a number from 0 to below 1.
            on_date: called with the times of the SignalR hub's answers.

        Raises:
            SettingsError: the settings cannot be used.
        """
        self._settings = settings
        self._address = Address(settings.base_url)
        self._transports = read_transports(settings.transports)
        self._access = read_access(settings, settings.base_url)
        self._clock = clock
        self._random = random
        self._on_date = on_date
        self._backoff = Backoff(settings.max_reconnect_delay, random)
        self._host = urlsplit(settings.base_url).hostname
        self._connection_state = ConnectionState()
        self._reset()

    def _reset(self) -> None:
        self._backoff.reset()
        self._connection: SignalRConnection | None = None
        self._wait = 0.0  # seconds before the next try
        self._connected_at = 0.0
        self._upgrade_at: float | None = None
        self._resumptions = 0  # since the last frame
        self._refused: dict[TransportName, str] = {}  # refused transports, and why
        self._put_off: set[TransportName] = set()  # transports to try later, as the hub asked
        self._once = LogLimiter(log, interval=float("inf"))  # for this outage

    @property
    def connection_state(self) -> ConnectionState:
        """The present state of the connection."""
        return self._connection_state

    @property
    def failures(self) -> int:
        """Number of failed attempts and lost connections since the last frame."""
        return self._backoff.failures

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield the SignalR hub's frames that have messages; see `Source`. One reader at a time."""
        self._reset()
        self._connection_state = ConnectionState(since=self._clock.time())
        async with self._access.client() as client:
            context = ConnectionContext(
                self._address,
                self._access,
                client,
                clock=self._clock,
                random=self._random,
                on_date=self._on_date,
            )
            try:
                while True:
                    yield await self._next(context)
            finally:
                self._connection_state = ConnectionState(since=self._clock.time())
                await self._end()

    async def _next(self, context: ConnectionContext) -> bytes:
        while True:
            try:
                if self._connection is None:
                    await self._pause()
                    await self._connect(context)
                frame = await self._receive(context)
            except FeedError as error:
                await self._lost(error)
            else:
                self._backoff.reset()
                self._resumptions = 0
                return frame

    async def _pause(self) -> None:
        wait, self._wait = self._wait, 0.0
        if wait:
            await self._clock.sleep(wait)

    async def _receive(self, context: ConnectionContext) -> bytes:
        while True:
            if self._connection is None:
                raise FeedError("there is no connection")
            remaining = None
            if self._upgrade_at is not None:
                remaining = max(0.0, self._upgrade_at - self._clock.monotonic())
            try:
                async with asyncio.timeout(remaining):
                    return await self._connection.receive()
            except TimeoutError:
                # One connection at a time: the old one is ended before a better transport is tried.
                await self._end()
                await self._connect(context)

    async def _connect(self, context: ConnectionContext) -> None:
        """Negotiate, and try the transports in turn, until the SignalR hub asks to wait."""
        if self._put_off.issuperset(self._transports):
            self._put_off.clear()
        refused = {
            transport: self._refused[transport]
            for transport in self._transports
            if transport in self._put_off
        }
        for name in [transport for transport in self._transports if transport not in self._put_off]:
            if self._connection is None:
                self._connection = await self._negotiate(context)
            try:
                await self._begin(self._connection, name)
            except FeedError as error:
                refused[name] = str(error)
                if self._refused.get(name) != str(error):
                    log.warning("transport refused", transport=name.value, reason=str(error))
                    self._refused[name] = str(error)
                opened = self._connection is None  # and ended again: start was refused
                if asked_to_wait(error) is not None or (opened and is_busy(error)):
                    if not opened:  # another one comes first after the wait
                        self._put_off.add(name)
                    await self._end()
                    raise with_prefix(name.value, error) from error
            else:
                self._put_off.clear()
                self._refused = refused
                self._connected(name)
                return
        await self._end()
        raise FeedError(_joined(refused))

    async def _negotiate(self, context: ConnectionContext) -> SignalRConnection:
        try:
            return await negotiate(context)
        except FeedError as error:
            raise with_prefix("negotiate", error) from error

    async def _begin(self, connection: SignalRConnection, name: TransportName) -> None:
        if name is TransportName.WEB_SOCKETS and not connection.negotiation.try_web_sockets:
            raise FeedError(_NOT_OFFERED)
        try:
            await connection.begin(name)
        except FeedError:
            # A connection that the SignalR hub has opened must be aborted, with its token.
            await (self._end() if connection.opened else connection.close())
            raise

    def _connected(self, name: TransportName, *, resumed: bool = False) -> None:
        now = self._clock.monotonic()
        self._connected_at = now
        if not resumed:
            # A working transport is not left for one that the SignalR hub does not offer.
            refused = any(why != _NOT_OFFERED for why in self._refused.values())
            self._upgrade_at = now + self._settings.upgrade_after if refused else None
        error = _joined(self._refused) or None
        if self._connection_state.source != name:
            event = "exchange resumed" if resumed else "exchange connected"
            log.info(event, host=self._host, transport=name.value)
            self._connection_state = ConnectionState(
                source=name.value, since=self._clock.time(), error=error
            )
        elif self._connection_state.error != error:
            self._connection_state = ConnectionState(
                source=name.value, since=self._connection_state.since, error=error
            )
        self._once = LogLimiter(log, interval=float("inf"))

    async def _lost(self, error: FeedError) -> None:
        """Log the loss, then resume the connection, or end it if that fails."""
        now = self._clock.monotonic()
        source = self._connection_state.source
        if source and now - self._connected_at > self._settings.max_reconnect_delay:
            self._backoff.reset()  # it lasted long enough, even without frames
        self._note_failure(str(error))
        self._wait = max(self._backoff.next(), asked_to_wait(error) or 0.0)
        connection = self._connection
        if connection is None:
            return
        if source and connection.resumable and self._resumptions < _MAX_RESUMPTIONS:
            await connection.close()
            until = now + connection.negotiation.disconnect_timeout
            if await self._resume(connection, TransportName(source), until):
                return
        await self._end()

    async def _resume(
        self, connection: SignalRConnection, name: TransportName, until: float
    ) -> bool:
        while self._clock.monotonic() + self._wait < until:
            await self._pause()
            try:
                await connection.resume()
            except FeedError as error:
                self._note_failure(f"not resumed: {error}")
                if isinstance(error, UnexpectedResponseError) and not is_busy(error):
                    return False  # the SignalR hub answers, but no longer knows the connection
                self._wait = max(self._backoff.next(), asked_to_wait(error) or 0.0)
            else:
                self._resumptions += 1
                self._connected(name, resumed=True)
                return True
        return False

    def _note_failure(self, reason: str) -> None:
        """Note that there is no connection, and log each reason once per outage."""
        source, since = self._connection_state.source, self._connection_state.since
        if source:
            since = self._clock.time()
            self._once.warning(
                "connection to the exchange lost",
                key=reason,
                host=self._host,
                transport=source,
                reason=reason,
            )
        else:
            self._once.warning(
                "exchange cannot be reached", key=reason, host=self._host, reason=reason
            )
        self._connection_state = ConnectionState(source="", since=since, error=reason)

    async def _end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.end()


def _joined(refused: Mapping[TransportName, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in refused.items())
