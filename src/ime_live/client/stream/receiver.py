"""Receiver: connect a stream, reconnect after every break, and queue its messages.

It decides when to connect, which states to request, and how to react to the end of a connection. It
waits for the program only if the queue is full. The program may read the queue in another thread,
which `wake` wakes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Generic

from websockets import exceptions as ends
from websockets.asyncio.client import ClientConnection

from ime_live.backoff import Backoff
from ime_live.client.network.proxy import proxy_for, through
from ime_live.client.network.websocket import (
    Connect,
    check_scheme,
    library_log,
    reason_of_websocket_error,
)
from ime_live.client.options import StreamOptions
from ime_live.client.protocol.address import kind_of, stream_path
from ime_live.client.protocol.message import (
    ConnectionEvent,
    DataT,
    Message,
    Reader,
    Selector,
    Status,
)
from ime_live.client.protocol.queue import MessageQueue, queue_of
from ime_live.client.protocol.resume_point import ResumePoint
from ime_live.client.protocol.selection import Selection
from ime_live.client.stream.command_sender import CommandSender
from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import AuthenticationError, ImeLiveError, ServiceError, UnknownContractError
from ime_live.log_limiter import LogLimiter, PlainLines
from ime_live.messages import LISTING, Action, ContractFilter, ControlData

log = logging.getLogger("ime_live.client")

STREAM_ENDED: Final = "the stream cannot be changed: it has ended"
"""Text of the error for changes of a stream that has ended."""

_LASTING: Final = 1.0  # seconds; a connection that lasted longer resets the backoff
_TOKEN_WAIT: Final = 2.0  # seconds; less than the patience with a token that is not valid yet
_SILENCE_CHECKS: Final = 4  # steps in which silence is measured


class _StaleError(Exception):
    # No message has arrived for too long.
    pass


class _CallbackError(Exception):
    # The program's callback raised. Unwrapped, it could be mistaken for an error of the library.
    pass


class Receiver(Generic[DataT]):
    """Receives until it is cancelled, or until an error that a reconnection cannot solve.

    Attributes:
        queue: queue of the received messages.
        status: newest state of the feed; None without ``status=True`` or a connection.
        connected: whether there is a connection.
        ended: whether the stream has ended.
        failure: the error that ended it; None if it was closed.
    """

    def __init__(self, options: StreamOptions, data: type[DataT], wake: Callable[[], None]) -> None:
        """Create a receiver; `run` does the work.

        Args:
            options: options of the stream.
            data: type of the messages' data.
            wake: called when `queue`, `ended` or `failure` has changed.
        """
        self.queue: Final[MessageQueue[Message[DataT]]] = queue_of(
            options.queue, options.queue_size
        )
        self.status: Status | None = None
        self.connected = False
        self.ended = False
        self.failure: BaseException | None = None
        self._options = options
        self._reader = Reader(options.zone, data)
        self._wake = wake
        self._resume_point = ResumePoint(
            snapshot=options.snapshot, since=options.since, keys=options.keys
        )
        self.selection: Final = Selection(options.keys)
        self._backoff = Backoff(options.max_reconnect_delay, random.random, lasting=_LASTING)
        self._limited = LogLimiter(PlainLines(log.warning, info=log.info))
        self._commands = CommandSender(self.selection, options)
        self._room = asyncio.Event()
        self.full = False
        self._arrivals = 0
        self._reached = False
        self._opened: float | None = None
        self._reason = "no answer yet"

    def note_room(self) -> None:
        """Note that a message was taken while `full` was true; call it in the loop's thread."""
        self.full = False
        self._room.set()

    async def change(self, action: Action, keys: Sequence[Selector], snapshot: bool | None) -> None:
        """Add or remove contracts, and wait for the answer; see `CommandSender.change`."""
        self._room.set()  # see `_put_later`
        await self._commands.change(action, keys, snapshot)

    async def run(self) -> None:
        """Receive until cancelled, or until an error, which is then in `failure`."""
        first_timeout = self._options.first_timeout
        try:
            async with asyncio.timeout(first_timeout) as self._first:
                await self._receive()
        except TimeoutError as error:
            self.failure = error
            if self._first.expired():
                text = f"cannot connect within {first_timeout:g} s: {self._reason}"
                self.failure = ServiceError(text)
        except _CallbackError as error:
            self.failure = error.__cause__
        except Exception as error:  # noqa: BLE001 - raised where the program reads
            self.failure = error
        finally:
            self.end()

    def end(self) -> None:
        """Mark the stream as ended, and wake all waiting readers."""
        if self.ended:
            return
        self.ended, self.connected, self.status = True, False, None
        try:
            self._notify(str(self.failure or "the stream was closed"), final=True)
        except _CallbackError as error:
            self.failure = self.failure or error.__cause__
        failure = self.failure
        if not isinstance(failure, ImeLiveError):
            failure = ServiceError(STREAM_ENDED)
        self.selection.fail(failure)
        self._wake()

    def _notify(self, reason: str = "", *, final: bool = False) -> None:
        call = self._options.on_connection
        if call is None:
            return
        try:
            call(ConnectionEvent(self.connected, reason, final))
        except Exception as error:
            raise _CallbackError from error

    async def _receive(self) -> None:
        while True:
            self._commands.changed.clear()
            opening = self.selection.open(snapshot=self._resume_point.wants_states)
            self._forget(opening.removed)
            if not opening.keys:
                await self._commands.changed.wait()
                continue
            longest = await self._attempt(list(opening.keys))
            now = SYSTEM_CLOCK.monotonic()
            lasted = 0.0 if self._opened is None else now - self._opened
            await asyncio.sleep(min(self._backoff.next(lasted), longest))

    async def _attempt(self, keys: list[Selector]) -> float:
        """Make one connection and use it until its end.

        Returns:
            Longest wait in seconds before the next one.

        Raises:
            ImeLiveError: the error that ends the stream.
        """
        options = self._options
        headers = await options.credentials.headers()
        proxy = proxy_for(options.proxy, options.service, "ws")
        address = options.service.named("ws", stream_path(kind_of(keys))) + through(proxy)
        self._opened = None
        try:
            await self._use_connection(keys, headers, proxy)
        except (OSError, ValueError, ends.WebSocketException, _StaleError) as error:
            reason = reason_of_websocket_error(error, address)
            if self.connected:
                self._note_loss(reason.text)
            if reason.unclear and not self._reached:
                service, proxy_option = options.service, options.proxy
                reason = await check_scheme(
                    service, proxy_option, reason, address, open_timeout=options.open_timeout
                )
            fault = reason.fatal(reached=self._reached)
            if fault is not None and not self._can_retry(fault, headers):
                # The cause may quote the address of a proxy with its password.
                quotes = isinstance(error, ends.InvalidProxy | ValueError)
                raise fault from None if quotes else error
            self._note_end(reason.text, address, expected=fault is not None)
            return _TOKEN_WAIT if isinstance(fault, AuthenticationError) else math.inf
        return math.inf

    def _can_retry(self, fault: ImeLiveError, headers: dict[str, str]) -> bool:
        """Return whether the next connection may succeed with a new token or selection."""
        if isinstance(fault, AuthenticationError):
            return self._options.credentials.note_refused(headers, fault.reason)
        if isinstance(fault, UnknownContractError):
            return self.selection.handle_refusal(str(fault))
        return False

    def _note_end(self, reason: str, address: str, *, expected: bool) -> None:
        if self._opened is None:
            text = f"no connection to {address}: {reason}"
            self._notify(reason)
        else:
            text = f"the connection to {address} has ended: {reason}"
        self._reason = text
        write = self._limited.info if expected else self._limited.warning
        write(f"{text}; trying again", key=reason)

    def _note_loss(self, reason: str) -> None:
        self.connected, self.status = False, None
        self._notify(reason)

    async def _use_connection(
        self, keys: list[Selector], headers: dict[str, str], proxy: str | None
    ) -> None:
        """Use one connection until it ends.

        Raises:
            ConnectionClosed, OSError, WebSocketException, _StaleError: the connection has ended.
            ImeLiveError: the error that ends the stream.
        """
        options = self._options
        resumption = self._resume_point.resumption(self.selection.selectors)
        async with Connect(
            options.service.stream(keys, options.parameters(resumption)),
            additional_headers=headers,
            **options.transport(proxy),
            logger=library_log,
        ) as connection:
            self._opened = SYSTEM_CLOCK.monotonic()
            if not self._first.expired():
                self._first.reschedule(None)
            self._resume_point.begin()
            if resumption.snapshot:
                self.selection.forget_matches()
            self._reached = self.connected = True
            log.info("connected to %s", options.service.place)
            self._notify()
            try:
                await first_of(
                    self._read(connection, headers),
                    self._commands.run(connection),
                    self._watch_silence(),
                    self._watch_close(connection, headers),
                )
            except _StaleError:
                connection.transport.abort()  # the other side would not answer a close frame
                raise
            except asyncio.CancelledError:
                # The program closes the stream. Without this, the library would send 1011.
                await connection.close()
                raise

    async def _read(self, connection: ClientConnection, headers: dict[str, str]) -> None:
        proven = False
        read, take, put = self._reader.read, self._resume_point.take, self.queue.put
        filtered = self.selection.has_filters
        while True:
            frame = await connection.recv(decode=False)
            self._arrivals += 1
            message = read(frame)
            if isinstance(message, Message):
                if filtered:
                    self.selection.note(message.key)
                if not take(message.key, message.timestamp_text):
                    continue
                if not put(message):
                    await self._put_later(message)
                self._wake()
            elif isinstance(message, Status):
                self.status = message if self.connected else None
            elif isinstance(message, ControlData) and message.action == LISTING:
                self.selection.take_listing(message)
                for fault in message.errors:
                    self._limited.warning(
                        f"{fault.contract} was left out: {fault.error}", key="left out"
                    )
            elif isinstance(message, ControlData):
                removed, error = self.selection.take_answer(message)
                self._forget(removed)
                filtered = self.selection.has_filters
                if error is not None:
                    raise error
            else:
                log.debug("ignored a message of an unknown channel")
            if not proven:
                proven = True
                self._options.credentials.note_accepted(headers)

    async def _put_later(self, message: Message[DataT]) -> None:
        try:
            while True:
                self._room.clear()
                # Set before the next attempt, because another thread may take one at any moment.
                self.full = True
                # The answer to a command arrives after the data, and the reader may wait for it.
                if self.queue.put(message, beyond=self.selection.unsettled):
                    return
                await self._room.wait()
        except asyncio.CancelledError:
            # The message counts as received, so the gateway will not send it again.
            self.queue.put(message, beyond=True)
            self._wake()
            raise
        finally:
            self.full = False

    async def _watch_close(self, connection: ClientConnection, headers: dict[str, str]) -> None:
        # A market may be quiet for longer than a token lives. An answered ping means that the
        # gateway has accepted the token.
        with suppress(ends.ConnectionClosed):
            await (await connection.ping())
            self._options.credentials.note_accepted(headers)
        # `_read` raises the end after it has read earlier messages, for which it may have to wait.
        await connection.wait_closed()
        if self.connected:
            self._note_loss(reason_of_websocket_error(connection.protocol.close_exc, "").text)
        await asyncio.Event().wait()

    def _forget(self, keys: Sequence[Selector]) -> None:
        if keys:
            self._resume_point.forget(keys)
            self.queue.purge([key for key in keys if not isinstance(key, ContractFilter)])

    async def _watch_silence(self) -> None:
        limit = self._options.stale_after
        if limit is None:
            await asyncio.Event().wait()
            return
        arrivals, quiet_checks = self._arrivals, 0
        while quiet_checks < _SILENCE_CHECKS:
            await asyncio.sleep(limit / _SILENCE_CHECKS)
            quiet_checks = quiet_checks + 1 if self._arrivals == arrivals and not self.full else 0
            arrivals = self._arrivals
        raise _StaleError(f"no message for {limit:g} s")


async def first_of(*works: Awaitable[object]) -> None:
    """Run all until one ends, cancel the others, and raise the exception of the first one."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in first:
        task.result()
