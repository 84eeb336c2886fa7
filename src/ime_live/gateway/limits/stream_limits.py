"""Limit the streams of a process: in total, per address, per subject, and by their memory.

Each stream has a permit from before its handshake is read until its end. With several workers, each
worker applies the limits to its own streams, because the kernel distributes connections among them.
No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random as random_fraction
from typing import Final

from ime_live.backoff import retry_after
from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import LimitError
from ime_live.gateway.limits.client_address import group_of
from ime_live.gateway.limits.rate_limit import RequestLimit
from ime_live.rate import Rate
from ime_live.settings.limits import LimitSettings

_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503

REASONS: Final = ("connections", "memory", "address", "subject", "rate")
"""Kinds of the errors that `StreamLimits` and `Permit` raise."""


class StreamLimits:
    """The limits of a process, and their present use."""

    def __init__(
        self,
        settings: LimitSettings,
        *,
        clock: Clock = SYSTEM_CLOCK,
        random: Callable[[], float] = random_fraction,
    ) -> None:
        """Create limits that are not used yet.

        Args:
            settings: the limits.
            clock: the machine's clock.
            random: returns a number from 0 to below 1.
        """
        self._monotonic = clock.monotonic
        self._random = random
        self.streams = 0
        """Number of permits in use."""
        self.waiting = 0
        """Unsent data for slow clients [bytes]."""
        self._by_address: dict[str, int] = {}
        self._by_subject: dict[str, int] = {}
        self._handshakes = RequestLimit(settings.handshake_rate)
        self._settings = settings

    @property
    def memory_is_full(self) -> bool:
        """Whether the unsent data for slow clients has reached its limit."""
        return 0 < self._settings.max_waiting <= self.waiting

    def change(self, settings: LimitSettings) -> None:
        """Use other limits from now on; open streams stay open even if they exceed them."""
        self._settings = settings
        self._handshakes.rate = Rate(settings.handshake_rate)

    def admit(self, address: str | None = None) -> Permit:
        """Return a permit for a stream that is about to begin.

        Args:
            address: address of the client; None if it is not known, so that the limits per address
                do not apply.

        Raises:
            LimitError: 429 for a limit per address, 503 for a limit of all streams.
        """
        settings = self._settings
        group = None if address is None else group_of(address)
        if group is not None:
            if wait := self._handshakes.take(group, self._monotonic()):
                raise LimitError(
                    "too many handshakes from this address", retry_after=wait, kind="rate"
                )
            if self._by_address.get(group, 0) >= (settings.max_address_connections or 1 << 62):
                raise self._full(
                    f"too many connections from this address: at most "
                    f"{settings.max_address_connections}",
                    "address",
                )
        if 0 < settings.max_connections <= self.streams:
            raise self._full("too many connections", "connections", _UNAVAILABLE)
        if self.memory_is_full:
            raise self._full("too much data waits for slow clients", "memory", _UNAVAILABLE)
        self.streams += 1
        if group is not None:
            self._by_address[group] = self._by_address.get(group, 0) + 1
        return Permit(self, address, group)

    def _claim(self, subject: str) -> None:
        count, limit = self._by_subject.get(subject, 0), self._settings.max_subject_connections
        if 0 < limit <= count:
            raise self._full(
                f"too many connections of this token's subject: at most {limit}", "subject"
            )
        self._by_subject[subject] = count + 1

    def _full(self, reason: str, kind: str, status: int = _TOO_MANY) -> LimitError:
        wait = retry_after(self._random)
        return LimitError(reason, retry_after=wait, status=status, kind=kind)

    def _release(self, group: str | None, subject: str | None) -> None:
        self.streams -= 1
        for counts, key in ((self._by_address, group), (self._by_subject, subject)):
            if key is not None:
                remaining = counts[key] - 1
                if remaining:
                    counts[key] = remaining
                else:
                    del counts[key]


class Permit:
    """The right to one stream, which counts for the limits until it is freed."""

    __slots__ = ("_group", "_is_free", "_limits", "_subject", "_waiting", "address")

    def __init__(self, limits: StreamLimits, address: str | None, group: str | None) -> None:
        """Use `StreamLimits.admit` instead, which also counts the stream."""
        self._limits = limits
        self._group = group
        self._subject: str | None = None
        self._waiting = 0
        self._is_free = False
        self.address = address
        """Address of the client; None if it is not known."""

    def claim(self, subject: str) -> None:
        """Count the stream for the subject of its token. Call this at most once.

        Raises:
            LimitError: 429; the subject has too many streams.
        """
        if not self._is_free:
            self._limits._claim(subject)
            self._subject = subject

    def wait(self, size: int) -> None:
        """Note the size of the unsent data for the client [bytes]."""
        if not self._is_free:
            self._limits.waiting += size - self._waiting
            self._waiting = size

    def free(self) -> None:
        """Give the permit back; a second call does nothing."""
        if not self._is_free:
            self.wait(0)
            self._is_free = True
            self._limits._release(self._group, self._subject)
