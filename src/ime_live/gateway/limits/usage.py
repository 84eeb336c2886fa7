"""Add up what each subject has used in a day, for one log line per subject. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

MAX_SUBJECTS: Final = 10_000
"""Maximum number of distinct subjects; further ones are counted together."""

OTHERS: Final = "(others)"
"""Subject of the line for those that are not told apart."""


class Used(Struct):
    """The usage of one subject.

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
    """The usage since the last `take`, by subject."""

    def __init__(self, max_subjects: int = MAX_SUBJECTS) -> None:
        """Start at zero, with a limit of distinct subjects."""
        self._max_subjects = max_subjects
        self._by_subject: dict[str, Used] = {}

    def add(
        self, subject: str, *, connections: int = 0, messages: int = 0, size: int | None = None
    ) -> None:
        """Add the usage of a stream; ``size`` in bytes, None if it is unknown."""
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
