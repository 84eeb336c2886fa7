"""Make tokens, and revoke them, for the command line. No I/O."""

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
    moment = math.floor(now)
    if isinstance(expires, int | float):
        # Longer than its expiry, because gateways may allow for a leeway. Times before 1970 cannot
        # be stored, and 0 would be forever.
        until = max(math.ceil(expires) + _DAY, moment)
    else:
        until = _until(keep, now)
    return Revocation(RevokedBy.TOKEN_ID, name, moment, min(until, MAX_TIME))


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
