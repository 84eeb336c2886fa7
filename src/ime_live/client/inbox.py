"""Inboxes: where received messages wait for the program that reads them.

Messages go in on one side and come out on the other, also from another thread. An inbox never
waits: it takes a message, replaces one, or says that it is full. Who is told of what has come is
not its matter.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Collection
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from ime_live.client.message import Key


class Queue(StrEnum):
    """What happens to messages that a program does not take in time."""

    LATEST = "latest"
    """One slot a contract; the newest message wins."""
    DROP_OLDEST = "drop_oldest"
    """All in their order; the oldest is dropped when there are too many."""
    BLOCK = "block"
    """All in their order; when there are too many, receiving stops until there is room."""


class Waiting(Protocol):
    """A message, as far as an inbox looks at it.

    Attributes:
        skipped: how many of its contract were left out before it.
    """

    skipped: int

    @property
    def key(self) -> Key: ...


WaitingT = TypeVar("WaitingT", bound=Waiting)


class Inbox(Protocol[WaitingT]):
    """What all of them can do.

    Attributes:
        skipped: messages that were replaced or dropped, of all contracts.
    """

    skipped: int

    def put(self, message: WaitingT, *, beyond: bool = False) -> bool:
        """Take a message; False if there is no room, and nothing was done.

        Args:
            message: what has come.
            beyond: take it although there is no room.
        """

    def take(self) -> WaitingT | None:
        """Give out the one that is next; None if there is none."""

    def purge(self, keys: Collection[Key]) -> None:
        """Drop what waits of these contracts; it counts as unwanted, not as skipped."""

    def __len__(self) -> int: ...


class LatestInbox(Generic[WaitingT]):
    """One slot a contract; see `Queue.LATEST`.

    A contract keeps its turn when its message is replaced, so that a busy one holds up nobody.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.skipped = 0
        # A plain dict searches for its first entry past all that were deleted.
        self._slots: OrderedDict[Key, WaitingT] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, message: WaitingT, *, beyond: bool = False) -> bool:
        """See `Inbox`; there is always room."""
        key = message.key
        with self._lock:
            if (older := self._slots.get(key)) is not None:
                message.skipped += older.skipped + 1
                self.skipped += 1
            self._slots[key] = message
        return True

    def take(self) -> WaitingT | None:
        """See `Inbox`."""
        with self._lock:
            return self._slots.popitem(last=False)[1] if self._slots else None

    def purge(self, keys: Collection[Key]) -> None:
        """See `Inbox`."""
        with self._lock:
            for key in keys:
                self._slots.pop(key, None)


class BoundedInbox(Generic[WaitingT]):
    """All messages in their order, up to a limit; see `Queue.BLOCK`."""

    def __init__(self, size: int) -> None:
        """Begin empty, with room for ``size`` messages."""
        self.skipped = 0
        self._size = size
        self._messages: deque[WaitingT] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: WaitingT, *, beyond: bool = False) -> bool:
        """See `Inbox`."""
        with self._lock:
            if len(self._messages) >= self._size and not beyond:
                return False
            self._messages.append(message)
        return True

    def take(self) -> WaitingT | None:
        """See `Inbox`."""
        with self._lock:
            return self._messages.popleft() if self._messages else None

    def purge(self, keys: Collection[Key]) -> None:
        """See `Inbox`."""
        with self._lock:
            kept = [message for message in self._messages if message.key not in keys]
            self._messages = deque(kept)


class DroppingInbox(BoundedInbox[WaitingT]):
    """The same, but the oldest makes room; see `Queue.DROP_OLDEST`."""

    def __init__(self, size: int) -> None:
        """Begin empty, with room for ``size`` messages."""
        super().__init__(size)
        # Of each contract, what was dropped since the last message that somebody got.
        self._dropped: Counter[Key] = Counter()

    def put(self, message: WaitingT, *, beyond: bool = False) -> bool:
        """See `Inbox`; there is always room."""
        with self._lock:
            if len(self._messages) >= self._size:
                oldest = self._messages.popleft()
                self._dropped[oldest.key] += oldest.skipped + 1
                self.skipped += 1
            self._messages.append(message)
        return True

    def take(self) -> WaitingT | None:
        """See `Inbox`."""
        with self._lock:
            if not self._messages:
                return None
            message = self._messages.popleft()
            if self._dropped:
                message.skipped += self._dropped.pop(message.key, 0)
            return message

    def purge(self, keys: Collection[Key]) -> None:
        """See `Inbox`."""
        super().purge(keys)
        with self._lock:
            for key in keys:
                self._dropped.pop(key, None)


def inbox_of(queue: Queue, size: int) -> Inbox[WaitingT]:
    """Make an inbox of a kind.

    Args:
        queue: the kind.
        size: how many messages it holds at the most; `Queue.LATEST` needs no limit.
    """
    match queue:
        case Queue.LATEST:
            return LatestInbox()
        case Queue.DROP_OLDEST:
            return DroppingInbox(size)
        case Queue.BLOCK:
            return BoundedInbox(size)
