"""Identity: the claims of a verified token come in, who may see what goes out, or a refusal.

Pure. Knows nothing of signatures or keys: that the claims are the issuer's is settled before.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ime_live.contracts import Contract
from ime_live.errors import AuthenticationError
from ime_live.gateway.patterns import Patterns

ANONYMOUS: Final = "anonymous"
"""The subject of a client that no token names."""


class Refusal(StrEnum):
    """Every reason that a client with a missing or bad token can be told."""

    REQUIRED = "authentication required"
    TOO_LONG = "token too long"
    INVALID = "invalid token"
    """Not a JWT, or no key of ours has signed it."""
    BAD_CLAIMS = "invalid claims"
    """Signed by one of our keys, but a claim is not of the type it has to be."""
    EXPIRED = "token expired"
    NOT_YET_VALID = "token not yet valid"
    WRONG_AUDIENCE = "wrong audience"
    WRONG_ISSUER = "wrong issuer"


class Identity(Struct, frozen=True, dict=True):
    """Who a client is, and what it may see.

    Attributes:
        subject: claim ``sub``, or `ANONYMOUS`.
        expires: from when on the token is good no more, Unix seconds, the leeway included;
            None if it has no end.
        patterns: claim ``contracts``; None if it lets everything through.
    """

    subject: str
    expires: float | None
    patterns: tuple[str, ...] | None

    def may_see(self, contract: Contract) -> bool:
        """Whether the token lets the client see ``contract``; see `Patterns`."""
        return self.patterns is None or self._matcher.match(contract)

    @cached_property
    def _matcher(self) -> Patterns:
        # Once for a client, not once for each contract it asks for.
        return Patterns(self.patterns or ())


def identity_from(
    payload: bytes, *, audience: str | None, issuer: str | None, leeway: float, now: float
) -> Identity:
    """Check the claims of a verified token (RFC 7519, 4.1).

    A claim that narrows what a token is good for (``exp``, ``nbf``, ``iat``, ``contracts``) may
    be absent, but if it is there and cannot be read, the token is refused: never a free pass.

    Args:
        payload: the token's claims, JSON.
        audience: what ``aud`` has to be or hold; None asks for nothing.
        issuer: what ``iss`` has to be; None asks for nothing.
        leeway: seconds that the issuer's clock may differ from ours.
        now: Unix seconds.

    Raises:
        AuthenticationError: the reason is a `Refusal`.
    """
    try:
        claims = _decode_claims(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise AuthenticationError(Refusal.BAD_CLAIMS.value) from None
    expires = None if claims.exp is UNSET else claims.exp + leeway
    if expires is not None and now >= expires:
        raise AuthenticationError(Refusal.EXPIRED.value)
    for start in (claims.nbf, claims.iat):
        if start is not UNSET and start > now + leeway:
            raise AuthenticationError(Refusal.NOT_YET_VALID.value)
    if audience is not None and audience not in _several(claims.aud or ()):
        raise AuthenticationError(Refusal.WRONG_AUDIENCE.value)
    if issuer is not None and claims.iss != issuer:
        raise AuthenticationError(Refusal.WRONG_ISSUER.value)
    patterns = None if claims.contracts is UNSET else _several(claims.contracts)
    return Identity(claims.sub or ANONYMOUS, expires, patterns)


class _Claims(Struct):
    # A null where a date or the contracts should be is an error; null for a name is no name.
    exp: float | UnsetType = UNSET
    nbf: float | UnsetType = UNSET
    iat: float | UnsetType = UNSET
    contracts: str | list[str] | UnsetType = UNSET
    sub: str | None = None
    iss: str | None = None
    aud: str | list[str] | None = None


_decode_claims = msgspec.json.Decoder(_Claims).decode


def _several(claim: str | Iterable[str]) -> tuple[str, ...]:
    """A claim that is one string or a list of them (RFC 7519, 4.1.3), as the list."""
    return (claim,) if isinstance(claim, str) else tuple(claim)
