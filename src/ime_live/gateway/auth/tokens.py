"""Make and explain tokens for the command line. No I/O.

A report has the contents of a token, but never the token itself, so it can be shown.
"""

from __future__ import annotations

import base64
import math
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from ime_live.errors import AuthenticationError, SettingsError
from ime_live.gateway.auth.authenticator import MAX_TOKEN_BYTES, Algorithm, Key, SignedToken
from ime_live.gateway.auth.identity import Identity, Refusal, identity_from
from ime_live.settings import MIN_SECRET_BYTES
from ime_live.spelling import counted
from ime_live.store.revocation import MAX_TIME, Revocation, RevokedBy

_DAY: Final = 86_400
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}")


class Signature(StrEnum):
    """The state of a token's signature."""

    VERIFIED = "verified"
    NOT_VERIFIED = "not verified"
    """There was no key to verify it with."""
    BAD = "bad"
    """None of the keys has signed it."""


class TokenReport(Struct, frozen=True, kw_only=True):
    """The contents of a token, and whether a gateway accepts it.

    Attributes:
        header: as it is in the token.
        claims: as they are in the token.
        expires: ``2026-06-22 15:10:00 UTC``, or ``never``; ``not a date`` for a bad claim.
        signature: see `Signature`.
        accepted: whether a gateway with these keys and settings accepts the token; None if there
            are no keys.
        remarks: sentences without a full stop, for a person: ``expires in 29 days``.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    expires: str
    signature: Signature
    accepted: bool | None
    remarks: tuple[str, ...]


class SigningKey(Struct, frozen=True):
    """A key that signs tokens: a shared secret or a private key.

    Attributes:
        algorithm: of the signatures.
        material: the bytes of a secret, or a private key of `cryptography`.
        kid: id by which gateways find the key that verifies; None for none.
    """

    algorithm: Algorithm
    material: Any
    kid: str | None = None

    def __repr__(self) -> str:
        return f"<SigningKey {self.algorithm} kid={self.kid!r}>"


def read_private_key(pem: bytes, kid: str | None = None) -> SigningKey:
    """Read a private key in PEM form: RSA, EC P-256 or Ed25519.

    Raises:
        SettingsError: it is not one, is encrypted, or is too weak. The text quotes nothing of it.
    """
    if b"ENCRYPTED" in pem:
        raise SettingsError(
            "a private key must not be encrypted; `openssl pkey -in FILE` writes it plain"
        )
    if b"PRIVATE KEY-----" not in pem:
        got = "a public key or certificate" if b"-----BEGIN" in pem else "something else"
        raise SettingsError(f"expected a private key in PEM form, got {got}")
    try:
        material: Any = load_pem_private_key(pem, password=None)
        algorithm = Key(material.public_key()).algorithm
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        raise SettingsError(
            "a private key must be one of RSA with 2048 bits, EC P-256 or Ed25519, well-formed"
        ) from None
    return SigningKey(algorithm, material, kid)


def read_signing_key(key_set: bytes, kid: str | None) -> SigningKey:
    """Return a shared secret (``"kty": "oct"``) of a JWK Set, to sign with.

    Args:
        key_set: JSON.
        kid: id of the key; None for the first secret.

    Raises:
        SettingsError: there is no such key.
    """
    try:
        entries = msgspec.json.decode(key_set, type=_SecretKeySet).keys
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise SettingsError("expected a JWK Set, a JSON object with the list `keys`") from None
    for each in entries:
        if each.kty == "oct" and each.k and kid in {None, each.kid}:
            try:
                secret = base64.urlsafe_b64decode(each.k + "=" * (-len(each.k) % 4))
                return SigningKey(Key(secret, each.kid).algorithm, secret, each.kid)
            except ValueError as error:
                raise SettingsError(f"the key {each.kid or ''} cannot be used: {error}") from None
    wanted = "a secret (oct)" if kid is None else f"a secret (oct) with kid {kid}"
    raise SettingsError(f"the JWK Set must have {wanted} to sign with, got none")


class _SecretJwk(Struct):
    kty: str = ""
    kid: str | None = None
    k: str = ""


class _SecretKeySet(Struct):
    keys: list[_SecretJwk]


def create_token(
    secret: str | SigningKey,
    subject: str,
    days: float,
    contracts: str | Iterable[str] | None = None,
    audience: str | None = None,
    issuer: str | None = None,
    *,
    now: float,
) -> str:
    """Make a token, with an id (claim ``jti``) by which it can be revoked.

    Args:
        secret: the shared secret, at least 32 bytes of UTF-8, for HS256; or another key.
        subject: owner of the token.
        days: how long it is valid from ``now`` on; above 0.
        contracts: patterns of the contracts that it allows (`ime_live.gateway.auth.patterns`);
            None allows all, an empty list none.
        audience: claim ``aud``, left out if None or empty.
        issuer: claim ``iss``, left out if None or empty.
        now: Unix seconds.

    Raises:
        SettingsError: the secret is too short or cannot be used, ``days`` is not above 0, or the
            token would be longer than a gateway reads.
    """
    key = SigningKey("HS256", secret.encode()) if isinstance(secret, str) else secret
    size = len(key.material) if isinstance(key.material, bytes) else MIN_SECRET_BYTES
    if size < MIN_SECRET_BYTES:
        raise SettingsError(
            f"the secret must have at least {MIN_SECRET_BYTES} bytes for HS256 (RFC 7518, 3.2), "
            f"got {size}"
        )
    if not (days > 0 and math.isfinite(days * _DAY)):
        raise SettingsError(f"the number of days must be above 0, got {days:g}")
    # Whole seconds, as most issuers use; rounded so that it is valid now, and for the full time.
    claims: dict[str, Any] = {
        "sub": subject,
        "iat": math.floor(now),
        "exp": math.ceil(now + days * _DAY),
        "jti": secrets.token_hex(8),
    }
    if contracts is not None:
        claims["contracts"] = [contracts] if isinstance(contracts, str) else list(contracts)
    if audience:
        claims["aud"] = audience
    if issuer:
        claims["iss"] = issuer
    try:
        headers = None if key.kid is None else {"kid": key.kid}
        token = jwt.encode(claims, key.material, algorithm=key.algorithm, headers=headers)
    except jwt.InvalidKeyError as error:
        raise SettingsError(f"the secret cannot be used: {error}") from error
    if len(token) > MAX_TOKEN_BYTES:
        raise SettingsError(
            f"the token must have at most {MAX_TOKEN_BYTES} bytes, got {len(token)}: list fewer "
            "contracts, or use patterns"
        )
    return token


def inspect_token(
    token: str,
    keys: Iterable[Key] | None = None,
    *,
    audience: str | None = None,
    issuer: str | None = None,
    leeway: float = 0.0,
    now: float,
) -> TokenReport:
    """Explain a token to a person.

    Args:
        token: the token alone, without ``Bearer``.
        keys: the gateway's keys; None if there are none at hand.
        audience: the gateway's setting for ``aud``; see `identity_from`, also for the others.
        issuer: the gateway's setting for ``iss``.
        leeway: seconds.
        now: Unix seconds.

    Raises:
        AuthenticationError: it cannot be read as a token at all.
    """
    try:
        signed = SignedToken(token)
    except AuthenticationError as error:
        raise AuthenticationError(error.reason, detail=_why_unreadable(token)) from None
    try:
        claims = msgspec.json.decode(signed.payload, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # This raises an error that says what is wrong.
        identity_from(signed.payload, audience=None, issuer=None, leeway=leeway, now=now)
        raise AuthenticationError(Refusal.BAD_CLAIMS.value) from None
    signature, remarks = _check_signature(signed, None if keys is None else tuple(keys))
    remarks.append(_lifetime(claims, now))
    try:
        identity = identity_from(
            signed.payload, audience=audience, issuer=issuer, leeway=leeway, now=now
        )
    except AuthenticationError as error:
        holds = False
        remarks.append(f"a gateway refuses it: {error.reason}")
        if error.detail:
            remarks.append(error.detail)
    else:
        holds = True
        remarks.append(_reach(identity))
    return TokenReport(
        header=dict(signed.header),
        claims=claims,
        expires=_moment(claims),
        signature=signature,
        accepted=None if keys is None else holds and signature is Signature.VERIFIED,
        remarks=tuple(remarks),
    )


def revocation_of(token: str, *, keep: float, now: float) -> Revocation:
    """Return the revocation of one token, by its ``jti``; its signature does not matter.

    Args:
        token: the token alone.
        keep: days for which the revocation of a token without an expiry is kept; 0 forever.
        now: Unix seconds.

    Raises:
        AuthenticationError: it cannot be read as a token.
        SettingsError: it has no ``jti``.
    """
    claims = inspect_token(token, now=now).claims
    name, expires = claims.get("jti"), claims.get("exp")
    if not isinstance(name, str) or not name:
        raise SettingsError(
            "the token must have a jti to be revoked alone, got none; revoke its subject"
        )
    # Longer than its expiry, because gateways may allow for a leeway.
    until = math.ceil(expires) + _DAY if isinstance(expires, int | float) else _until(keep, now)
    return Revocation(RevokedBy.TOKEN_ID, name, math.floor(now), min(until, MAX_TIME))


def revocation_by(by: RevokedBy, name: str, *, keep: float, now: float) -> Revocation:
    """Return a revocation by the id or the subject of tokens; see `revocation_of`.

    Raises:
        SettingsError: the name is empty, or ``keep`` is below 0.
    """
    if not name.strip():
        raise SettingsError(f"the {by.value} of a revocation must not be empty, got {name!r}")
    return Revocation(by, name, math.floor(now), _until(keep, now))


def _until(keep: float, now: float) -> int:
    if not (keep >= 0 and math.isfinite(keep)):
        raise SettingsError(f"--keep must be a number of days of at least 0, got {keep:g}")
    return min(math.ceil(now + keep * _DAY), MAX_TIME) if keep else 0


def _why_unreadable(token: str) -> str:
    # It quotes no part of the token.
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
        case {"exp": int() | float() as exp}:
            left = exp - now
            return f"expires in {_span(left)}" if left > 0 else f"expired {_span(-left)} ago"
        case {"exp": _}:
            return "exp is not a number of seconds"
    return "never expires"


def _span(seconds: float) -> str:
    """Return a length of time in the largest possible unit, rounded down."""
    count, unit = int(seconds), "second"
    for length, name in ((60, "minute"), (3600, "hour"), (_DAY, "day")):
        if seconds >= length:
            count, unit = int(seconds // length), name
    return counted(count, unit)


def _reach(identity: Identity) -> str:
    match identity.patterns:
        case None:
            return "shows every contract"
        case ():
            return "shows no contract"
        case patterns:
            return f"shows the contracts that match {', '.join(patterns)}"
