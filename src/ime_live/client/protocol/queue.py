"""Inboxes: queues of received messages, one class per policy of `connect`.

The reader may be in another thread. An inbox never waits: it takes a message, replaces one, or
reports that it is full.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Collection
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from ime_live.client.protocol.message import Key


class Queue(StrEnum):
    """Policies for messages that the program does not take in time."""

    LATEST = "latest"
    """One slot per contract; the newest message wins."""
    DROP_OLDEST = "drop_oldest"
    """All messages in order; the oldest is dropped when the queue is full."""
    BLOCK = "block"
    """All messages in order; receiving stops while the queue is full."""


class Waiting(Protocol):
    """The part of a message that an inbox uses.

    Attributes:
        skipped: number of messages of its contract that were left out before it.
    """

    skipped: int

    @property
    def key(self) -> Key: ...


WaitingT = TypeVar("WaitingT", bound=Waiting)


class Inbox(Protocol[WaitingT]):
    """Interface of all inboxes.

    Attributes:
        skipped: number of messages that were replaced or dropped, of all contracts.
    """

    skipped: int

    def put(self, message: WaitingT, *, beyond: bool = False) -> bool:
        """Add a message; return False, and do nothing, if there is no room.

        Args:
            message: the message.
            beyond: whether to add it although there is no room.
        """

    def take(self) -> WaitingT | None:
        """Remove and return the next message; None if there is none."""

    def purge(self, keys: Collection[Key]) -> None:
        """Drop the messages of these contracts, without counting them as skipped."""

    def __len__(self) -> int: ...


class LatestInbox(Generic[WaitingT]):
    """One slot per contract; see `Queue.LATEST`.

    A contract keeps its turn when its message is replaced, so a busy contract does not delay
    others.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.skipped = 0
        # A dict would search for its first entry past all deleted ones.
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
    """All messages in order; the oldest makes room; see `Queue.DROP_OLDEST`."""

    def __init__(self, size: int) -> None:
        """Begin empty, with room for ``size`` messages."""
        super().__init__(size)
        # Per contract, the number of messages dropped since the last one that was taken.
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
    """Create the inbox of a policy.

    Args:
        queue: the policy.
        size: most messages that it holds; ignored for `Queue.LATEST`.
    """
    match queue:
        case Queue.LATEST:
            return LatestInbox()
        case Queue.DROP_OLDEST:
            return DroppingInbox(size)
        case Queue.BLOCK:
            return BoundedInbox(size)
