"""ResumePoint: the newest timestamp that was received per contract.

It decides whether a message is new, and from where to resume after a break. Received messages
count, even if the program has not taken them yet.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ime_live.client.protocol.message import Key, Selector
from ime_live.messages import ContractFilter


class Resumption(Struct, frozen=True):
    """The states that a connection requests in addition to later changes.

    Attributes:
        since: request states newer than this timestamp; None sets no such limit.
        snapshot: without `since`, request the present states.
    """

    since: str | None = None
    snapshot: bool = False


class ResumePoint:
    """The newest timestamp that was received per contract.

    Timestamps are compared as texts: they have one form and zone, and strictly grow per contract.
    """

    def __init__(
        self, *, snapshot: bool, since: str | None = None, keys: Iterable[Selector] = ()
    ) -> None:
        """Create the resume point of a stream before its first connection.

        Args:
            snapshot: whether the program wants the present states first.
            since: timestamp from which an earlier run is resumed; None if there is none.
            keys: the first contracts of the stream, to which `since` applies.
        """
        self._snapshot = snapshot
        self._since = since
        self._begun = False
        # An earlier run has received them up to then, by name or by id.
        self._seen: dict[Selector, str] = {} if since is None else dict.fromkeys(keys, since)

    @property
    def wants_states(self) -> bool:
        """Whether contracts that a command adds need their present states."""
        return self._begun or self._snapshot or self._since is not None

    def begin(self) -> None:
        """Note that a connection is open: from now on no state may be missed."""
        self._begun = True

    def take(self, key: Key, timestamp: str) -> bool:
        """Note a message, and return whether it is newer than the last one of its contract."""
        if timestamp <= self._seen.get(key, ""):
            return False
        self._seen[key] = timestamp
        return True

    def forget(self, keys: Iterable[Selector]) -> None:
        """Forget removed contracts; if they are added again, they start without a timestamp."""
        for key in keys:
            self._seen.pop(key, None)

    def resumption(self, keys: Iterable[Selector]) -> Resumption:
        """Return the states to ask for on the next connection, so that none of ``keys`` is missed.

        A connection has one ``since`` for all contracts. Messages of different contracts may arrive
        out of order, so the smallest timestamp counts, and `take` drops duplicates. A contract
        without a message has no timestamp, so then all states are asked for: always with a filter,
        which may match contracts that were listed meanwhile.
        """
        keys = tuple(keys)
        if not self._begun:
            return Resumption(self._since, self._snapshot and self._since is None)
        if any(isinstance(key, ContractFilter) for key in keys):
            return Resumption(self._since, snapshot=self._since is None)
        timestamps = [self._seen[key] for key in keys if key in self._seen]
        if not keys or len(timestamps) < len(keys):
            return Resumption(snapshot=True)
        return Resumption(min(timestamps))
