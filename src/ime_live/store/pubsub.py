"""PubSub: keep the channels of contracts subscribed, and reconnect after each break.

The messages are passed to callbacks without decoding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

import hiredis
import structlog

from ime_live.backoff import Backoff
from ime_live.errors import StoreError
from ime_live.log_limiter import LogLimiter
from ime_live.store.replies import (
    CONFIRMATIONS,
    NO_REPLY,
    PONGS,
    command,
    ids_of,
    is_not_permitted,
    is_refused_ping,
    unexpected,
)
from ime_live.store.store import Store
from ime_live.store.subscriptions import Subscriptions

log = structlog.get_logger()

_READ_SIZE: Final = 65_536

# A burst is handled as one batch, so that the hub writes to each client once. After this number of
# messages (a few milliseconds) the event loop runs other tasks.
_BATCH: Final = 500

IDLE: Final = 1.5
"""Time without a message after which a PING is sent [s]. With the default `redis_timeout` of 5 s, a
half-open connection is closed within 7 s."""

_FIRST_DELAY: Final = 0.1  # seconds; most breaks are short
_LONGEST_DELAY: Final = 2.0

_CATCH_UP_TIME: Final = 1.0
"""Maximum time to wait for messages in flight [s]."""

_BUS_TIME: Final = 0.1
"""Time that a message may take from one server of a cluster to another [s]."""


class PubSub:
    """Receives the messages of channels, in `run`.

    Attributes:
        connected: whether Redis is connected and has answered all subscriptions made before.
        refusal: error of Redis for all subscriptions, such as that for a user without permission
            to use channels; None without one, and while Redis cannot be reached. See `refused` for
            single contracts.
        failures: number of errors that callbacks have raised.
    """

    def __init__(
        self,
        store: Store,
        *,
        on_message: Callable[[str, bytes], None],
        on_contracts: Callable[[list[str] | None], None],
        on_revoked: Callable[[], None] = lambda: None,
        on_connected: Callable[[], None],
        on_disconnected: Callable[[StoreError], None] = lambda _: None,
        idle: float = IDLE,
    ) -> None:
        """Create an object without subscriptions.

        Args:
            store: makes the connection, and has the names of channels. If Redis does not answer
                within `redis_timeout`, the connection is closed.
            on_message: called with the contract id and the content of each message.
            on_contracts: called with the ids of contracts that were added, changed or removed; with
                None if the ids cannot be read, so that any contract may have changed.
            on_revoked: called when tokens were revoked.
            on_connected: called when Redis is connected (again) and has answered all subscriptions,
                and when it allows channels that it refused before. Earlier messages may be lost.
            on_disconnected: called once when the connection is lost, or cannot be made at first.
            idle: time without a message after which a PING is sent [s].
        """
        self.connected = False
        self.refusal: str | None = None
        self.failures = 0
        self._connections = store.connections
        self._keys = store.keys
        self._on_message = on_message
        self._on_contracts = on_contracts
        self._on_revoked = on_revoked
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._idle = idle
        self._contracts_channel = store.keys.contracts.encode()
        self._revoked_channel = store.keys.revoked.encode()
        self._subscriptions = Subscriptions(self._contracts_channel, self._revoked_channel)
        self._outage = False
        self._outage_logged = False
        """Whether the beginning of this outage was logged. If the connection breaks repeatedly,
        only some outages are logged, each with its end."""
        self._backoff = Backoff(_LONGEST_DELAY, first_limit=_FIRST_DELAY)
        self._limited = LogLimiter(log)
        # The present connection:
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._received_at = 0.0  # time of the last data, by the event loop's clock
        self._flush_due = False  # whether `_flush` is called at the end of this tick

    @property
    def refused(self) -> dict[str, str]:
        """Errors of Redis for single channels, by contract id; they are retried every 2 s."""
        wanted, refused = self._subscriptions.wanted, self._subscriptions.refused
        return {wanted[channel]: error for channel, error in refused.items()}

    def subscribe(self, ids: Iterable[str]) -> asyncio.Future[bool]:
        """Subscribe to contracts, now and after each reconnection.

        Returns:
            A future. Its result is True after the server has confirmed or refused each channel;
            False without a connection, or when it breaks. Then `on_connected` follows.
        """
        return self.subscribe_to({self._keys.live(each): each for each in ids})

    def subscribe_to(self, channels: Mapping[str, str]) -> asyncio.Future[bool]:
        """Subscribe to channels by name, like `subscribe`.

        Args:
            channels: channel → first argument of `on_message`, instead of a contract id.
        """
        for channel, contract_id in channels.items():
            self._subscriptions.add(channel.encode(), contract_id)
        confirmed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._writer is None:
            confirmed.set_result(False)
        else:
            self._subscriptions.wait(confirmed)
            self._flush_soon()
        return confirmed

    def unsubscribe(self, ids: Iterable[str]) -> None:
        """Unsubscribe from contracts; no more messages of theirs are passed to `on_message`."""
        for contract_id in ids:
            self._subscriptions.remove(self._keys.live(contract_id).encode())
        if self._writer is not None:
            self._flush_soon()

    async def caught_up(self) -> None:
        """Wait until messages that were published before this call have arrived.

        This returns earlier without a connection, and after a second at the latest. In a cluster, a
        message from another server may take longer.
        """
        if not self._connections.one_clock:
            await asyncio.sleep(_BUS_TIME)
        if self._writer is None:
            return
        # The server answers a SUBSCRIBE after all earlier messages. Unlike PING, it is permitted.
        confirmed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._subscriptions.wait(confirmed)
        self._subscriptions.resubscribe()
        self._flush()
        await asyncio.wait([confirmed], timeout=_CATCH_UP_TIME)

    async def run(self) -> None:
        """Connect, receive messages, and reconnect after each error, until cancelled."""
        while True:
            try:
                await self._listen()
            except StoreError as error:
                self._on_loss(error)
            await asyncio.sleep(self._backoff.next())

    async def _listen(self) -> None:
        """Use one connection, until a StoreError ends it."""
        connection = self._connections.make()
        try:
            with self._connections.errors():
                view = await self._connections.view(connection)
                await connection.connect()
                # redis-py makes the connection: TLS, login, database, Unix socket. From here on we
                # use its streams, which are private attributes in redis-py 6 to 8. So a message
                # takes 2.0 µs of CPU, instead of 3.5 µs with read_response(), or 8.4 µs with the
                # PubSub of redis-py (740 bytes, bursts of 50, CPython 3.11).
                self._reader, self._writer = connection._reader, connection._writer
                watchers = [
                    asyncio.create_task(self._check_idle()),
                    asyncio.create_task(self._retry_refused()),
                    asyncio.create_task(self._check_topology(connection, view)),
                ]
                for watcher in watchers:
                    watcher.add_done_callback(self._break_connection)
                try:
                    await self._read(self._reader)
                finally:
                    for watcher in watchers:
                        watcher.cancel()
        finally:
            self.connected = False
            self._reader = self._writer = None
            self._subscriptions.end()
            with suppress(Exception):
                await connection.disconnect(nowait=True)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        replies = hiredis.Reader(notEnoughData=NO_REPLY)
        self._subscriptions.begin()
        self._received_at = asyncio.get_running_loop().time()
        opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._subscriptions.wait(opened)
        self._flush()
        clock = asyncio.get_running_loop().time
        handled = 0
        while chunk := await reader.read(_READ_SIZE):
            self._received_at = clock()
            replies.feed(chunk)
            handled += self._handle(replies)
            if not self.connected and opened.done():
                self._on_established()
            if handled >= _BATCH:
                handled = 0
                await asyncio.sleep(0)
        raise ConnectionResetError("it closed the connection")

    async def _check_idle(self) -> None:
        """Send a PING after a time without data, and raise an error without an answer.

        This is a task of its own, because a timeout for each read takes 0.6 µs per message (bursts
        of 50).
        """
        clock = asyncio.get_running_loop().time
        timeout = self._connections.timeout
        pinged_at = None  # time of the last message when the PING was sent
        while (remaining := self._received_at + self._idle + timeout - clock()) > 0:
            if remaining > timeout:
                await asyncio.sleep(remaining - timeout)
            elif pinged_at != self._received_at:
                pinged_at = self._received_at
                self._subscriptions.ping()
                self._send(command("PING"))
            else:
                # Not longer, because data that arrives meanwhile starts a new idle time.
                await asyncio.sleep(min(remaining, self._idle))
        raise TimeoutError

    async def _retry_refused(self) -> None:
        while True:
            await asyncio.sleep(_LONGEST_DELAY)
            self._subscriptions.retry()
            self._flush()

    async def _check_topology(self, connection: object, view: object) -> None:
        """Raise an error after a failover, or if messages may have been lost."""
        reason = await self._connections.changed(connection, view)
        raise ConnectionResetError(reason)

    def _break_connection(self, watcher: asyncio.Task[None]) -> None:
        """Break the connection with the error of a watcher."""
        error = None if watcher.cancelled() else watcher.exception()
        if self._reader is not None and isinstance(error, Exception):
            self._reader.set_exception(error)

    def _send(self, command: bytes) -> None:
        if self._writer is None or self._reader is None:
            return
        try:
            self._writer.write(command)
        except RuntimeError as error:  # raised by uvloop if the transport has just closed
            self._reader.set_exception(error)

    def _handle(self, replies: hiredis.Reader) -> int:
        """Handle all complete replies, and return their number. This is the hot path.

        Raises:
            HiredisError: the data is not a reply, or not a reply to a subscriber.
        """
        subscriptions, on_message = self._subscriptions, self._on_message
        wanted = subscriptions.wanted
        count = 0
        allowed = False
        while (reply := replies.gets()) is not NO_REPLY:
            count += 1
            try:
                kind, channel, content = reply
                contract_id = wanted.get(channel)
            except (TypeError, ValueError):
                is_pong = reply in PONGS
                answers_ping = (is_pong or is_refused_ping(reply)) and subscriptions.pong()
                if not (answers_ping or is_pong or self._refuse(reply)):
                    raise unexpected(reply) from None
                continue
            if type(channel) is not bytes:
                raise unexpected(reply)
            if kind == b"message" and type(content) is bytes:
                try:
                    if contract_id is not None:
                        on_message(contract_id, content)
                    elif channel == self._contracts_channel:
                        self._on_contracts(ids_of(content))
                    elif channel == self._revoked_channel:
                        self._on_revoked()
                except Exception as error:  # noqa: BLE001 - the next messages are handled
                    self._note_failure(error)
            elif kind in CONFIRMATIONS and type(content) is int:
                allowed = subscriptions.confirm(channel) or allowed
            else:
                raise unexpected(reply)
        if allowed and self.connected:
            self._call(self._on_connected)  # once for all channels, because it takes long
        return count

    def _refuse(self, reply: object) -> bool:
        """Handle an error as that of a channel; return False if the connection must be closed."""
        if not is_not_permitted(reply):
            return False
        contract_id = self._subscriptions.refuse(str(reply))
        if contract_id is None:
            return False
        if contract_id:
            self._limited.error(
                "Redis refuses the channel of a contract; others are not affected",
                key="channel",
                contract_id=contract_id,
                error=str(reply),
            )
        self._flush_soon()
        return True

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send the changes of this tick of the event loop, in one command per kind."""
        self._flush_due = False
        if self._writer is None:  # the next connection subscribes to all channels
            return
        for name, channels in self._subscriptions.commands():
            self._send(command(name, *channels))

    def _on_established(self) -> None:
        self.connected = True
        self.refusal = None
        self._limited.forget("refusal")
        self._backoff.reset()
        if self._outage:
            self._outage = False
            if self._outage_logged:
                self._outage_logged = False
                log.info("Redis is back", contracts=len(self._subscriptions.wanted))
        self._call(self._on_connected)

    def _on_loss(self, error: StoreError) -> None:
        self.refusal = None
        if isinstance(error.__cause__, hiredis.ReplyError):
            self.refusal = str(error.__cause__)
            # Logged even during an outage, because the permissions must be changed.
            logged = self._limited.error(
                "Redis refuses to subscribe", key="refusal", error=str(error)
            )
        else:
            logged = self._limited.warning("connection to Redis lost", key="lost", error=str(error))
        self._outage_logged = self._outage_logged or logged
        if not self._outage:
            self._outage = True
            self._call(self._on_disconnected, error)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001 - as in _handle
            self._note_failure(error)

    def _note_failure(self, error: Exception) -> None:
        self.failures += 1
        self._limited.error(
            "a callback of the subscription to Redis failed",
            key="callback",
            failures=self.failures,
            exc_info=error,
        )
