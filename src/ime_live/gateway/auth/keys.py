"""Load the keys that verify tokens from the settings, files and a JWKS URL.

Files are read again when they change. `ime_live.gateway.auth.jwks` reads key sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import SettingsError, system_reason
from ime_live.gateway.auth.authenticator import Authenticator, JwtAuthenticator, NoAuthenticator
from ime_live.gateway.auth.jwks import JwksUrl, read_key_set
from ime_live.gateway.auth.revocations import Revocations
from ime_live.gateway.auth.signed_token import PUBLIC_KEY_ALGORITHMS, Key
from ime_live.log_limiter import LogLimiter
from ime_live.settings import AuthMode, AuthSettings, JwtSettings

log = structlog.get_logger()

_SECRET_FILE: Final = "--jwt-secret-file"  # noqa: S105 - a flag


class KeyFile:
    """A file with keys, read again when it changes.

    Attributes:
        keys: the keys at the last successful reading.
    """

    def __init__(self, path: str, read: Callable[[str], tuple[Key, ...]]) -> None:
        """Read the file.

        Args:
            path: path of the file.
            read: returns the keys of the file at a path; raises SettingsError.

        Raises:
            SettingsError: the file cannot be read, or has no key. The text has the option and the
                path.
        """
        self._path = path
        self._read = read
        self._fingerprint = _fingerprint_of(path)
        self.keys = read(path)

    def reload(self, limited: LogLimiter) -> None:
        """Read the file again if it has changed; keep the present keys if it cannot be read."""
        fingerprint = _fingerprint_of(self._path)
        if fingerprint == self._fingerprint:
            return
        event = "keys cannot be read; keeping the known keys"
        try:
            self.keys = self._read(self._path)
        except SettingsError as error:
            # The fingerprint is not updated: if the file is being written, it is complete soon.
            limited.error(event, key=(event, self._path), error=str(error))
            return
        self._fingerprint = fingerprint
        limited.forget((event, self._path))
        log.info("keys reloaded", path=self._path, keys=len(self.keys))


def _fingerprint_of(path: str) -> tuple[int, ...]:
    """Return a value that changes when a file is written or replaced; empty without a file."""
    try:
        stat = Path(path).stat()
    except (OSError, ValueError):
        return ()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev


class Keyring:
    """All keys of a gateway: from the settings, from files, and from a JWKS URL."""

    def __init__(
        self,
        fixed: Sequence[Key] = (),
        url: JwksUrl | None = None,
        files: Sequence[KeyFile] = (),
    ) -> None:
        """Make a keyring.

        Args:
            fixed: keys that do not change.
            url: a JWKS URL, whose keys `start` fetches; None without one.
            files: files with keys.
        """
        self._fixed = tuple(fixed)
        self._url = url
        self._files = tuple(files)
        self._limited = LogLimiter(log)
        self._local = self._collect()

    def _collect(self) -> tuple[Key, ...]:
        return (*self._fixed, *(key for file in self._files for key in file.keys))

    @property
    def keys(self) -> tuple[Key, ...]:
        """The present keys."""
        return self._local if self._url is None else self._local + self._url.keys

    def reload(self) -> None:
        """Read changed files again; keep the keys of a file that cannot be read."""
        for file in self._files:
            file.reload(self._limited)
        self._local = self._collect()

    async def adopt(self, other: Keyring) -> None:
        """Use the keys of another keyring; if both have the same URL, its fetched keys are kept.

        Raises:
            SettingsError: no keys can be fetched from a new URL; the present keys are kept.
        """
        former, url = self._url, other._url
        if former is not None and url is not None and former.url == url.url:
            url = former
        elif url is not None:
            await url.start()
            if not url.keys:
                await url.aclose()
                raise SettingsError(
                    f"--jwks {url.url} cannot be used: no keys can be fetched; see above"
                )
        self._fixed, self._files, self._url = other._fixed, other._files, url
        self._local = self._collect()
        if former is not None and former is not url:
            await former.aclose()

    async def start(self) -> None:
        """Fetch the keys of the URL; see `JwksUrl.start`."""
        if self._url is not None:
            await self._url.start()

    async def aclose(self) -> None:
        """Stop fetching the keys of the URL."""
        if self._url is not None:
            await self._url.aclose()

    async def load_key(self, algorithm: str, kid: str | None) -> bool:
        """Fetch the key set of the URL for a token that none of `keys` verifies.

        Args:
            algorithm: algorithm in the header of the token.
            kid: key id in the header of the token; None without one.

        Returns:
            Whether the set was fetched. It is not fetched without a URL, for an algorithm with
            secrets, or for a token without an unknown key id if it was fetched recently for such a
            token.

        Raises:
            RefusedError: 1013; the URL may have the key, but cannot be fetched now.
        """
        if self._url is None or algorithm not in PUBLIC_KEY_ALGORITHMS:
            return False
        keys = self._url.keys
        if keys and (kid is None or any(kid == key.kid for key in keys)):
            return await self._url.recheck()
        await self._url.refresh()
        return True


def keyring_from(settings: JwtSettings) -> Keyring:
    """Load the keys of all sources in the settings; a URL is fetched only by `Keyring.start`.

    A token is valid if a key of any source has signed it. So one source can replace another without
    an interruption.

    Raises:
        SettingsError: a key cannot be used, or a file cannot be read. The text has the option and
            the path.
    """
    keys: list[Key] = []
    files: list[KeyFile] = []
    url = None
    if settings.jwt_secret:
        keys.append(_secret_key(settings.jwt_secret))
    if settings.jwt_secret_file:
        files.append(KeyFile(settings.jwt_secret_file, read_secrets))
    if settings.jwt_public_key:
        files.append(KeyFile(settings.jwt_public_key, lambda path: (_pem_key(path),)))
    if "://" in settings.jwks:
        url = JwksUrl(settings.jwks)
    elif settings.jwks:
        files.append(KeyFile(settings.jwks, _key_set))
    return Keyring(keys, url, files)


def authenticator_from(
    settings: AuthSettings, *, clock: Clock = SYSTEM_CLOCK, revocations: Revocations | None = None
) -> Authenticator:
    """Return the authenticator for the settings. Call its `start` before use.

    Args:
        settings: the sources of keys, and the required claims.
        clock: the machine's clock, for the times in tokens.
        revocations: the revoked tokens; None without revocations.

    Raises:
        SettingsError: a key cannot be loaded; see `keyring_from`.
    """
    if settings.auth is AuthMode.NONE:
        return NoAuthenticator()
    return JwtAuthenticator(
        keyring_from(settings),
        audience=settings.jwt_audience or None,
        issuer=settings.jwt_issuer or None,
        leeway=settings.jwt_leeway,
        clock=clock,
        revocations=revocations,
    )


async def check_key_url(settings: JwtSettings) -> None:
    """Check that the keys of a JWKS URL can be fetched.

    Raises:
        SettingsError: they cannot, or another key cannot be loaded; see `keyring_from`.
    """
    keyring = Keyring()
    await keyring.adopt(keyring_from(settings))
    await keyring.aclose()


def _secret_key(secret: str) -> Key:
    try:
        return Key(secret.encode())
    except ValueError as error:
        raise SettingsError(f"--jwt-secret cannot be used: {error}") from error


def read_secrets(path: str) -> tuple[Key, ...]:
    """Return the secrets of a file, one per line; empty lines and lines with # are ignored.

    Raises:
        SettingsError: the file cannot be read, or a line is no secret. The text does not contain
            the line.
    """
    keys = []
    for number, line in enumerate(read_secret_lines(path), 1):
        try:
            keys.append(Key(line))
        except ValueError as error:
            raise SettingsError(
                f"{_SECRET_FILE} {path} cannot be used: secret {number}: {error}"
            ) from error
    return tuple(keys)


def read_secret_lines(path: str) -> list[bytes]:
    """Return the lines of a file of secrets, without empty lines and lines with #.

    Raises:
        SettingsError: the file cannot be read, or has no secret.
    """
    lines = [line.strip() for line in read_file(_SECRET_FILE, path).splitlines()]
    secrets = [line for line in lines if line and not line.startswith(b"#")]
    if not secrets:
        raise SettingsError(f"{_SECRET_FILE} {path} must have a secret per line, got none")
    return secrets


def _pem_key(path: str) -> Key:
    """Return the key of a PEM file (RFC 7468): a public key, or that of a certificate."""
    pem = read_file("--jwt-public-key", path)
    if b"PRIVATE KEY-----" in pem:
        raise SettingsError(
            f"--jwt-public-key {path}: expected a public key, got a private key, which only the "
            "issuer of tokens may have; `openssl pkey -pubout` writes its public key"
        )
    try:
        if b"-----BEGIN CERTIFICATE-----" in pem:
            # Only the key is used. It is trusted because it is configured, so the certificate is
            # not verified.
            material: object = x509.load_pem_x509_certificate(pem).public_key()
        else:
            material = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(
            f"--jwt-public-key {path}: expected a public key in PEM form, got something else"
        ) from error
    try:
        return Key(material)
    except ValueError as error:
        raise SettingsError(f"--jwt-public-key {path} cannot be used: {error}") from error


def _key_set(path: str) -> tuple[Key, ...]:
    """Return the keys of a JWKS file, which may include shared secrets."""
    try:
        return read_key_set(read_file("--jwks", path), secrets=True)
    except ValueError as error:
        raise SettingsError(f"--jwks {path} cannot be used: {error}") from error


def read_file(option: str, path: str) -> bytes:
    """Return the content of a file that an option names.

    Args:
        option: name of the option, for the error.
        path: path of the file.

    Raises:
        SettingsError: the file cannot be read. The text has the option and the path.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = system_reason(error)
        raise SettingsError(f"{option} {path} cannot be read: {reason}") from error
