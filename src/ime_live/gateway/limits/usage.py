"""Add up the daily usage of each subject, for one log line per subject. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

MAX_SUBJECTS: Final = 10_000
"""Maximum number of subjects that are counted separately; the others are counted together."""

OTHERS: Final = "(others)"
"""Subject of the log line for subjects that are counted together."""


class SubjectUsage(Struct):
    """The usage of one subject.

    Attributes:
        connections: number of streams that have begun.
        messages: number of updates that were written to the streams.
        bytes: number of bytes that the peers have acknowledged; None where the system does not
            count them. A proxy is the peer of its clients' streams.
    """

    connections: int = 0
    messages: int = 0
    bytes: int | None = None


class Usage:
    """The usage since the last `take`, by subject."""

    def __init__(self, max_subjects: int = MAX_SUBJECTS) -> None:
        """Start at zero.

        Args:
            max_subjects: maximum number of subjects that are counted separately.
        """
        self._max_subjects = max_subjects
        self._by_subject: dict[str, SubjectUsage] = {}

    def add(
        self, subject: str, *, connections: int = 0, messages: int = 0, size: int | None = None
    ) -> None:
        """Add usage of a subject.

        Args:
            subject: the subject.
            connections: number of new streams.
            messages: number of updates.
            size: acknowledged data [bytes]; None if it is unknown.
        """
        if subject not in self._by_subject and len(self._by_subject) >= self._max_subjects:
            subject = OTHERS
        usage = self._by_subject.setdefault(subject, SubjectUsage())
        usage.connections += connections
        usage.messages += messages
        if size is not None:
            usage.bytes = size + (usage.bytes or 0)

    def take(self) -> Iterator[tuple[str, SubjectUsage]]:
        """Return the usage of all subjects, and start at zero."""
        by_subject, self._by_subject = self._by_subject, {}
        return iter(by_subject.items())
