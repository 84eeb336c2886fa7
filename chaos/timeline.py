"""Timeline of the store: its states over time, from samples; no I/O.

A sample tells the last state of each contract at some moment between two others. From consecutive
samples follows for how long the store certainly did not hold a given state. Anything uncertain
counts as equal.

A sample also tells the history of the store's data in which each state was confirmed last. Where
it is another one than before, the store may have lost states in between.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from msgspec import Struct

from chaos.states import Data, number_in

MICROSECONDS: Final = 1_000_000

_KEPT: Final = 180 * MICROSECONDS

_DEPOSED: Final = 2 * MICROSECONDS
"""Microseconds for which a server may still be written to after another one was seen in its place.
Publishers follow within a second of the Sentinels' word."""


class State(Struct, frozen=True):
    """A state of a contract, and its version."""

    version: int
    data: Data


class Stored(State, frozen=True):
    """The last state of a contract in the store.

    Attributes:
        history: the replication id of the server that confirmed it last; empty if unknown.
    """

    history: str = ""


class Held(State, frozen=True):
    """A state that a client has received, and when."""

    at: int


class Loss(Struct, frozen=True):
    """A loss of states of one contract that the samples show, or that was injected.

    Attributes:
        begun: a moment before it, microseconds since the epoch.
        until: versions that are not greater may be lost.
        before: the last version that is known from before it.
        history: the new history; empty if the store was emptied within its history.
    """

    begun: int
    until: int
    before: int
    history: str = ""


class Sample(Struct, frozen=True):
    """One reading of all last states.

    Attributes:
        asked, answered: when the reading began and ended, microseconds since the epoch.
        states: by contract; None for a contract without a state. Contracts of a server that did
            not answer are missing.
    """

    asked: int
    answered: int
    states: Mapping[str, Stored | None]


class Timeline:
    """The samples of the last minutes, in order."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._last: dict[str, tuple[int, Stored]] = {}
        """The last sampled state of each contract, and when that sample began."""
        self._losses: dict[str, list[Loss]] = {}

    def add(self, sample: Sample) -> None:
        """Append the newest sample."""
        for contract_id, stored in sample.states.items():
            if stored is None:
                continue
            if (last := self._last.get(contract_id)) is not None:
                asked, before = last
                # Publishers take a state without a history for one of the present history.
                if before.history and stored.history and before.history != stored.history:
                    until = sample.answered + _DEPOSED
                    loss = Loss(asked, until, before.version, stored.history)
                    self._losses.setdefault(contract_id, []).append(loss)
            self._last[contract_id] = sample.asked, stored
        self._samples.append(sample)
        if self._samples[0].asked < sample.asked - 2 * _KEPT:
            del self._samples[: self._after(sample.asked - _KEPT)]

    def emptied(self, begun: int, ended: int, contracts: Collection[str]) -> None:
        """Note that the store was emptied, which begins no new history.

        Args:
            begun, ended: moments before and after it, microseconds since the epoch.
            contracts: whose states are lost.
        """
        for contract_id in contracts:
            self._losses.setdefault(contract_id, []).append(Loss(begun, ended, begun))

    def losses(self, contract_id: str, version: int) -> Iterator[Loss]:
        """The losses by which the store may have lost a version of a contract, oldest first."""
        for loss in self._losses.get(contract_id, ()):
            if version <= loss.until and not self._confirmed(contract_id, version, loss.history):
                yield loss

    def _confirmed(self, contract_id: str, version: int, history: str) -> bool:
        """Whether the store has had a version in a history."""
        return bool(history) and any(
            stored.version == version and stored.history == history
            for sample in self._samples
            if (stored := sample.states.get(contract_id)) is not None
        )

    def went_back(self, contract_id: str, version: int) -> bool:
        """Whether the store has held an older version of a contract after it published one.

        A version is the moment of its publication by the store's clock, which is the samples', too.
        """
        return any(
            stored.version < version
            for sample in self._samples[self._after(version) :]
            if (stored := sample.states.get(contract_id)) is not None
        )

    def _after(self, at: int) -> int:
        """Index of the first sample that began after a moment."""
        return bisect_right(self._samples, at, key=lambda sample: sample.asked)

    def covers(self, at: int, contract_id: str = "") -> bool:
        """Whether there is a sample from after a moment, with the contract if one is given."""
        later = self._samples[self._after(at) :]
        return any(not contract_id or contract_id in sample.states for sample in later)

    def difference(self, contract_id: str, held: Held | None, at: int) -> float:
        """Seconds for which the store has certainly differed from the state that a client holds.

        When the client has received it does not matter: it was sent before, and says of the store
        what it says.

        Args:
            contract_id: the contract.
            held: the client's state, maybe only some sections of it; None if it holds none.
            at: the moment of interest, microseconds since the epoch.

        Returns:
            Seconds until ``at``; 0 if the store may have been equal then.
        """
        place = self._after(at)
        if place == len(self._samples) or contract_id not in self._samples[place].states:
            return 0.0  # the state in the store at that moment is not known
        since, later = at, self._samples[place].states[contract_id]
        # Backwards, for as long as both samples and everything between them differ.
        while place and not equal(later, held):
            place -= 1
            sample = self._samples[place]
            if contract_id not in sample.states:
                break
            earlier = sample.states[contract_id]
            if equal(earlier, held) or _between(earlier, held, later):
                break
            since, later = sample.answered, earlier
        if held is not None:  # there was no such state before
            since = max(since, min(held.version, held.at))
        return max(0.0, (at - since) / MICROSECONDS)

    def changed(self, contract_id: str, newest: Stored, since: int) -> bool:
        """Whether a contract has come into its newest state since a moment.

        It does not count that the store has lost that state meanwhile, and got it again.
        """
        number = number_in(newest.data)
        came, left = newest.version, 0
        for sample in self._samples:
            stored = sample.states.get(contract_id)
            if stored is None:
                continue
            if stored.data == newest.data:
                came = min(came, stored.version)
            elif number_in(stored.data) > number:  # it goes back to the newest state later
                came, left = newest.version, sample.answered
        return max(came, left) > since

    def excerpt(self, contract_id: str) -> list[str]:
        """The states of a contract for a report, one line per change."""
        lines: list[str] = []
        before: object = ()
        for sample in self._samples:
            if contract_id not in sample.states:
                continue
            stored = sample.states[contract_id]
            text = "nothing"
            if stored is not None:
                text = f"{stored.version} {number_in(stored.data)}, history {stored.history[:8]}"
            if text != before:
                lines.append(f"{sample.answered} store holds {text}")
            before = text
        return lines


def equal(stored: State | None, held: State | None) -> bool:
    """Whether a client's state equals the store's, in the sections that the client receives."""
    if stored is None or held is None:
        return stored is held
    if len(held.data) == len(stored.data):
        return stored.data == held.data
    return all(stored.data.get(section) == value for section, value in held.data.items())


def _between(before: State | None, held: State | None, after: State | None) -> bool:
    """Whether the store may have held a state between two samples."""
    if held is None:
        return False
    first = 0 if before is None else before.version
    last = 0 if after is None else after.version
    went_back = last < first  # it may have gone on for a while before that
    return first < held.version and (went_back or held.version < last)
