"""Report the contents and the validity of a token, for people. No I/O.

A report never contains the token itself, so it can be shown to others.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from ime_live.errors import AuthenticationError
from ime_live.gateway.auth.identity import Identity, Refusal, identity_from
from ime_live.gateway.auth.signed_token import MAX_TOKEN_BYTES, Key, SignedToken
from ime_live.spelling import pluralize

_DAY: Final = 86_400
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}")


class Signature(StrEnum):
    """The state of a token's signature."""

    VERIFIED = "verified"
    NOT_VERIFIED = "not verified"
    """There is no key to verify it with."""
    BAD = "bad"
    """None of the keys has signed the token."""


class TokenReport(Struct, frozen=True, kw_only=True):
    """The contents of a token, and whether a gateway accepts it.

    Attributes:
        header: the header of the token.
        claims: the claims of the token.
        expires: ``2026-06-22 15:10:00 UTC``, or ``never``; ``not a date`` for an invalid claim.
        signature: the state of the signature.
        accepted: whether a gateway with these keys and settings accepts the token; None without
            keys.
        remarks: sentences without a full stop, such as ``expires in 29 days``.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    expires: str
    signature: Signature
    accepted: bool | None
    remarks: tuple[str, ...]


def inspect_token(
    token: str,
    keys: Iterable[Key] | None = None,
    *,
    audience: str | None = None,
    issuer: str | None = None,
    leeway: float = 0.0,
    now: float,
) -> TokenReport:
    """Return a report on a token.

    Args:
        token: the token alone, without ``Bearer``.
        keys: the keys of the gateway; None to not verify the signature.
        audience: value that ``aud`` must be or contain; None for any.
        issuer: value that ``iss`` must be; None for any.
        leeway: time by which the issuer's clock may differ [s].
        now: the present time [Unix seconds].

    Raises:
        AuthenticationError: the text cannot be parsed as a token.
    """
    try:
        signed = SignedToken(token)
    except AuthenticationError as error:
        raise AuthenticationError(error.reason, detail=_why_unreadable(token)) from None
    try:
        claims = msgspec.json.decode(signed.payload, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Raises a more precise error.
        identity_from(signed.payload, audience=None, issuer=None, leeway=leeway, now=now)
        raise AuthenticationError(Refusal.BAD_CLAIMS.value) from None
    signature, remarks = _check_signature(signed, None if keys is None else tuple(keys))
    remarks.append(_lifetime(claims, now))
    try:
        identity = identity_from(
            signed.payload, audience=audience, issuer=issuer, leeway=leeway, now=now
        )
    except AuthenticationError as error:
        claims_are_valid = False
        remarks.append(f"a gateway refuses it: {error.reason}")
        if error.detail:
            remarks.append(error.detail)
    else:
        claims_are_valid = True
        remarks.append(_coverage(identity))
    return TokenReport(
        header=dict(signed.header),
        claims=claims,
        expires=_moment(claims),
        signature=signature,
        accepted=(None if keys is None else claims_are_valid and signature is Signature.VERIFIED),
        remarks=tuple(remarks),
    )


def _why_unreadable(token: str) -> str:
    # No text here contains a part of the token.
    if len(token) > MAX_TOKEN_BYTES:
        return f"a token must have at most {MAX_TOKEN_BYTES} bytes, got {len(token)}"
    parts = token.split(".")
    if len(parts) != 3:
        return (
            "a token must have three parts separated by dots, as header.claims.signature, "
            f"got {len(parts)}"
        )
    names = ("header", "claims", "signature")
    for name, part in zip(names, parts, strict=True):
        if not part or not _BASE64URL.fullmatch(part) or len(part) % 4 == 1:
            return f"the {name} of a token must be base64url (RFC 4648), got other characters"
    return (
        "the header of a token must be a JSON object with alg and, if it has one, kid as texts, "
        "got one that is not"
    )


def _check_signature(
    signed: SignedToken, keys: tuple[Key, ...] | None
) -> tuple[Signature, list[str]]:
    if keys is None:
        return Signature.NOT_VERIFIED, ["no key was given, so anyone may have written this"]
    if signed.signer(keys) is not None:
        return Signature.VERIFIED, []
    if any(key.fits(signed.algorithm, signed.kid) for key in keys):
        return Signature.BAD, ["no key at hand has signed it"]
    kid = "" if signed.kid is None else f" and kid {signed.kid}"
    return Signature.BAD, [f"no key at hand is for alg {signed.algorithm}{kid}"]


def _moment(claims: dict[str, Any]) -> str:
    if "exp" not in claims:
        return "never"
    try:
        return datetime.fromtimestamp(claims["exp"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (TypeError, ValueError, OverflowError, OSError):
        return "not a date"


def _lifetime(claims: dict[str, Any], now: float) -> str:
    match claims:
        case {"exp": int() | float() as exp} if abs(exp) <= sys.float_info.max:
            remaining = exp - now
            if remaining > 0:
                return f"expires in {_span(remaining)}"
            return f"expired {_span(-remaining)} ago"
        case {"exp": _}:
            return "exp is not a number of seconds"
    return "never expires"


def _span(seconds: float) -> str:
    """Return a duration in the largest possible unit, rounded down."""
    count, unit = int(seconds), "second"
    for length, name in ((60, "minute"), (3600, "hour"), (_DAY, "day")):
        if seconds >= length:
            count, unit = int(seconds // length), name
    return pluralize(count, unit)


def _coverage(identity: Identity) -> str:
    match identity.patterns:
        case None:
            return "shows every contract"
        case ():
            return "shows no contract"
        case patterns:
            return f"shows the contracts that match {', '.join(patterns)}"
