"""Load the keys that settings name, and make the `Authenticator`.

Files are read again when they change; errors name the file. `ime_live.gateway.auth.jwks` reads key
sets, and keeps the one at a URL fresh.
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
from ime_live.errors import SettingsError
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
        keys: those that the file had when it could be read last.
    """

    def __init__(self, path: str, read: Callable[[str], tuple[Key, ...]]) -> None:
        """Read the file.

        Args:
            path: its path.
            read: reads it; raises SettingsError.

        Raises:
            SettingsError: it cannot be read, or has no key; names the option and the path.
        """
        self._path = path
        self._read = read
        self._seen = _look(path)
        self.keys = read(path)

    def reload(self, limited: LogLimiter) -> None:
        """Read the file again if it has changed; keep the keys if it cannot be read."""
        seen = _look(self._path)
        if seen == self._seen:
            return
        event = "keys cannot be read; keeping the known keys"
        try:
            self.keys = self._read(self._path)
        except SettingsError as error:
            # Not noted as seen: a file that is being written is complete a moment later.
            limited.error(event, key=(event, self._path), error=str(error))
            return
        self._seen = seen
        limited.forget((event, self._path))
        log.info("keys reloaded", path=self._path, keys=len(self.keys))


def _look(path: str) -> tuple[int, ...]:
    """Return a value that changes when the file is written or replaced; empty without a file."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


class Keyring:
    """All keys of a gateway: fixed ones, those of files, and those of a JWKS URL."""

    def __init__(
        self,
        given: Sequence[Key] = (),
        url: JwksUrl | None = None,
        files: Sequence[KeyFile] = (),
    ) -> None:
        """Make a keyring of fixed keys, of files, and of a URL, whose keys come with `start`."""
        self._given = tuple(given)
        self._url = url
        self._files = tuple(files)
        self._limited = LogLimiter(log)
        self._known = self._collect()

    def _collect(self) -> tuple[Key, ...]:
        return (*self._given, *(key for file in self._files for key in file.keys))

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys known now."""
        return self._known if self._url is None else self._known + self._url.keys

    def reload(self) -> None:
        """Read the files that have changed; a file that cannot be read keeps its keys."""
        for file in self._files:
            file.reload(self._limited)
        self._known = self._collect()

    async def adopt(self, other: Keyring) -> None:
        """Have the keys of another keyring instead; a URL that both have keeps its fetched keys.

        Raises:
            SettingsError: no keys can be fetched from a new URL; then nothing has changed.
        """
        former, url = self._url, other._url
        if former is not None and url is not None and former.url == url.url:
            url = former
        elif url is not None:
            await url.start()
            if not url.keys:
                await url.aclose()
                raise SettingsError(f"--jwks {url.url}: no keys can be fetched; see above")
        self._given, self._files, self._url = other._given, other._files, url
        self._known = self._collect()
        if former is not None and former is not url:
            await former.aclose()

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
    files: list[KeyFile] = []
    url = None
    if settings.jwt_secret:
        keys.append(_secret_key(settings.jwt_secret))
    if settings.jwt_secret_file:
        files.append(KeyFile(settings.jwt_secret_file, secrets_in))
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
    """Return the authenticator for ``settings``. Call its `start` before use.

    Args:
        settings: where the keys are, and what tokens must contain.
        clock: the machine's clock, for the times in tokens.
        revocations: tokens that are no longer accepted; None for none.

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
        revocations=revocations,
    )


async def check_key_url(settings: JwtSettings) -> None:
    """Fetch the keys of a URL once, before several workers are told to do so.

    Raises:
        SettingsError: see `keyring_from`, or no keys can be fetched.
    """
    keyring = Keyring()
    await keyring.adopt(keyring_from(settings))
    await keyring.aclose()


def _secret_key(secret: str) -> Key:
    try:
        return Key(secret.encode())
    except ValueError as error:
        raise SettingsError(f"--jwt-secret: {error}") from error


def secrets_in(path: str) -> tuple[Key, ...]:
    """Return the secrets of a file, one per line; empty lines and those with # do not count.

    Raises:
        SettingsError: it cannot be read, or has a line that is no secret, which is not quoted.
    """
    keys = []
    for number, line in enumerate(read_secret_lines(path), 1):
        try:
            keys.append(Key(line))
        except ValueError as error:
            raise SettingsError(f"{_SECRET_FILE} {path}: secret {number}: {error}") from error
    return tuple(keys)


def read_secret_lines(path: str) -> list[bytes]:
    """Return the lines of a file of secrets.

    Raises:
        SettingsError: it cannot be read, or has none.
    """
    lines = [line.strip() for line in read_file(_SECRET_FILE, path).splitlines()]
    found = [line for line in lines if line and not line.startswith(b"#")]
    if not found:
        raise SettingsError(f"{_SECRET_FILE} {path} must have a secret per line, got none")
    return found


def _pem_key(path: str) -> Key:
    """Return the key of a PEM file (RFC 7468): a public key, or that of a certificate."""
    raw = read_file("--jwt-public-key", path)
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
        return read_key_set(read_file("--jwks", path), secrets=True)
    except ValueError as error:
        raise SettingsError(f"--jwks {path}: {error}") from error


def read_file(option: str, path: str) -> bytes:
    """Return the bytes of a file that an option names.

    Raises:
        SettingsError: it cannot be read; names the option and the path.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{option} {path}: {reason}") from error
