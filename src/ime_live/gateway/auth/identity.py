"""Check the claims of a verified token, and make an `Identity` from them. No I/O.

The signature is verified before, see `ime_live.gateway.auth.authenticator`.
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
"""The subject of a client without a token, or whose token names none."""


class Refusal(StrEnum):
    """Reasons for refusing a missing or bad token, as clients get them."""

    REQUIRED = "authentication required"
    TOO_LONG = "token too long"
    INVALID = "invalid token"
    """Not a JWT, or not signed by one of our keys."""
    BAD_CLAIMS = "invalid claims"
    """Signed by one of our keys, but a claim has the wrong type."""
    EXPIRED = "token expired"
    NOT_YET_VALID = "token not yet valid"
    WRONG_AUDIENCE = "wrong audience"
    WRONG_ISSUER = "wrong issuer"


class Identity(Struct, frozen=True, dict=True):
    """A client, and the contracts that it may see.

    Attributes:
        subject: claim ``sub``, or `ANONYMOUS`.
        expires: when the token expires, including the leeway, in Unix seconds; None for never.
        patterns: claim ``contracts``; None if all contracts are allowed.
        begins: when the token becomes valid, less the leeway, in Unix seconds; None for always.
        token_id: claim ``jti``, by which the token can be revoked.
        issued: claim ``iat``, in Unix seconds.
    """

    subject: str
    expires: float | None
    patterns: tuple[str, ...] | None
    begins: float | None = None
    token_id: str | None = None
    issued: float | None = None

    def is_valid_at(self, now: float) -> bool:
        """Return whether the token's own times allow it at ``now``, in Unix seconds."""
        return (self.expires is None or now < self.expires) and (
            self.begins is None or self.begins <= now
        )

    def may_see(self, contract: Contract) -> bool:
        """Return whether the token lets the client see ``contract``; see `Patterns`."""
        return self.patterns is None or self._matcher.match(contract)

    @cached_property
    def _matcher(self) -> Patterns:
        # Made once per client, not once per contract that it asks for.
        return Patterns(self.patterns or ())


def identity_from(
    payload: bytes, *, audience: str | None, issuer: str | None, leeway: float, now: float
) -> Identity:
    """Check the claims of a verified token (RFC 7519, 4.1).

    A claim that restricts a token (``exp``, ``nbf``, ``contracts``) may be absent. But if it is
    present and cannot be read, the token is refused: it is never a free pass. ``iat`` is when the
    token was made, and not a limit (4.1.6): the issuer's clock may be ahead of ours.

    Args:
        payload: the token's claims, JSON.
        audience: value that ``aud`` must be or contain; None for any.
        issuer: value that ``iss`` must be; None for any.
        leeway: seconds by which the issuer's clock may differ from ours.
        now: Unix seconds.

    Raises:
        AuthenticationError: the reason is a `Refusal`; the detail names the claim that is wrong.
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
    if audience is not None and audience not in _several(claims.aud or ()):
        given = ", ".join(_several(claims.aud or ()))
        raise AuthenticationError(
            Refusal.WRONG_AUDIENCE.value, detail=_mismatch("aud", audience, given)
        )
    if issuer is not None and claims.iss != issuer:
        raise AuthenticationError(
            Refusal.WRONG_ISSUER.value, detail=_mismatch("iss", issuer, claims.iss or "")
        )
    patterns = None if claims.contracts is UNSET else _several(claims.contracts)
    issued = None if claims.iat is UNSET else claims.iat
    return Identity(claims.sub or ANONYMOUS, expires, patterns, begins, claims.jti, issued)


class _Claims(Struct):
    # A null for a time or for the contracts is an error; a null for a name means no name.
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

_MUST_BE: Final[dict[str, tuple[Any, str]]] = {
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

_LONGEST_SHOWN: Final = 100


def _wrong_claims(payload: bytes) -> str:
    """Return which claims have the wrong type and what they must be, without their contents."""
    try:
        claims = _decode_object(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return "the claims must be a well-formed JSON object"
    wrong = []
    for name, (kind, what) in _MUST_BE.items():
        if name in claims:
            try:
                msgspec.json.decode(claims[name], type=kind)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                got = _json_type(bytes(claims[name]))
                if kind is float and got == "a number":
                    got = "one that is too large"
                elif got in what:
                    got = "one that is not well-formed"
                wrong.append(f"{name} must be {what}, got {got}")
    return "; ".join(wrong)


def _json_type(raw: bytes) -> str:
    kind = _JSON_TYPES.get(raw[:1].decode("latin-1"), "a number")
    if kind == "a list":
        for item in map(bytes, _decode_list(raw)):
            if not item.startswith(b'"'):
                return f"a list with {_JSON_TYPES.get(item[:1].decode('latin-1'), 'a number')}"
    return kind


def _mismatch(claim: str, wanted: str, given: str) -> str:
    if len(given) > _LONGEST_SHOWN:
        given = given[:_LONGEST_SHOWN] + "…"
    return f"{claim} must be {wanted}, got {given or 'none'}"


def _several(claim: str | Iterable[str]) -> tuple[str, ...]:
    """Return a claim that is one string or a list of them (RFC 7519, 4.1.3) as a list."""
    return (claim,) if isinstance(claim, str) else tuple(claim)
