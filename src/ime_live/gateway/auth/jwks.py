"""Read JSON Web Key Sets (RFC 7517) from files and URLs."""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import urlsplit

import jwt
import msgspec
import structlog
from cryptography.exceptions import UnsupportedAlgorithm

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import CloseCode, RefusedError, SettingsError
from ime_live.gateway.auth.signed_token import Key
from ime_live.settings import is_loopback
from ime_live.settings.rule import shown_url

if TYPE_CHECKING:
    import httpx

MAX_AGE: Final = 600.0
"""Seconds after which a set is fetched again, so a withdrawn key may stay valid for this time."""

MIN_INTERVAL: Final = 10.0
"""Minimum time between two fetches because of tokens with unknown key ids [s]."""

RECHECK_INTERVAL: Final = 60.0
"""Minimum time between two fetches because of tokens that a known key does not verify [s]."""

RETRY_INTERVAL: Final = 30.0
"""Seconds after which a failed fetch is repeated, unless a token causes one before."""

FETCH_TIMEOUT: Final = 3.0
"""Timeout of a fetch as a whole [s]."""

MAX_SET_BYTES: Final = 1024 * 1024
"""Maximum size of a set [bytes]; real sets have 1 to 10 KiB."""

# The algorithm for each key type (RFC 7518, 6.1; RFC 8037, 2). PyJWT needs it to read a key; `Key`
# checks the curve and the size.
_ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA", "oct": "HS256"}

log = structlog.get_logger()


def read_key_set(content: bytes, *, secrets: bool) -> tuple[Key, ...]:
    """Read a JWK Set (RFC 7517, 5); keys that cannot be used are skipped and logged.

    Args:
        content: the set, JSON.
        secrets: whether shared secrets (``"kty": "oct"``) are accepted; False for a set at a URL.

    Raises:
        ValueError: this is not a JWK Set, or it has no usable key. The text contains no part of it.
    """
    try:
        entries = _decode_set(content).keys
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ValueError("expected a JWK Set, a JSON object with the list `keys`") from None
    keys = []
    for position, entry in enumerate(entries):
        try:
            keys.append(_read_key(entry, secrets=secrets))
        except ValueError as error:
            log.warning("jwks key skipped", position=position, reason=str(error))
    if not keys:
        raise ValueError("the JWK Set must have a key that can be used, got none")
    return tuple(keys)


