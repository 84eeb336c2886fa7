"""Subscriptions of a Pub/Sub connection: the wanted channels, and their confirmation. No I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

_SUBSCRIBE: Final = "SUBSCRIBE"
_PING: Final = "PING"


class Subscriptions:
    """The wanted channels, and their confirmation by the server.

    The server answers the commands of a connection in order. So the numbers of expected and of
    received answers show which commands are confirmed, even for a SUBSCRIBE after an UNSUBSCRIBE.
    If one channel of a SUBSCRIBE is refused, the server answers the whole command with an error.
    Then each of the channels gets a command of its own.

    Attributes:
        wanted: channel → contract id.
        refused: channel → error of the server, for wanted channels on this connection.
        expected: number of answers to the commands of this connection.
        confirmed: number of answers that have arrived.
    """

    def __init__(self, *always: bytes) -> None:
        """Start without a connection.

        Args:
            always: channels that are always wanted, besides those of contracts.
        """
        self.wanted: dict[bytes, str] = {}
        self.refused: dict[bytes, str] = {}
        self.expected = 0
        self.confirmed = 0
        self._always = always
        self._commands: deque[tuple[str, set[bytes], int]] = deque()
        """Unanswered commands, with their channels and the number of missing answers."""
        self._single: set[bytes] = set()
        """Channels that need a command of their own."""
        self._subscribed: set[bytes] = set()
        """Channels that this connection has sent a SUBSCRIBE for."""
        self._dirty: set[bytes] = set()
        """Channels that were added or removed since the last `commands`."""
        self._new_waiters: list[asyncio.Future[bool]] = []
        """Futures of callers that wait for the answers to the next `commands`."""
        self._waiters: deque[tuple[int, asyncio.Future[bool]]] = deque()
        """Numbers of answers, with the futures of callers that wait for them."""

    def add(self, channel: bytes, contract_id: str) -> None:
        """Add the channel of a contract."""
        self.wanted[channel] = contract_id
        self._dirty.add(channel)

    def remove(self, channel: bytes) -> None:
        """Remove a channel."""
        self.wanted.pop(channel, None)
        self.refused.pop(channel, None)
        self._dirty.add(channel)

    def retry(self) -> None:
        """Let the next `commands` subscribe again to refused channels."""
        self._dirty.update(self.refused)

    def wait(self, future: asyncio.Future[bool]) -> None:
        """Set a future to True when all present channels are confirmed or refused.

        `end` sets it to False.
        """
        self._new_waiters.append(future)

    def resubscribe(self) -> None:
        """Let the next `commands` subscribe again to a channel that is always wanted.

        The server confirms this after all earlier messages.
        """
        self._subscribed.discard(self._always[0])
        self._dirty.add(self._always[0])

    def begin(self) -> None:
        """Begin a new connection, which must subscribe to all channels."""
        self._subscribed = set()
        self._commands.clear()
        self._single.clear()
        self.refused.clear()
        self.expected = self.confirmed = 0
        self._dirty = {*self._always, *self.wanted}

    def commands(self) -> list[tuple[str, set[bytes]]]:
        """Return the commands, with their channels, that subscribe and unsubscribe as wanted."""
        wanted = {c for c in self._dirty if c in self.wanted or c in self._always}
        new = wanted - self._subscribed
        old = (self._dirty - wanted) & self._subscribed
        single = new & self._single
        self._dirty.clear()
        self._single.clear()
        self._subscribed = (self._subscribed | new) - old
        commands = [(_SUBSCRIBE, new - single), *((_SUBSCRIBE, {each}) for each in single)]
        commands = [each for each in (*commands, ("UNSUBSCRIBE", old)) if each[1]]
        for name, channels in commands:
            self._commands.append((name, channels, len(channels)))
            self.expected += len(channels)
        self._waiters.extend((self.expected, future) for future in self._new_waiters)
        self._new_waiters.clear()
        self._resolve_confirmed()
        return commands

    def ping(self) -> None:
        """Note that a PING is sent after the present commands."""
        self._commands.append((_PING, set(), 0))

    def pong(self) -> bool:
        """Count the answer to a PING; return False if another command must be answered first."""
        is_next = bool(self._commands) and self._commands[0][0] == _PING
        if is_next:
            self._commands.popleft()
        return is_next

    def confirm(self, channel: bytes) -> bool:
        """Count an answer to a command; return whether it allows a channel that was refused."""
        while self.pong():  # the server has not answered a PING
            pass
        if self._commands:
            name, channels, missing = self._commands.popleft()
            if missing > 1:
                self._commands.appendleft((name, channels, missing - 1))
        self.confirmed += 1
        self._resolve_confirmed()
        return self.refused.pop(channel, None) is not None

    def refuse(self, error: str) -> str | None:
        """Handle an error as the answer to the oldest command.

        If the command has several channels, the next `commands` subscribe to them one by one.

        Returns:
            Id of the contract whose channel is refused; empty if that is not known yet, or the
            channel is no longer wanted. None if the connection must be closed: a channel that is
            always wanted is refused, or no SUBSCRIBE is unanswered.
        """
        if not self._commands or self._commands[0][0] != _SUBSCRIBE:
            return None
        _, channels, _ = self._commands.popleft()
        self._subscribed -= channels
        self.confirmed += len(channels)
        if len(channels) > 1:
            self._single |= channels
            self._dirty |= channels
            # The callers now wait for the answers to the next commands.
            self._new_waiters.extend(future for _, future in self._waiters)
            self._waiters.clear()
            return ""
        [channel] = channels
        if channel in self._always:
            return None
        contract_id = self.wanted.get(channel)
        if contract_id is not None:
            self.refused[channel] = error
        self._resolve_confirmed()
        return contract_id or ""

    def end(self) -> None:
        """End the connection, and set all futures to False."""
        for future in (*(future for _, future in self._waiters), *self._new_waiters):
            _resolve(future, False)
        self._waiters.clear()
        self._new_waiters.clear()

    def _resolve_confirmed(self) -> None:
        while self._waiters and self._waiters[0][0] <= self.confirmed:
            _resolve(self._waiters.popleft()[1], True)


def _resolve(future: asyncio.Future[bool], confirmed: bool) -> None:
    if not future.done():  # the caller may have been cancelled
        future.set_result(confirmed)
