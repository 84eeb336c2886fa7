"""Load the keys that settings name, and make the `Authenticator`.

Files are read once; errors name the file. `ime_live.gateway.auth.jwks` reads key sets, and keeps
the one at a URL fresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import SettingsError
from ime_live.gateway.auth.authenticator import (
    PUBLIC_KEY_ALGORITHMS,
    Authenticator,
    JwtAuthenticator,
    Key,
    NoAuthenticator,
)
from ime_live.gateway.auth.jwks import JwksUrl, read_key_set
from ime_live.settings import AuthMode, AuthSettings, JwtSettings


class Keyring:
    """All keys of a gateway: those loaded at the start, and those of a JWKS URL."""

    def __init__(self, given: Sequence[Key] = (), url: JwksUrl | None = None) -> None:
        """Make a keyring of fixed keys, and those of a URL, which come with `start`."""
        self._given = tuple(given)
        self._url = url

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys known now."""
        return self._given if self._url is None else self._given + self._url.keys

    async def start(self) -> None:
        """Fetch the keys of the URL; see `JwksUrl.start`."""
        if self._url is not None:
            await self._url.start()

    async def aclose(self) -> None:
        """Stop fetching."""
        if self._url is not None:
            await self._url.aclose()

    async def learn(self, algorithm: str, kid: str | None) -> bool:
        """Check the URL for the key of a token that none of `keys` verifies.

        Returns:
            Whether `keys` were fetched. Not if there is no URL, if the algorithm is not one of
            public keys, or if the token has a known key id or none, and the set was fetched
            recently for such a token.

        Raises:
            RefusedError: with code 1013: the URL may have the key, but does not answer.
        """
        if self._url is None or algorithm not in PUBLIC_KEY_ALGORITHMS:
            return False
        known = self._url.keys
        if known and (kid is None or any(kid == key.kid for key in known)):
            return await self._url.recheck()
        await self._url.refresh()
        return True


def keyring_from(settings: JwtSettings) -> Keyring:
    """Load every key that ``settings`` name; a URL is fetched only by `Keyring.start`.

    Several sources together serve a change from one to another: a token is valid if a key of any
    of them has signed it.

    Raises:
        SettingsError: a key cannot be used, or a file cannot be read; names the option and path.
    """
    keys: list[Key] = []
    url = None
    if settings.jwt_secret:
        keys.append(_secret_key(settings.jwt_secret))
    if settings.jwt_public_key:
        keys.append(_pem_key(settings.jwt_public_key))
    if "://" in settings.jwks:
        url = JwksUrl(settings.jwks)
    elif settings.jwks:
        keys += _key_set(settings.jwks)
    return Keyring(keys, url)


def authenticator_from(settings: AuthSettings, *, clock: Clock = SYSTEM_CLOCK) -> Authenticator:
    """Return the authenticator for ``settings``. Call its `start` before use.

    Args:
        settings: where the keys are, and what tokens must contain.
        clock: the machine's clock, for the times in tokens.

    Raises:
        SettingsError: see `keyring_from`.
    """
    if settings.auth is AuthMode.NONE:
        return NoAuthenticator()
    return JwtAuthenticator(
        keyring_from(settings),
        audience=settings.jwt_audience or None,
        issuer=settings.jwt_issuer or None,
        leeway=settings.jwt_leeway,
        clock=clock,
    )


def _secret_key(secret: str) -> Key:
    try:
        return Key(secret.encode())
    except ValueError as error:
        raise SettingsError(f"--jwt-secret: {error}") from error


def _pem_key(path: str) -> Key:
    """Return the key of a PEM file (RFC 7468): a public key, or that of a certificate."""
    raw = _read("--jwt-public-key", path)
    if b"PRIVATE KEY-----" in raw:
        raise SettingsError(
            f"--jwt-public-key {path}: expected a public key, got a private key, which only the "
            "issuer of tokens may have; `openssl pkey -pubout` writes its public key"
        )
    try:
        if b"-----BEGIN CERTIFICATE-----" in raw:
            # Only the key counts: the configuration vouches for it, not a certificate authority.
            material: object = x509.load_pem_x509_certificate(raw).public_key()
        else:
            material = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(
            f"--jwt-public-key {path}: expected a public key in PEM form"
        ) from error
    try:
        return Key(material)
    except ValueError as error:
        raise SettingsError(f"--jwt-public-key {path}: {error}") from error


def _key_set(path: str) -> tuple[Key, ...]:
    """Return the keys of a JWKS file; a file on this machine may hold shared secrets."""
    try:
        return read_key_set(_read("--jwks", path), secrets=True)
    except ValueError as error:
        raise SettingsError(f"--jwks {path}: {error}") from error


def _read(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{option} {path}: {reason}") from error
