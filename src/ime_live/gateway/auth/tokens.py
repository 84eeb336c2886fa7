"""Make tokens and revocations, for the command line. No I/O."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable
from typing import Any, Final

import jwt

from ime_live.errors import SettingsError
from ime_live.gateway.auth.signed_token import MAX_TOKEN_BYTES
from ime_live.gateway.auth.signing_key import SigningKey
from ime_live.gateway.auth.token_report import inspect_token
from ime_live.settings import MIN_SECRET_BYTES
from ime_live.store.revocation import MAX_TIME, Revocation, RevokedBy

_DAY: Final = 86_400


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
    """Return a new token, with an id (claim ``jti``) by which it can be revoked.

    Args:
        secret: a shared secret of at least 32 bytes in UTF-8, for HS256; or another key.
        subject: owner of the token.
        days: days from ``now`` for which the token is valid; above 0.
        contracts: patterns of the contracts that the token covers, as in
            `ime_live.gateway.auth.patterns`; None for all contracts, an empty list for none.
        audience: claim ``aud``; None or empty leaves it out.
        issuer: claim ``iss``; None or empty leaves it out.
        now: the present time [Unix seconds].

    Raises:
        SettingsError: the secret is too short or cannot be used, ``days`` is not above 0, or the
            token would be longer than a gateway accepts.
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
    # Whole seconds, like most issuers, rounded so that the token is valid for the full time.
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


def revocation_of(token: str, *, keep: float, now: float) -> Revocation:
    """Return the revocation of one token, by its ``jti``. The signature is not verified.

    Args:
        token: the token alone, without ``Bearer``.
        keep: days for which the revocation of a token without an expiry is kept; 0 for ever.
        now: the present time [Unix seconds].

    Raises:
        AuthenticationError: the text cannot be parsed as a token.
        SettingsError: the token has no ``jti``.
    """
    claims = inspect_token(token, now=now).claims
    name, expires = claims.get("jti"), claims.get("exp")
    if not isinstance(name, str) or not name:
        raise SettingsError(
            "the token must have a jti to be revoked alone, got none; revoke its subject"
        )
    moment = math.floor(now)
    if isinstance(expires, int | float):
        # A day longer than the token is valid, because gateways may have a leeway. Times before
        # 1970 cannot be stored, and 0 would mean for ever.
        until = max(math.ceil(expires) + _DAY, moment)
    else:
        until = _until(keep, now)
    return Revocation(RevokedBy.TOKEN_ID, name, moment, min(until, MAX_TIME))


def revocation_by(by: RevokedBy, name: str, *, keep: float, now: float) -> Revocation:
    """Return a revocation by the id or the subject of tokens.

    Args:
        by: whether ``name`` is the id or the subject.
        name: the id or the subject.
        keep: days for which the revocation is kept; 0 for ever.
        now: the present time [Unix seconds].

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