class JwksUrl:
    """The key set at a URL: fetched, cached, refreshed.

    - All callers that need a fetch wait for the same one.
    - The set is fetched again after `MAX_AGE`; by `refresh`, at most once per `MIN_INTERVAL`; and
      by `recheck`, at most once per `RECHECK_INTERVAL`.
    - A failed fetch does not change the keys, and is repeated within twice `RETRY_INTERVAL`.

    Attributes:
        url: address of the set.
        keys: keys of the last valid set; empty before the first fetch.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
        fetch_timeout: float = FETCH_TIMEOUT,
    ) -> None:
        """Check a URL; nothing is fetched before `start`.

        Args:
            url: an https URL, or an http URL of a loopback address.
            clock: the machine's clock, for ages and waits.
            fetch_timeout: timeout of a fetch as a whole [s].

        Raises:
            SettingsError: this is no such URL, or it has a user or a password.
        """
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            _ = parts.port  # raises ValueError if it is invalid
        except ValueError as error:
            raise SettingsError(
                f"--jwks must be a file, or a URL with a valid host and port, got {shown_url(url)}"
            ) from error
        if not host or parts.scheme not in {"https", "http"}:
            raise SettingsError(
                f"--jwks must be a file or an https:// URL with a host, got {shown_url(url)}"
            )
        if parts.username is not None or parts.password is not None:
            raise SettingsError(
                "--jwks must not have a user or password in its URL, which logs would show, "
                f"got {shown_url(url)}"
            )
        if parts.scheme == "http" and not is_loopback(host):
            raise SettingsError(
                f"--jwks must be an https:// URL unless its host is a loopback address, got "
                f"http://{host}: over http, others on the way can replace the keys"
            )
        self.keys: tuple[Key, ...] = ()
        self.url = url
        # A proxy in the environment is not meant for this machine.
        self._trust_env = not is_loopback(host)
        self._clock = clock
        self._fetch_timeout = fetch_timeout
        self._client: httpx.AsyncClient | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._fetched_at = float("-inf")
        self._rechecked_at = float("-inf")
        self._failures = 0

    async def start(self) -> None:
        """Fetch the set, and begin to refresh it at intervals; a failed fetch is only logged."""
        # Imported here, because the import takes 0.1 s and few gateways need it.
        import httpx

        self._client = httpx.AsyncClient(
            # The certificates of the system may include those of an organisation's own authority.
            verify=ssl.create_default_context(),
            trust_env=self._trust_env,
            # Only the configured host is trusted, not the target of a redirect.
            follow_redirects=False,
            timeout=self._fetch_timeout,
            # Without compression, so that the size limit applies to the transferred bytes.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )
        await self._fetch_once()
        self._refresher = asyncio.create_task(self._keep_fresh())

    async def aclose(self) -> None:
        """Stop refreshing, and refuse the callers that wait for a fetch. The keys are kept."""
        # None before the fetch ends, so that the waiting callers are refused.
        client, self._client = self._client, None
        tasks = [task for task in (self._refresher, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if client is not None:
            await client.aclose()

    async def refresh(self) -> None:
        """Fetch the set unless it was fetched within the last `MIN_INTERVAL` seconds.

        Raises:
            RefusedError: 1013; the last fetch has failed.
        """
        if self._fetching is not None or self._clock.monotonic() - self._fetched_at >= MIN_INTERVAL:
            await self._fetch_once()
        self._check_fetched()

    async def recheck(self) -> bool:
        """Fetch the set because a token with a known key id cannot be verified.

        An issuer may replace a key without a new ``kid``. But anyone can send invalid tokens, so
        the set is fetched at most once per `RECHECK_INTERVAL`.

        Returns:
            Whether the set was fetched, by this call or by a concurrent one.

        Raises:
            RefusedError: 1013; the last fetch has failed.
        """
        fetches = self._fetching is not None
        if not fetches and self._clock.monotonic() - self._rechecked_at >= RECHECK_INTERVAL:
            self._rechecked_at = self._clock.monotonic()
            fetches = True
        if fetches:
            await self._fetch_once()
        self._check_fetched()
        return fetches

    def _check_fetched(self) -> None:
        if self._failures or self._client is None:
            raise RefusedError("keys are not available", code=CloseCode.TRY_AGAIN_LATER)

    async def _keep_fresh(self) -> None:
        while True:
            interval = RETRY_INTERVAL if self._failures else MAX_AGE
            remaining = self._fetched_at + interval - self._clock.monotonic()
            if remaining > 0:
                # At most this long, because a fetch by `refresh` may fail meanwhile.
                await self._clock.sleep(min(remaining, RETRY_INTERVAL))
            else:
                await self._fetch_once()

    async def _fetch_once(self) -> None:
        """Fetch the set, or wait for the fetch under way."""
        if self._client is None:
            return
        if self._fetching is None:
            self._fetched_at = self._clock.monotonic()
            self._fetching = asyncio.create_task(self._fetch(self._client))
        # Not `await self._fetching`: the cancellation of one caller would cancel the fetch for all,
        # and the cancellation of the fetch would be raised in its callers.
        await asyncio.wait([self._fetching])

    async def _fetch(self, client: httpx.AsyncClient) -> None:
        import httpx

        try:
            # The timeout of httpx applies to each read; this one to the whole fetch.
            async with asyncio.timeout(self._fetch_timeout):
                content = await _get(client, self.url)
            self.keys = read_key_set(content, secrets=False)
        # ValueError: not a key set, or a URL that only httpx rejects.
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError) as error:
            self._failures += 1
            log.warning(
                "jwks refresh failed",
                url=self.url,
                error=str(error) or type(error).__name__,
                failures=self._failures,
                keys=len(self.keys),
            )
        else:
            self._failures = 0
            log.info("jwks refreshed", url=self.url, keys=len(self.keys))
        finally:
            self._fetching = None


class _KeySet(msgspec.Struct):
    keys: list[Any]


_decode_set = msgspec.json.Decoder(_KeySet).decode


class _Jwk(msgspec.Struct):
    # The fields that determine whether a key can be used (RFC 7517, 4); PyJWT reads the others.
    kty: Literal["RSA", "EC", "OKP", "oct"]
    kid: str | None = None
    alg: str | None = None
    use: Literal["sig"] = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    d: Any = None
    """The private part of the key (RFC 7518, 6.2.2 and 6.3.2)."""


def _read_key(entry: object, *, secrets: bool) -> Key:
    """Read one JWK.

    Raises:
        ValueError: the key cannot be used. The text contains the reason, and nothing secret.
    """
    try:
        jwk = msgspec.convert(entry, _Jwk)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    algorithm = _ALGORITHMS[jwk.kty]
    if jwk.kty == "oct" and not secrets:
        raise ValueError("a key at a URL must be public, got a shared secret (oct)")
    if jwk.d is not None:
        raise ValueError("a key must be public, got a private key")
    if "verify" not in jwk.key_ops:
        raise ValueError(f"key_ops must contain verify, got {', '.join(jwk.key_ops) or 'none'}")
    if jwk.alg not in {None, algorithm}:
        raise ValueError(f"alg of a key of type {jwk.kty} must be {algorithm}, got {jwk.alg}")
    try:
        material = jwt.get_algorithm_by_name(algorithm).from_jwk(cast("dict[str, Any]", entry))
    except (jwt.PyJWTError, ValueError, TypeError, LookupError, UnsupportedAlgorithm):
        raise ValueError(
            f"a key of type {jwk.kty} must be well-formed, got one that is not"
        ) from None
    return Key(material, jwk.kid)


async def _get(client: httpx.AsyncClient, url: str) -> bytes:
    """Return the body of the response at a URL.

    Raises:
        httpx.HTTPError: there is no response.
        ValueError: the response has another status than 200, or is too large.
    """
    async with client.stream("GET", url) as response:
        if response.status_code != HTTPStatus.OK:
            raise ValueError(f"the status must be 200, got {response.status_code}")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_SET_BYTES:
                raise ValueError(f"the response must have at most {MAX_SET_BYTES} bytes, got more")
    return bytes(body)
