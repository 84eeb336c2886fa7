"""Revocation: tokens that are no longer accepted, and their field in the store."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct

from ime_live.errors import PayloadError

MAX_TIME: Final = 99_999_999_999
"""Seconds since 1970 up to which a time is one; it is the year 5138."""

_TIMES: Final = re.compile(rb"([0-9]{1,11}) ([0-9]{1,11})")


class RevokedBy(StrEnum):
    """The kinds of names that a revocation may have."""

    TOKEN_ID = "jti"  # noqa: S105 - the name of a claim
    SUBJECT = "sub"


_KINDS: Final = frozenset(RevokedBy)


class Revocation(Struct, frozen=True):
    """Tokens that are no longer accepted.

    Attributes:
        by: what ``name`` is: the claim ``jti`` of one token, or ``sub`` of several.
        name: value of that claim.
        moment: Unix seconds of the revocation. A subject's tokens that were issued later are valid.
        expires: Unix seconds until which it must be kept; 0 forever.
    """

    by: RevokedBy
    name: str
    moment: int
    expires: int = 0

    @property
    def key(self) -> str:
        """Name of its field in the store."""
        return f"{self.by.value}:{self.name}"

    @property
    def text(self) -> str:
        """Value of its field in the store."""
        return f"{self.moment} {self.expires}"

    def is_over(self, now: float) -> bool:
        """Return whether all tokens that it names have expired."""
        return 0 < self.expires <= now


def read_revocation(key: bytes, value: bytes) -> Revocation:
    """Read a field of the store.

    Raises:
        PayloadError: it is not the field of a revocation.
    """
    by, _, name = key.decode("utf-8", "replace").partition(":")
    times = _TIMES.fullmatch(value)
    if by not in _KINDS or not name or times is None:
        raise PayloadError(
            "a revocation must have a field jti:… or sub:… and two numbers of seconds"
        )
    return Revocation(RevokedBy(by), name, int(times[1]), int(times[2]))
