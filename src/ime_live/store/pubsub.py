"""PubSub: keep the channels of contracts subscribed over every break of the connection.

It passes the messages of the channels to the gateway's callbacks without decoding them.
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

# A burst is handled as one batch, so that the hub writes to each client once. After this many
# messages (a few milliseconds) other tasks of the loop run.
_BATCH: Final = 500

IDLE: Final = 1.5
"""Seconds of silence after which a PING is sent. With the default `redis_timeout` of 5 s, a
half-open link is given up within 7 s."""

_FIRST_DELAY: Final = 0.1  # seconds: most breaks are over at once
_LONGEST_DELAY: Final = 2.0

_CATCH_UP_TIME: Final = 1.0
"""Seconds to wait at most for messages that are on their way."""

_BUS_TIME: Final = 0.1
"""Seconds for which a message may be on its way from one server of a cluster to another."""


class PubSub:
    """Listens to the channels of contracts; `run` does the work.

    Attributes:
        connected: whether Redis is connected and has answered for all channels asked for before.
        refusal: Redis's error to SUBSCRIBE, as for a user who may use no channels; None if there is
            none, and while Redis cannot be reached. See `refused` for single contracts.
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
        """Create a listener to the store's channels.

        Args:
            store: makes the connection and names the channels. An answer that takes longer than
                `redis_timeout` breaks the connection.
            on_message: called with a contract's id and each message of its channel.
            on_contracts: called with the ids of contracts that were added, changed or removed;
                with None if the ids could not be read, so that any may have changed.
            on_revoked: called when tokens were revoked.
            on_connected: called when Redis is connected (again) and has answered for every channel
                that was wanted until then, and when it allows some that it refused. Earlier
                messages may be missing.
            on_disconnected: called once when the connection is lost, or cannot be made at first.
            idle: seconds without any message after which a PING is sent.
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
        self._told_outage = False
        """Whether the start of this outage was logged. If a link breaks repeatedly, only some
        outages are logged, each with its end."""
        self._backoff = Backoff(_LONGEST_DELAY, first_limit=_FIRST_DELAY)
        self._limited = LogLimiter(log)
        # Of the present connection:
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._heard = 0.0  # when, on the loop's clock
        self._flush_due = False  # in this tick of the loop

    @property
    def refused(self) -> dict[str, str]:
        """Redis's errors by contract whose channel it refuses. It is asked again every 2 s."""
        wanted, refused = self._subscriptions.wanted, self._subscriptions.refused
        return {wanted[channel]: error for channel, error in refused.items()}

    def subscribe(self, ids: Iterable[str]) -> asyncio.Future[bool]:
        """Subscribe to contracts, now and after every break.

        Returns:
            A future: True once the server has confirmed or `refused` each; False at once without a
            connection, or when it breaks. Then `on_connected` follows.
        """
        return self.subscribe_to({self._keys.live(each): each for each in ids})

    def subscribe_to(self, channels: Mapping[str, str]) -> asyncio.Future[bool]:
        """Subscribe to channels by their own names, as `subscribe` does.

        Args:
            channels: by channel, what `on_message` is called with in place of a contract's id.
        """
        for channel, called in channels.items():
            self._subscriptions.want(channel.encode(), called)
        confirmed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._writer is None:
            confirmed.set_result(False)
        else:
            self._subscriptions.wait(confirmed)
            self._flush_soon()
        return confirmed

    def unsubscribe(self, ids: Iterable[str]) -> None:
        """Unsubscribe from contracts; their messages are not delivered from now on."""
        for contract_id in ids:
            self._subscriptions.drop(self._keys.live(contract_id).encode())
        if self._writer is not None:
            self._flush_soon()

    async def caught_up(self) -> None:
        """Wait until the messages that were published before this call have been passed on.

        Returns without that if there is no connection, or its answer takes longer than a second.
        In a cluster a message may take longer to reach the server that is listened to.
        """
        if not self._connections.one_clock:
            await asyncio.sleep(_BUS_TIME)
        if self._writer is None:
            return
        # The server answers this after all messages before it. A PING may be refused; this is not.
        confirmed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._subscriptions.wait(confirmed)
        self._subscriptions.again()
        self._flush()
        await asyncio.wait([confirmed], timeout=_CATCH_UP_TIME)

    async def run(self) -> None:
        """Connect, listen, and reconnect after every error, until cancelled."""
        while True:
            try:
                await self._listen()
            except StoreError as error:
                self._lose(error)
            await asyncio.sleep(self._backoff.next())

    async def _listen(self) -> None:
        """Use one connection until it ends with a StoreError."""
        connection = self._connections.make()
        try:
            with self._connections.errors():
                view = await self._connections.view(connection)
                await connection.connect()
                # redis-py has connected: TLS, login, database, Unix socket. From here on the
                # streams are ours, by two names that redis-py keeps private in 6 to 8, because
                # that is what makes a message cheap: 2.0 µs of CPU, 3.5 µs by its
                # read_response(), 8.4 µs by its PubSub (740 bytes, bursts of 50, CPython 3.11).
                self._reader, self._writer = connection._reader, connection._writer
                watches = [
                    asyncio.create_task(self._watch()),
                    asyncio.create_task(self._retry_refused()),
                    asyncio.create_task(self._leave(connection, view)),
                ]
                for watch in watches:
                    watch.add_done_callback(self._break_with)
                try:
                    await self._follow(self._reader)
                finally:
                    for watch in watches:
                        watch.cancel()
        finally:
            self.connected = False
            self._reader = self._writer = None
            self._subscriptions.end()
            with suppress(Exception):
                await connection.disconnect(nowait=True)

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        replies = hiredis.Reader(notEnoughData=NO_REPLY)
        self._subscriptions.begin()
        self._heard = asyncio.get_running_loop().time()
        opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._subscriptions.wait(opened)
        self._flush()
        clock = asyncio.get_running_loop().time
        handled = 0
        while chunk := await reader.read(_READ_SIZE):
            self._heard = clock()
            replies.feed(chunk)
            handled += self._handle(replies)
            if not self.connected and opened.done():
                self._establish()
            if handled >= _BATCH:
                handled = 0
                await asyncio.sleep(0)
        raise ConnectionResetError("it closed the connection")

    async def _watch(self) -> None:
        """Send a PING after a silence, and raise an error if there is no answer.

        It is a task of its own, because a timeout around every read costs 0.6 µs per message
        (bursts of 50).
        """
        clock = asyncio.get_running_loop().time
        timeout = self._connections.timeout
        asked_at = None  # time of the last message when the PING was sent
        while (left := self._heard + self._idle + timeout - clock()) > 0:
            if left > timeout:
                await asyncio.sleep(left - timeout)
            elif asked_at != self._heard:
                asked_at = self._heard
                self._subscriptions.ping()
                self._send(command("PING"))
            else:
                # Not longer, because a message meanwhile starts a new silence.
                await asyncio.sleep(min(left, self._idle))
        raise TimeoutError

    async def _retry_refused(self) -> None:
        while True:
            await asyncio.sleep(_LONGEST_DELAY)
            self._subscriptions.retry()
            self._flush()

    async def _leave(self, connection: object, view: object) -> None:
        """Raise an error if another server leads, or messages may have been lost."""
        reason = await self._connections.changed(connection, view)
        raise ConnectionResetError(reason)

    def _break_with(self, watch: asyncio.Task[None]) -> None:
        """Break the connection with the error of a watch."""
        error = None if watch.cancelled() else watch.exception()
        if self._reader is not None and isinstance(error, Exception):
            self._reader.set_exception(error)

    def _send(self, command: bytes) -> None:
        if self._writer is None or self._reader is None:
            return
        try:
            self._writer.write(command)
        except RuntimeError as error:  # of uvloop, for a transport that has just closed
            self._reader.set_exception(error)

    def _handle(self, replies: hiredis.Reader) -> int:
        """Handle every complete reply, and return their number. This is the hot path.

        Raises:
            HiredisError: the data is not a reply, or not one for a subscriber.
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
                except Exception as error:  # noqa: BLE001 - the stream continues
                    self._note_failure(error)
            elif kind in CONFIRMATIONS and type(content) is int:
                allowed = subscriptions.confirm(channel) or allowed
            else:
                raise unexpected(reply)
        if allowed and self.connected:
            self._tell(self._on_connected)  # once for all: its work grows with their number
        return count

    def _refuse(self, reply: object) -> bool:
        """Take an error for that of a channel; return False if the connection is of no use."""
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
        """Send the changes of this tick of the loop, in one command per kind."""
        self._flush_due = False
        if self._writer is None:  # lost meanwhile; the next connection asks for all wanted channels
            return
        for name, channels in self._subscriptions.commands():
            self._send(command(name, *channels))

    def _establish(self) -> None:
        self.connected = True
        self.refusal = None
        self._limited.forget("refusal")
        self._backoff.reset()
        if self._outage:
            self._outage = False
            if self._told_outage:
                self._told_outage = False
                log.info("Redis is back", contracts=len(self._subscriptions.wanted))
        self._tell(self._on_connected)

    def _lose(self, error: StoreError) -> None:
        self.refusal = None
        if isinstance(error.__cause__, hiredis.ReplyError):
            self.refusal = str(error.__cause__)
            # Also logged during an outage, because somebody must change the permissions.
            told = self._limited.error(
                "Redis refuses to subscribe", key="refusal", error=str(error)
            )
        else:
            told = self._limited.warning("connection to Redis lost", key="lost", error=str(error))
        self._told_outage = self._told_outage or told
        if not self._outage:
            self._outage = True
            self._tell(self._on_disconnected, error)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001 - as in _handle
            self._note_failure(error)

    def _note_failure(self, error: Exception) -> None:
        self.failures += 1
        self._limited.error(
            "a callback failed", key="callback", failures=self.failures, exc_info=error
        )
