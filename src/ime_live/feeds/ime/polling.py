"""Polling: read the exchange's REST boards while its SignalR hub is unreachable.

Each board becomes a frame as the SignalR hub would push it. The exchange has no REST board of
warehouse receipts, funds or salaf. They are not updated until the SignalR hub is back, and the
connection state says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection
from http import HTTPStatus
from random import random as random_fraction
from typing import Final

import httpx
import msgspec
import structlog
from msgspec import Struct

from ime_live.backoff import Backoff
from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import FeedError
from ime_live.feeds.ime.access import read_access
from ime_live.feeds.ime.addresses import read_base
from ime_live.feeds.ime.frame_source import ConnectionState
from ime_live.feeds.ime.pages import describe
from ime_live.feeds.ime.responses import (
    UnexpectedResponseError,
    asked_to_wait,
    check_response,
    network_errors,
    read_body,
)
from ime_live.log_limiter import LogLimiter
from ime_live.settings import SignalRHubSettings

log = structlog.get_logger()

PATHS: Final = {
    "updateFutureMarketsInfo": "Future/LiveMarket",
    "updateMarketsInfo": "Option/LiveMarket",
    "updateCDCMarketsInfo": "CDC/CDCLiveMarket",
}
"""The SignalR hub's method → the board's path below `--polling-url`."""

POLLING: Final = "polling"

LARGEST: Final = 16 * 1024 * 1024
"""Maximum size of a board in bytes; 300 strikes have 3 MB."""

_JITTER: Final = 0.1  # of the interval, so that several feeds do not poll in step

_COMPLAINT_INTERVAL: Final = 600.0
"""Seconds between two log lines about a board that cannot be polled: a board that fails at every
other poll would fill the log."""

_BOM: Final = b"\xef\xbb\xbf"


class _Tagged(Struct, frozen=True):
    """A board, and its entity tag, with which the server can answer that it has not changed."""

    tag: str
    board: bytes


class BoardPoller:
    """Polls the exchange's REST boards; implements `ime_live.feeds.ime.frame_source.Source`."""

    def __init__(
        self,
        settings: SignalRHubSettings,
        boards: Collection[str],
        *,
        clock: Clock = SYSTEM_CLOCK,
        random: Callable[[], float] = random_fraction,
        largest: int = LARGEST,
    ) -> None:
        """Check the settings; the first poll is made when `frames` is read.

        Args:
            settings: addresses of the boards, and how to reach them.
            boards: methods of the boards to read; those that cannot be polled are left out.
            clock: the machine's clock.
            random: returns a number from 0 to below 1.
            largest: maximum size of a board in bytes.

        Raises:
            SettingsError: the settings cannot be used.
        """
        base = read_base(settings.polling_url, "--polling-url").geturl()
        self._settings = settings
        self._access = read_access(settings, base)
        self._urls = {method: base + path for method, path in PATHS.items() if method in boards}
        self.missing = tuple(sorted(set(boards) - PATHS.keys()))
        """Methods of the boards that cannot be polled."""
        self._clock = clock
        self._random = random
        self._largest = largest
        self._connection_state = ConnectionState()
        self._limited = LogLimiter(log, interval=_COMPLAINT_INTERVAL, clock=clock)
        self._reset()

    def _reset(self) -> None:
        self._good: set[str] = set()  # boards whose last answer was one
        self._errors: dict[str, str] = {}  # of the others
        self._tagged: dict[str, _Tagged] = {}
        self._due: dict[str, float] = {}  # when a board may be requested again (Retry-After)
        self._connection_state = ConnectionState(since=self._clock.time())

    @property
    def connection_state(self) -> ConnectionState:
        """The present state of polling."""
        return self._connection_state

    @property
    def useful(self) -> bool:
        """Whether any of the boards can be polled."""
        return bool(self._urls)

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield the boards in turn, repeatedly, including unchanged ones. See `Source`.

        An unchanged board still shows that the exchange can be reached.
        """
        self._reset()
        backoff = Backoff(self._settings.max_reconnect_delay, self._random)
        try:
            async with self._access.client() as client:
                while True:
                    for method, url in self._urls.items():
                        if self._clock.monotonic() < self._due.get(method, 0.0):
                            continue
                        board = await self._board(client, method, url)
                        if board is not None:
                            yield _frame(method, board)
                    # Never more often than in normal operation.
                    jitter = 1 + _JITTER * (2 * self._random() - 1)
                    wait = self._settings.polling_interval * jitter
                    if self._good:
                        backoff.reset()
                    else:
                        wait += backoff.next()
                    await self._clock.sleep(wait)
        finally:
            self._connection_state = ConnectionState(since=self._clock.time())

    async def _board(self, client: httpx.AsyncClient, method: str, url: str) -> bytes | None:
        """Return a board; None if it cannot be polled, which is logged."""
        try:
            board = await self._get(client, method, url)
        except FeedError as error:
            if method not in self._errors:
                self._limited.warning(
                    "board cannot be polled", key=method, board=PATHS[method], reason=str(error)
                )
            self._errors[method] = str(error)
            self._good.discard(method)
            self._put_off(method, error)
            board = None
        else:
            self._errors.pop(method, None)
            self._good.add(method)
        self._note()
        return board

    async def _get(self, client: httpx.AsyncClient, method: str, url: str) -> bytes:
        """Request a board.

        Raises:
            FeedError: the board cannot be read; the text says why.
        """
        tagged = self._tagged.get(method)
        headers = {} if tagged is None else {"If-None-Match": tagged.tag}
        timeout = self._settings.connect_timeout
        try:
            # httpx limits each read; this, the sum of them.
            async with asyncio.timeout(timeout):
                with network_errors():
                    async with client.stream("GET", url, headers=headers) as response:
                        if tagged and response.status_code == HTTPStatus.NOT_MODIFIED:
                            return tagged.board
                        await check_response(response, "json")
                        board = await read_body(response, self._largest)
        except TimeoutError:
            raise FeedError(f"no answer within {timeout:g} s") from None
        board = board.removeprefix(_BOM)
        _check_board(board, response.headers.get("Content-Type", ""))
        self._tagged.pop(method, None)
        tag = response.headers.get("ETag", "")
        if tag and tag.isascii() and tag.isprintable():  # otherwise a request cannot repeat it
            self._tagged[method] = _Tagged(tag, board)
        return board

    def _put_off(self, method: str, error: FeedError) -> None:
        """Delay the next poll as long as the server asks."""
        wait = asked_to_wait(error)
        if wait is None:
            return
        # The limit of requests is for all boards together.
        status = error.status if isinstance(error, UnexpectedResponseError) else None
        boards = self._urls if status == HTTPStatus.TOO_MANY_REQUESTS else (method,)
        self._due |= dict.fromkeys(boards, self._clock.monotonic() + wait)

    def _note(self) -> None:
        errors = [f"{PATHS[method]}: {reason}" for method, reason in self._errors.items()]
        if self.missing:
            errors.append(f"not polled: {', '.join(self.missing)}")
        error = "; ".join(errors) or None
        source = POLLING if self._good else ""
        if (source, error) != (self._connection_state.source, self._connection_state.error):
            since = (
                self._connection_state.since
                if source == self._connection_state.source
                else self._clock.time()
            )
            self._connection_state = ConnectionState(source, since, error)


def _check_board(board: bytes, content_type: str) -> None:
    """Check that an answer is a complete JSON array, without reading its rows.

    Raises:
        FeedError: it is not.
    """
    try:
        msgspec.json.decode(board, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        raise FeedError("JSON, but no array of rows") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if not board.lstrip().startswith(b"["):
            raise FeedError(describe(board, content_type)) from None
        # Python's own reader accepts NaN and 1e400, for which only their row should be lost.
        try:
            json.loads(board)
        except (ValueError, RecursionError):
            cut = "" if board.rstrip().endswith(b"]") else "truncated "
            raise FeedError(f"{cut or 'broken '}JSON ({len(board)} bytes): {error}") from None


def _frame(method: str, board: bytes) -> bytes:
    return b'{"M":[{"H":"marketsHub","M":"%b","A":[%b]}]}' % (method.encode(), board)
