"""Subscriptions: the wanted channels, and their confirmation on the present connection."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

_SUBSCRIBE: Final = "SUBSCRIBE"
_PING: Final = "PING"


class Subscriptions:
    """The channels that are wanted, and their confirmation by the server. It does no I/O.

    The server answers the commands of a connection in order. So a count of expected answers and
    one of received answers tell which commands are confirmed, even a SUBSCRIBE after an
    UNSUBSCRIBE. One error answers a whole SUBSCRIBE, if only one of its channels is refused; so
    its channels are then asked for one by one.

    Attributes:
        wanted: contract ids by their channels.
        refused: the server's error by wanted channel that it refuses on this connection.
        expected: number of answers that the commands of this connection will get.
        confirmed: number of answers that have come.
    """

    def __init__(self, *always: bytes) -> None:
        """Begin without a connection.

        Args:
            always: channels that are wanted all the time, besides those of contracts.
        """
        self.wanted: dict[bytes, str] = {}
        self.refused: dict[bytes, str] = {}
        self.expected = 0
        self.confirmed = 0
        self._always = always
        self._commands: deque[tuple[str, set[bytes], int]] = deque()
        """Commands that are not answered, with their channels and number of answers to come."""
        self._alone: set[bytes] = set()
        """Channels that each need a command of their own."""
        self._subscribed: set[bytes] = set()
        """Channels that this connection has asked for."""
        self._dirty: set[bytes] = set()
        """Channels whose want has changed since the last `commands`."""
        self._asking: list[asyncio.Future[bool]] = []
        """Futures of those who wait for the next `commands`."""
        self._waiting: deque[tuple[int, asyncio.Future[bool]]] = deque()
        """Futures of those who wait for so many answers."""

    def want(self, channel: bytes, contract_id: str) -> None:
        """Want a contract's channel from now on."""
        self.wanted[channel] = contract_id
        self._dirty.add(channel)

    def drop(self, channel: bytes) -> None:
        """Stop wanting a channel."""
        self.wanted.pop(channel, None)
        self.refused.pop(channel, None)
        self._dirty.add(channel)

    def retry(self) -> None:
        """Make the next `commands` ask again for the channels that are refused."""
        self._dirty.update(self.refused)

    def wait(self, future: asyncio.Future[bool]) -> None:
        """Set a future to True when all that is wanted now is confirmed, to False by `end`."""
        self._asking.append(future)

    def again(self) -> None:
        """Make the next `commands` subscribe again to a channel that is always wanted.

        The server confirms it after it has sent the messages that came before.
        """
        self._subscribed.discard(self._always[0])
        self._dirty.add(self._always[0])

    def begin(self) -> None:
        """Begin a new connection: it must ask for every channel."""
        self._subscribed = set()
        self._commands.clear()
        self._alone.clear()
        self.refused.clear()
        self.expected = self.confirmed = 0
        self._dirty = {*self._always, *self.wanted}

    def commands(self) -> list[tuple[str, set[bytes]]]:
        """Return the commands with their channels that make the connection listen as wanted."""
        wanted = {c for c in self._dirty if c in self.wanted or c in self._always}
        new = wanted - self._subscribed
        old = (self._dirty - wanted) & self._subscribed
        alone = new & self._alone
        self._dirty.clear()
        self._alone.clear()
        self._subscribed = (self._subscribed | new) - old
        made = [(_SUBSCRIBE, new - alone), *((_SUBSCRIBE, {one}) for one in alone)]
        made = [each for each in (*made, ("UNSUBSCRIBE", old)) if each[1]]
        for name, channels in made:
            self._commands.append((name, channels, len(channels)))
            self.expected += len(channels)
        self._waiting.extend((self.expected, future) for future in self._asking)
        self._asking.clear()
        self._answer_confirmed()
        return made

    def ping(self) -> None:
        """Note that a PING is sent after the commands so far."""
        self._commands.append((_PING, set(), 0))

    def pong(self) -> bool:
        """Take a reply for that to a PING; return False if another command is answered first."""
        is_next = bool(self._commands) and self._commands[0][0] == _PING
        if is_next:
            self._commands.popleft()
        return is_next

    def confirm(self, channel: bytes) -> bool:
        """Count an answer; return whether it allows a channel that was refused."""
        while self.pong():  # a server that does not answer it
            pass
        if self._commands:
            name, channels, left = self._commands.popleft()
            if left > 1:
                self._commands.appendleft((name, channels, left - 1))
        self.confirmed += 1
        self._answer_confirmed()
        return self.refused.pop(channel, None) is not None

    def refuse(self, error: str) -> str | None:
        """Take an error for the reply to the oldest command.

        If that has several channels, the next `commands` ask for them one by one.

        Returns:
            The contract whose channel is refused; empty if that is not known yet, or no longer
            wanted. None if the connection is of no use: a channel that is always wanted is refused,
            or no SUBSCRIBE waits for an answer.
        """
        if not self._commands or self._commands[0][0] != _SUBSCRIBE:
            return None
        _, channels, _ = self._commands.popleft()
        self._subscribed -= channels
        self.confirmed += len(channels)
        if len(channels) > 1:
            self._alone |= channels
            self._dirty |= channels
            # Those who wait for them wait for the answers to the next commands, too.
            self._asking.extend(future for _, future in self._waiting)
            self._waiting.clear()
            return ""
        [channel] = channels
        if channel in self._always:
            return None
        contract_id = self.wanted.get(channel)
        if contract_id is not None:
            self.refused[channel] = error
        self._answer_confirmed()
        return contract_id or ""

    def end(self) -> None:
        """End the connection: it will confirm no more channels."""
        for future in (*(future for _, future in self._waiting), *self._asking):
            _answer(future, False)
        self._waiting.clear()
        self._asking.clear()

    def _answer_confirmed(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.confirmed:
            _answer(self._waiting.popleft()[1], True)


def _answer(future: asyncio.Future[bool], confirmed: bool) -> None:
    if not future.done():  # its reader may have been cancelled
        future.set_result(confirmed)
