"""Timeline of the store: its states over time, from samples; no I/O.

A sample tells the last state of each contract at some moment between two others. From consecutive
samples follows for how long the store certainly did not hold a given state. Anything uncertain
counts as equal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from chaos.states import Data, number_in

MICROSECONDS: Final = 1_000_000

_KEPT: Final = 180 * MICROSECONDS


class Stored(Struct, frozen=True):
    """The last state of a contract."""

    version: int
    data: Data


class Held(Stored, frozen=True):
    """A state that a client has received, and when."""

    at: int


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

    def add(self, sample: Sample) -> None:
        """Append the newest sample."""
        self._samples.append(sample)
        if self._samples[0].asked < sample.asked - 2 * _KEPT:
            del self._samples[: self._after(sample.asked - _KEPT)]

    def _after(self, at: int) -> int:
        """Index of the first sample that began after a moment."""
        return bisect_right(self._samples, at, key=lambda sample: sample.asked)

    def covers(self, at: int) -> bool:
        """Whether there is a sample from after a moment."""
        return self._after(at) < len(self._samples)

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
            return 0.0  # what the store held at that moment is not known
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
            text = "nothing" if stored is None else f"{stored.version} {number_in(stored.data)}"
            if text != before:
                lines.append(f"{sample.answered} store holds {text}")
            before = text
        return lines


def equal(stored: Stored | None, held: Stored | None) -> bool:
    """Whether a client's state equals the store's, in the sections that the client receives."""
    if stored is None or held is None:
        return stored is held
    if len(held.data) == len(stored.data):
        return stored.data == held.data
    return all(stored.data.get(section) == value for section, value in held.data.items())


def _between(before: Stored | None, held: Stored | None, after: Stored | None) -> bool:
    """Whether the store may have held a state between two samples."""
    if held is None:
        return False
    first = 0 if before is None else before.version
    last = 0 if after is None else after.version
    went_back = last < first  # it may have gone on for a while before that
    return first < held.version and (went_back or held.version < last)
