"""Subscriptions: the wanted channels, and their confirmation on the present connection."""

from __future__ import annotations

import asyncio
from collections import deque


class Subscriptions:
    """The channels that are wanted, and their confirmation by the server. It does no I/O.

    The server answers the commands of a connection in order. So a count of expected answers and
    one of received answers tell which commands are confirmed, even a SUBSCRIBE after an
    UNSUBSCRIBE.

    Attributes:
        wanted: contract ids by their channels.
        expected: number of answers that the commands of this connection will get.
        confirmed: number of answers that have come.
    """

    def __init__(self, *always: bytes) -> None:
        """Begin without a connection.

        Args:
            always: channels that are wanted all the time, besides those of contracts.
        """
        self.wanted: dict[bytes, str] = {}
        self.expected = 0
        self.confirmed = 0
        self._always = always
        self._refused: set[bytes] = set()
        """Channels that Redis refused. They are asked for, wanted or not, until it accepts them;
        otherwise the fault would seem to be over until one is wanted again."""
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
        self._dirty.add(channel)

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
        self.expected = self.confirmed = 0
        self._dirty = {*self._always, *self.wanted, *self._refused}

    def commands(self) -> list[tuple[str, set[bytes]]]:
        """Return the commands with their channels that make the connection listen as wanted."""
        listened = {*self._always, *self._refused}
        wanted = {c for c in self._dirty if c in self.wanted or c in listened}
        new = wanted - self._subscribed
        old = (self._dirty - wanted) & self._subscribed
        self._dirty.clear()
        self.expected += len(new) + len(old)  # one answer for each
        self._subscribed = (self._subscribed | new) - old
        self._waiting.extend((self.expected, future) for future in self._asking)
        self._asking.clear()
        self._answer_confirmed()
        return [each for each in (("SUBSCRIBE", new), ("UNSUBSCRIBE", old)) if each[1]]

    def confirm(self) -> None:
        """Count an answer."""
        self.confirmed += 1
        self._answer_confirmed()

    def refuse(self) -> None:
        """Note that the server has refused one of the channels, without naming it."""
        self._refused |= self._subscribed

    def accept(self) -> bool:
        """Note that the server has accepted every channel; return whether it refused some before.

        Unwanted channels are unsubscribed by the next `commands`.
        """
        refused, self._refused = self._refused, set()
        self._dirty |= refused
        return bool(refused)

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
