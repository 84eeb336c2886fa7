"""Check the claims of a token, and make an `Identity` of them. No I/O.

`ime_live.gateway.auth.authenticator` verifies the signature before.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ime_live.contracts import Contract
from ime_live.errors import AuthenticationError
from ime_live.gateway.auth.patterns import Patterns

ANONYMOUS: Final = "anonymous"
"""The subject of a client whose token has no subject, or that has no token."""


class Refusal(StrEnum):
    """Reasons for refusing a token, as they are sent to clients."""

    REQUIRED = "authentication required"
    TOO_LONG = "token too long"
    INVALID = "invalid token"
    """Not a JWT, or not signed by one of the keys."""
    BAD_CLAIMS = "invalid claims"
    """Signed by one of the keys, but a claim has the wrong type."""
    EXPIRED = "token expired"
    NOT_YET_VALID = "token not yet valid"
    WRONG_AUDIENCE = "wrong audience"
    WRONG_ISSUER = "wrong issuer"


class Identity(Struct, frozen=True, dict=True):
    """An authenticated client, and the contracts that it may see.

    Attributes:
        subject: claim ``sub``, or `ANONYMOUS`.
        expires: when the token expires, plus the leeway [Unix seconds]; None for never.
        patterns: claim ``contracts``; None if all contracts are allowed.
        begins: when the token becomes valid, minus the leeway [Unix seconds]; None without ``nbf``.
        token_id: claim ``jti``, by which the token can be revoked; None without one.
        issued: claim ``iat`` [Unix seconds]; None without one.
    """

    subject: str
    expires: float | None
    patterns: tuple[str, ...] | None
    begins: float | None = None
    token_id: str | None = None
    issued: float | None = None

    def is_valid_at(self, now: float) -> bool:
        """Return whether the token has begun and has not expired at a time [Unix seconds]."""
        return (self.expires is None or now < self.expires) and (
            self.begins is None or self.begins <= now
        )

    def may_see(self, contract: Contract) -> bool:
        """Return whether the token covers a contract; see `Patterns`."""
        return self.patterns is None or self._matcher.match(contract)

    @cached_property
    def _matcher(self) -> Patterns:
        # Cached, because a client may request many contracts.
        return Patterns(self.patterns or ())


def identity_from(
    payload: bytes, *, audience: str | None, issuer: str | None, leeway: float, now: float
) -> Identity:
    """Check the claims of a verified token (RFC 7519, 4.1).

    A claim that restricts a token (``exp``, ``nbf``, ``contracts``) may be missing. If it is
    present but cannot be read, the token is refused. ``iat`` does not restrict a token (4.1.6): the
    issuer's clock may be ahead.

    Args:
        payload: the claims of the token, JSON.
        audience: value that ``aud`` must be or contain; None for any.
        issuer: value that ``iss`` must be; None for any.
        leeway: time by which the issuer's clock may differ [s].
        now: the present time [Unix seconds].

    Raises:
        AuthenticationError: 1008; the reason is a `Refusal`, and the detail names the wrong claim.
    """
    try:
        claims = _decode_claims(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise AuthenticationError(Refusal.BAD_CLAIMS.value, detail=_wrong_claims(payload)) from None
    expires = None if claims.exp is UNSET else claims.exp + leeway
    if expires is not None and now >= expires:
        raise AuthenticationError(Refusal.EXPIRED.value)
    begins = None if claims.nbf is UNSET else claims.nbf - leeway
    if claims.nbf is not UNSET and claims.nbf > now + leeway:
        ahead = claims.nbf - now
        raise AuthenticationError(
            Refusal.NOT_YET_VALID.value, detail=f"nbf is {ahead:.0f} s ahead of this server's clock"
        )
    if audience is not None and audience not in _as_tuple(claims.aud or ()):
        audiences = ", ".join(_as_tuple(claims.aud or ()))
        raise AuthenticationError(
            Refusal.WRONG_AUDIENCE.value, detail=_mismatch("aud", audience, audiences)
        )
    if issuer is not None and claims.iss != issuer:
        raise AuthenticationError(
            Refusal.WRONG_ISSUER.value, detail=_mismatch("iss", issuer, claims.iss or "")
        )
    patterns = None if claims.contracts is UNSET else _as_tuple(claims.contracts)
    issued = None if claims.iat is UNSET else claims.iat
    return Identity(claims.sub or ANONYMOUS, expires, patterns, begins, claims.jti, issued)


class _Claims(Struct):
    # A null is an error for a time and for the contracts; for other claims it means no value.
    exp: float | UnsetType = UNSET
    nbf: float | UnsetType = UNSET
    iat: float | UnsetType = UNSET
    contracts: str | list[str] | UnsetType = UNSET
    sub: str | None = None
    jti: str | None = None
    iss: str | None = None
    aud: str | list[str] | None = None


_decode_claims = msgspec.json.Decoder(_Claims).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode

_TIME: Final = (float, "a number of seconds since 1970")
_TEXT: Final = (str | None, "a text")
_TEXTS: Final = (str | list[str], "a text or a list of texts")

_CLAIM_TYPES: Final[dict[str, tuple[Any, str]]] = {
    "exp": _TIME,
    "nbf": _TIME,
    "iat": _TIME,
    "contracts": _TEXTS,
    "sub": _TEXT,
    "jti": _TEXT,
    "iss": _TEXT,
    "aud": (str | list[str] | None, _TEXTS[1]),
}

_JSON_TYPES: Final = {
    '"': "a text",
    "[": "a list",
    "{": "an object",
    "t": "true",
    "f": "false",
    "n": "null",
}

_MAX_SHOWN: Final = 100


def _wrong_claims(payload: bytes) -> str:
    """Describe the claims with a wrong type, without their values."""
    try:
        claims = _decode_object(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return "the claims must be a well-formed JSON object"
    wrong = []
    for name, (kind, expected) in _CLAIM_TYPES.items():
        if name in claims:
            try:
                msgspec.json.decode(claims[name], type=kind)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                got = _json_type(bytes(claims[name]))
                if kind is float and got == "a number":
                    got = "one that is too large"
                elif got in expected:
                    got = "one that is not well-formed"
                wrong.append(f"{name} must be {expected}, got {got}")
    return "; ".join(wrong)


def _json_type(raw: bytes) -> str:
    kind = _JSON_TYPES.get(raw[:1].decode("latin-1"), "a number")
    if kind == "a list":
        for item in map(bytes, _decode_list(raw)):
            if not item.startswith(b'"'):
                return f"a list with {_JSON_TYPES.get(item[:1].decode('latin-1'), 'a number')}"
    return kind


def _mismatch(claim: str, expected: str, value: str) -> str:
    if len(value) > _MAX_SHOWN:
        value = value[:_MAX_SHOWN] + "…"
    return f"{claim} must be {expected}, got {value or 'none'}"


def _as_tuple(claim: str | Iterable[str]) -> tuple[str, ...]:
    """Return a claim that may be one string or a list of strings (RFC 7519, 4.1.3) as a tuple."""
    return (claim,) if isinstance(claim, str) else tuple(claim)
