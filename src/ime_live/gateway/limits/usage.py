"""Add up what each subject has used in a day, for one log line per subject. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

MAX_SUBJECTS: Final = 10_000
"""Subjects that are told apart; further ones count together."""

OTHERS: Final = "(others)"
"""Subject of the line for those that are not told apart."""


class Used(Struct):
    """What one subject has used.

    Attributes:
        connections: streams that have begun.
        messages: updates that were written to them.
        bytes: what their clients, or the proxy, have acknowledged; None where the system does not
            tell.
    """

    connections: int = 0
    messages: int = 0
    bytes: int | None = None


class Usage:
    """What has been used since the last `take`, by subject."""

    def __init__(self, max_subjects: int = MAX_SUBJECTS) -> None:
        """Start at zero, and tell so many subjects apart."""
        self._max_subjects = max_subjects
        self._by_subject: dict[str, Used] = {}

    def add(
        self, subject: str, *, connections: int = 0, messages: int = 0, size: int | None = None
    ) -> None:
        """Add what a stream has used; ``size`` in bytes, None if it is not known."""
        if subject not in self._by_subject and len(self._by_subject) >= self._max_subjects:
            subject = OTHERS
        used = self._by_subject.setdefault(subject, Used())
        used.connections += connections
        used.messages += messages
        if size is not None:
            used.bytes = size + (used.bytes or 0)

    def take(self) -> Iterator[tuple[str, Used]]:
        """Return everything, and start at zero."""
        taken, self._by_subject = self._by_subject, {}
        return iter(taken.items())
