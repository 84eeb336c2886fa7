"""Queues of received messages, one class per policy of `connect`.

The reader may be in another thread. A queue never waits: it takes a message, replaces one, or
reports that it is full.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Collection
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from ime_live.client.protocol.message import Key


class QueuePolicy(StrEnum):
    """Policies for messages that the program does not read in time."""

    LATEST = "latest"
    """One slot per contract; the newest message wins."""
    DROP_OLDEST = "drop_oldest"
    """All messages in order; the oldest is dropped when the queue is full."""
    BLOCK = "block"
    """All messages in order; receiving stops while the queue is full."""


class Queued(Protocol):
    """The part of a message that a queue uses.

    Attributes:
        skipped: number of messages of its contract that were left out before it.
    """

    skipped: int

    @property
    def key(self) -> Key: ...


QueuedT = TypeVar("QueuedT", bound=Queued)


class MessageQueue(Protocol[QueuedT]):
    """Interface of all queues.

    Attributes:
        skipped: number of messages that were replaced or dropped, of all contracts.
    """

    skipped: int

    def put(self, message: QueuedT, *, beyond: bool = False) -> bool:
        """Add a message; return False, and do nothing, if there is no room.

        Args:
            message: the message.
            beyond: whether to add it although there is no room.
        """

    def take(self) -> QueuedT | None:
        """Remove and return the next message; None if there is none."""

    def purge(self, keys: Collection[Key]) -> None:
        """Drop the messages of these contracts, without counting them as skipped."""

    def __len__(self) -> int: ...


class LatestQueue(Generic[QueuedT]):
    """One slot per contract; see `QueuePolicy.LATEST`.

    A contract keeps its turn when its message is replaced, so a busy contract does not delay
    others.
    """

    def __init__(self) -> None:
        """Create an empty queue."""
        self.skipped = 0
        # A dict would skip all deleted entries to find its first one.
        self._slots: OrderedDict[Key, QueuedT] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, message: QueuedT, *, beyond: bool = False) -> bool:
        """See `MessageQueue`; there is always room."""
        key = message.key
        with self._lock:
            if (older := self._slots.get(key)) is not None:
                message.skipped += older.skipped + 1
                self.skipped += 1
            self._slots[key] = message
        return True

    def take(self) -> QueuedT | None:
        """See `MessageQueue`."""
        with self._lock:
            return self._slots.popitem(last=False)[1] if self._slots else None

    def purge(self, keys: Collection[Key]) -> None:
        """See `MessageQueue`."""
        with self._lock:
            for key in keys:
                self._slots.pop(key, None)


class BoundedQueue(Generic[QueuedT]):
    """All messages in their order, up to a limit; see `QueuePolicy.BLOCK`."""

    def __init__(self, size: int) -> None:
        """Create an empty queue with room for ``size`` messages."""
        self.skipped = 0
        self._size = size
        self._messages: deque[QueuedT] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: QueuedT, *, beyond: bool = False) -> bool:
        """See `MessageQueue`."""
        with self._lock:
            if len(self._messages) >= self._size and not beyond:
                return False
            self._messages.append(message)
        return True

    def take(self) -> QueuedT | None:
        """See `MessageQueue`."""
        with self._lock:
            return self._messages.popleft() if self._messages else None

    def purge(self, keys: Collection[Key]) -> None:
        """See `MessageQueue`."""
        with self._lock:
            remaining = [message for message in self._messages if message.key not in keys]
            self._messages = deque(remaining)


class DropOldestQueue(BoundedQueue[QueuedT]):
    """All messages in order; the oldest makes room; see `QueuePolicy.DROP_OLDEST`."""

    def __init__(self, size: int) -> None:
        """Create an empty queue with room for ``size`` messages."""
        super().__init__(size)
        # Per contract, the number of messages dropped since the last one that was taken.
        self._dropped: Counter[Key] = Counter()

    def put(self, message: QueuedT, *, beyond: bool = False) -> bool:
        """See `MessageQueue`; there is always room."""
        with self._lock:
            if len(self._messages) >= self._size:
                oldest = self._messages.popleft()
                self._dropped[oldest.key] += oldest.skipped + 1
                self.skipped += 1
            self._messages.append(message)
        return True

    def take(self) -> QueuedT | None:
        """See `MessageQueue`."""
        with self._lock:
            if not self._messages:
                return None
            message = self._messages.popleft()
            if self._dropped:
                message.skipped += self._dropped.pop(message.key, 0)
            return message

    def purge(self, keys: Collection[Key]) -> None:
        """See `MessageQueue`."""
        super().purge(keys)
        with self._lock:
            for key in keys:
                self._dropped.pop(key, None)


def queue_of(policy: QueuePolicy, size: int) -> MessageQueue[QueuedT]:
    """Create the queue of a policy.

    Args:
        policy: how it treats messages that are not taken in time.
        size: maximum number of messages that it holds; ignored for `QueuePolicy.LATEST`.
    """
    match policy:
        case QueuePolicy.LATEST:
            return LatestQueue()
        case QueuePolicy.DROP_OLDEST:
            return DropOldestQueue(size)
        case QueuePolicy.BLOCK:
            return BoundedQueue(size)
