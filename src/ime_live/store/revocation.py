"""Revocations: tokens that are no longer accepted, and their fields in the store."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct

from ime_live.errors import PayloadError

MAX_TIME: Final = 99_999_999_999
"""Latest valid time [Unix seconds]; it is in the year 5138."""

_TIMES: Final = re.compile(rb"([0-9]{1,11}) ([0-9]{1,11})")


class RevokedBy(StrEnum):
    """The claim by which tokens are revoked."""

    TOKEN_ID = "jti"  # noqa: S105 - the name of a claim
    SUBJECT = "sub"


_KINDS: Final = frozenset(RevokedBy)


class Revocation(Struct, frozen=True):
    """The revocation of one token, or of all present tokens of a subject.

    Attributes:
        by: the claim: ``jti`` for one token, ``sub`` for the tokens of a subject.
        name: value of the claim.
        moment: time of the revocation [Unix seconds]. Tokens of a subject that were issued later
            are valid.
        expires: time until which the revocation must be kept [Unix seconds]; 0 for ever.
    """

    by: RevokedBy
    name: str
    moment: int
    expires: int = 0

    @property
    def key(self) -> str:
        """Name of the field in the store."""
        return f"{self.by.value}:{self.name}"

    @property
    def text(self) -> str:
        """Value of the field in the store."""
        return f"{self.moment} {self.expires}"

    def is_over(self, now: float) -> bool:
        """Return whether the revocation need not be kept at a time [Unix seconds]."""
        return 0 < self.expires <= now


def read_revocation(key: bytes, value: bytes) -> Revocation:
    """Read a field of the store.

    Raises:
        PayloadError: this is not the field of a revocation.
    """
    by, _, name = key.decode("utf-8", "replace").partition(":")
    times = _TIMES.fullmatch(value)
    if by not in _KINDS or not name or times is None:
        raise PayloadError(
            "a revocation must have a field jti:… or sub:… and two numbers of seconds"
        )
    return Revocation(RevokedBy(by), name, int(times[1]), int(times[2]))
