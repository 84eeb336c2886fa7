"""Receiver: the connection of a stream, over every break, until somebody ends it.

Options come in, messages go into an inbox. Here it is decided when to connect, what to ask for
and what to do when a connection ends. Receiving waits for nobody, unless the inbox says that it
is full. Who reads the inbox, and in which thread, is not known: `wake` tells them what is new.
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
from ime_live.client.address import stream_path
from ime_live.client.ending import of_websocket
from ime_live.client.handshake import Connect, library_log, look_closer
from ime_live.client.inbox import Inbox
from ime_live.client.message import ConnectionEvent, DataT, Key, Message, Reader, Status
from ime_live.client.options import StreamOptions
from ime_live.client.pace import Pace
from ime_live.client.position import Position
from ime_live.client.proxy import proxy_for, through
from ime_live.client.selection import Change, Selection
from ime_live.errors import (
    AuthenticationError,
    ImeLiveError,
    ServiceError,
    UnknownContractError,
)
from ime_live.log_limiter import LogLimiter, PlainLines
from ime_live.messages import Action, ControlData

log = logging.getLogger("ime_live.client")

_LASTING: Final = 1.0  # seconds after which a connection that ended had been a good one
_TOKEN_WAIT: Final = 2.0  # seconds; a longer wait would outlast what a token may need to pass
_WORN: Final = 4  # steps in which silence is looked at


class _StaleError(Exception):
    # Nothing has come for too long.
    pass


class _CallbackError(Exception):
    # The program's own function has raised; as it is, it could be taken for one of the library's.
    pass


class Receiver(Generic[DataT]):
    """Receives until it is cancelled, or until something must not be repeated.

    Attributes:
        inbox: where messages go.
        status: the newest state of the feed; None without ``status=True`` and while there is no
            connection.
        connected: whether there is a connection.
        ended: whether nothing more will come.
        failure: why it has ended, if not because somebody wanted it to.
    """

    def __init__(
        self,
        options: StreamOptions,
        reader: Reader[DataT],
        inbox: Inbox[Message[DataT]],
        wake: Callable[[], None],
    ) -> None:
        """Make one; `run` does the work.

        Args:
            options: what the program asks for.
            reader: decodes messages.
            inbox: takes them.
            wake: called when `inbox`, `ended` or `failure` have something new.
        """
        self.inbox = inbox
        self.status: Status | None = None
        self.connected = False
        self.ended = False
        self.failure: BaseException | None = None
        self._options = options
        self._reader = reader
        self._wake = wake
        self._position = Position(snapshot=options.snapshot, since=options.since, keys=options.keys)
        self.selection: Final = Selection(options.keys)
        self._backoff = Backoff(options.max_reconnect_delay, random.random)
        self._limited = LogLimiter(PlainLines(log.warning, info=log.info))
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self.full = False
        self._arrivals = 0
        self._reached = False
        self._opened: float | None = None
        self._reason = "no answer yet"

    # -- what others call -----------------------------------------------------------------------

    def made_room(self) -> None:
        """A message was taken while `full` was true; in the loop's own thread."""
        self.full = False
        self._room.set()

    async def change(self, action: Action, keys: list[Key], snapshot: bool | None) -> None:
        """Add or remove contracts, and wait for the answer.

        Raises:
            UnknownContractError: there is no contract of a name; the others are done.
            RefusedError: the token does not cover a contract; the others are done.
            ServiceError: no answer, or the stream has ended.
        """
        if self.ended:
            raise self._over()
        settled = asyncio.Event()
        change = Change(
            action,
            keys,
            snapshot=self._options.snapshot if snapshot is None else snapshot,
            settled=settled.set,
        )
        self.selection.add(change)
        self._changed.set()
        self._room.set()  # see `_put_later`
        try:
            await settled.wait()
        except asyncio.CancelledError:
            self.selection.drop(change)
            raise
        if (error := change.error()) is not None:
            raise error

    async def run(self) -> None:
        """Receive, until cancelled or until an error that `failure` has then."""
        first_timeout = self._options.first_timeout
        try:
            async with asyncio.timeout(first_timeout) as self._first:
                await self._receive()
        except TimeoutError as error:
            self.failure = error
            if self._first.expired():
                text = f"no connection within {first_timeout:g} s: {self._reason}"
                self.failure = ServiceError(text)
        except _CallbackError as error:
            self.failure = error.__cause__
        except Exception as error:  # noqa: BLE001 - raised where the program reads
            self.failure = error
        finally:
            self.end()

    def end(self) -> None:
        """Nothing more will come: tell everybody who waits."""
        if self.ended:
            return
        self.ended, self.connected, self.status = True, False, None
        try:
            self._tell(str(self.failure or "the stream was closed"), final=True)
        except _CallbackError as error:
            self.failure = self.failure or error.__cause__
        self.selection.fail(self._over())
        self._wake()

    def _tell(self, reason: str = "", *, final: bool = False) -> None:
        call = self._options.on_connection
        if call is None:
            return
        try:
            call(ConnectionEvent(self.connected, reason, final))
        except Exception as error:
            raise _CallbackError from error

    def _over(self) -> ImeLiveError:
        if isinstance(self.failure, ImeLiveError):
            return self.failure
        return ServiceError("the stream has ended")

    # -- one connection after the other ---------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            self._changed.clear()
            opening = self.selection.open(snapshot=self._position.wants_states)
            self._forget(opening.gone)
            if not opening.keys:
                await self._changed.wait()
                continue
            longest = await self._attempt(list(opening.keys))
            await asyncio.sleep(min(self._backoff.next(), longest))

    async def _attempt(self, keys: list[Key]) -> float:
        """One connection, until its end, or the try to make it.

        Returns:
            Seconds to wait at the most before the next one.

        Raises:
            ImeLiveError: the stream ends with it.
        """
        options = self._options
        headers = await options.credentials.headers()
        proxy = proxy_for(options.proxy, options.service, "ws")
        address = options.service.named("ws", stream_path(keys[0][0])) + through(proxy)
        self._opened = None
        try:
            await self._converse(keys, headers, proxy)
        except (OSError, ValueError, ends.WebSocketException, _StaleError) as error:
            ending = of_websocket(error, address)
            if self.connected:
                self._lose(ending.reason)
            if ending.unclear and not self._reached:
                service, given = options.service, options.proxy
                ending = await look_closer(
                    service, given, ending, address, open_timeout=options.open_timeout
                )
            fault = ending.fatal(reached=self._reached)
            if fault is not None and not self._helps(fault, headers):
                # What quotes an address may quote a proxy's password.
                quotes = isinstance(error, ends.InvalidProxy | ValueError)
                raise fault from None if quotes else error
            self._note_end(ending.reason, address, expected=fault is not None)
            return _TOKEN_WAIT if isinstance(fault, AuthenticationError) else math.inf
        return math.inf

    def _helps(self, fault: ImeLiveError, headers: dict[str, str]) -> bool:
        """Whether something can be done so that the next connection may go well."""
        if isinstance(fault, AuthenticationError):
            return self._options.credentials.refused(headers, fault.reason)
        if isinstance(fault, UnknownContractError):
            return self.selection.refused(str(fault))
        return False

    def _note_end(self, reason: str, address: str, *, expected: bool) -> None:
        if self._opened is None:
            text = f"no connection to {address}: {reason}"
            self._tell(reason)
        else:
            text = f"the connection to {address} has ended: {reason}"
            if asyncio.get_running_loop().time() - self._opened >= _LASTING:
                self._backoff.reset()
        self._reason = text
        write = self._limited.info if expected else self._limited.warning
        write(f"{text}; trying again", key=reason)

    def _lose(self, reason: str) -> None:
        self.connected, self.status = False, None
        self._tell(reason)

    async def _converse(self, keys: list[Key], headers: dict[str, str], proxy: str | None) -> None:
        """One connection, until it ends.

        Raises:
            ConnectionClosed, OSError, WebSocketException, _StaleError: how it has ended.
            ImeLiveError: what ends the stream.
        """
        options = self._options
        resumption = self._position.resumption(self.selection.held)
        async with Connect(
            options.service.stream(keys, options.parameters(resumption)),
            additional_headers=headers,
            **options.transport(proxy),
            logger=library_log,
        ) as connection:
            self._opened = asyncio.get_running_loop().time()
            if not self._first.expired():
                self._first.reschedule(None)
            self._position.begin()
            self._reached = self.connected = True
            log.info("connected to %s", options.service.place)
            self._tell()
            try:
                await _first_of(
                    self._read(connection, headers),
                    self._send(connection),
                    self._watch(),
                    self._notice(connection, headers),
                )
            except _StaleError:
                connection.transport.abort()  # nobody is there to close it with
                raise
            except asyncio.CancelledError:
                # Somebody leaves. Left to itself, the library would call it an internal error.
                await connection.close()
                raise

    async def _read(self, connection: ClientConnection, headers: dict[str, str]) -> None:
        proven = False
        read, take, put = self._reader.read, self._position.take, self.inbox.put
        while True:
            raw = await connection.recv(decode=False)
            self._arrivals += 1
            found = read(raw)
            if isinstance(found, Message):
                if not take(found.key, found.timestamp_text):
                    continue
                if not put(found):
                    await self._put_later(found)
                self._wake()
            elif isinstance(found, Status):
                self.status = found if self.connected else None
            elif isinstance(found, ControlData):
                self._answered(found)
            else:
                log.debug("a message of an unknown channel was passed over")
            if not proven:
                proven = True
                self._options.credentials.accepted(headers)

    async def _put_later(self, message: Message[DataT]) -> None:
        try:
            while True:
                self._room.clear()
                # Before it is tried again: another thread may take one at any moment.
                self.full = True
                # An answer is behind the data, and who waits for it may be who reads the inbox.
                if self.inbox.put(message, beyond=self.selection.unsettled):
                    return
                await self._room.wait()
        except asyncio.CancelledError:
            # It counts as received, so nobody sends it again.
            self.inbox.put(message, beyond=True)
            self._wake()
            raise
        finally:
            self.full = False

    async def _notice(self, connection: ClientConnection, headers: dict[str, str]) -> None:
        # A market may be quiet for longer than a token lives. Who answers a ping has taken it.
        with suppress(ends.ConnectionClosed):
            await (await connection.ping())
            self._options.credentials.accepted(headers)
        # `_read` tells how it has ended, once it has read what came before; it may have to wait.
        await connection.wait_closed()
        if self.connected:
            self._lose(of_websocket(connection.protocol.close_exc, "").reason)
        await asyncio.Event().wait()

    def _answered(self, answer: ControlData) -> None:
        gone, error = self.selection.answered(answer)
        self._forget(gone)
        if error is not None:
            raise error

    def _forget(self, gone: Sequence[Key]) -> None:
        if gone:
            self._position.forget(gone)
            self.inbox.purge(gone)

    async def _send(self, connection: ClientConnection) -> None:
        loop, pace = asyncio.get_running_loop(), Pace()
        limit = self._options.open_timeout
        overdue: asyncio.Future[None] = loop.create_future()

        def check(number: str | int | None) -> None:
            error = ServiceError(f"the gateway has not answered a request within {limit:g} s")
            fatal = self.selection.overdue(number, error)
            if fatal is not None and not overdue.done():
                overdue.set_exception(fatal)

        timers: list[asyncio.TimerHandle] = []
        try:
            while True:
                self._changed.clear()
                while (request := self.selection.next_request()) is not None:
                    await asyncio.sleep(pace.wait(loop.time()))
                    try:
                        await connection.send(request.to_json(), text=True)
                    except ends.ConnectionClosed:
                        await asyncio.Event().wait()  # `_read` tells
                    timers = [timer for timer in timers if timer.when() > loop.time()]
                    timers.append(loop.call_later(limit, check, request.id))
                await _first_of(self._changed.wait(), asyncio.shield(overdue))
        finally:
            # Without a connection an answer is not overdue: it is asked for again.
            for timer in timers:
                timer.cancel()

    async def _watch(self) -> None:
        limit = self._options.stale_after
        if limit is None:
            await asyncio.Event().wait()
            return
        seen, quiet = self._arrivals, 0
        while quiet < _WORN:
            await asyncio.sleep(limit / _WORN)
            quiet = quiet + 1 if self._arrivals == seen and not self.full else 0
            seen = self._arrivals
        raise _StaleError(f"nothing has come for {limit:g} s")


async def _first_of(*works: Awaitable[object]) -> None:
    """Run all of them until one ends, end the others, and raise what the first one has raised."""
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
