"""Position: how far a client has come with each contract.

Messages' contracts and time stamps come in; whether one is new, and what to ask for after a break,
goes out. What counts is what was received, also if the consumer has not taken it yet. It knows
neither connections nor what messages carry.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ime_live.client.message import Key


class Resumption(Struct, frozen=True):
    """What a connection asks for, besides changes from now on.

    Attributes:
        since: states that are newer than this time stamp; None for no such limit.
        snapshot: without `since`: the present states.
    """

    since: str | None = None
    snapshot: bool = False


class Position:
    """The newest time stamp that was received of each contract.

    Time stamps are compared as texts: they are of one form and zone, and strictly grow for a
    contract.
    """

    def __init__(
        self, *, snapshot: bool, since: str | None = None, keys: Iterable[Key] = ()
    ) -> None:
        """Begin before the first connection.

        Args:
            snapshot: whether the program wants the present states first.
            since: instead, what is newer than this time stamp, of an earlier run.
            keys: the contracts that `since` is about, those of the beginning.
        """
        self._snapshot = snapshot
        self._since = since
        self._begun = False
        # An earlier run has received them so far, however they are asked for.
        self._seen: dict[Key, str] = {} if since is None else dict.fromkeys(keys, since)

    @property
    def wants_states(self) -> bool:
        """Whether the states of contracts that are asked for in flight have to come as well."""
        return self._begun or self._snapshot or self._since is not None

    def begin(self) -> None:
        """A connection is open: from here on no state may be missed."""
        self._begun = True

    def take(self, key: Key, stamp: str) -> bool:
        """Note a message; whether it is newer than what was received of its contract."""
        if stamp <= self._seen.get(key, ""):
            return False
        self._seen[key] = stamp
        return True

    def forget(self, keys: Iterable[Key]) -> None:
        """These contracts are no longer wanted; if they are again, they begin anew."""
        for key in keys:
            self._seen.pop(key, None)

    def resumption(self, keys: Iterable[Key]) -> Resumption:
        """What the next connection has to ask for, so that nothing is missed of ``keys``.

        The wire has one ``since`` for all. A contract may have come before another one that is
        older, so the smallest counts; what comes twice then is dropped by `take`. A contract of
        which nothing was received has no time stamp, so all states are asked for.
        """
        if not self._begun:
            return Resumption(self._since, self._snapshot and self._since is None)
        stamps = [self._seen.get(key) for key in keys]
        known = [stamp for stamp in stamps if stamp is not None]
        if not stamps or len(known) < len(stamps):
            return Resumption(snapshot=True)
        return Resumption(min(known))
