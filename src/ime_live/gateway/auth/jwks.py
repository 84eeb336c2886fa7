"""Read JSON Web Key Sets (RFC 7517), and keep the one at a URL fresh.

`JwksUrl` never fetches often, never waits long, and never forgets keys that were valid.
"""

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
"""Seconds after which a set is fetched again: how long a withdrawn key may stay valid."""

MIN_INTERVAL: Final = 10.0
"""Minimum time between two fetches, however many tokens name unknown keys [s]."""

RECHECK_INTERVAL: Final = 60.0
"""Minimum time between two fetches that are made because a known key does not fit a token [s]."""

RETRY_INTERVAL: Final = 30.0
"""Seconds after which a failed fetch is repeated, if no token causes one before."""

FETCH_TIMEOUT: Final = 3.0
"""Seconds that a whole fetch may take."""

MAX_SET_BYTES: Final = 1024 * 1024
"""Size of the largest set that is read [bytes]; real ones have 1 to 10 KiB."""

# The algorithm for each key type (RFC 7518, 6.1; RFC 8037, 2). PyJWT reads a key by the algorithm;
# `Key` checks its curve and size.
_ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA", "oct": "HS256"}

log = structlog.get_logger()


def read_key_set(raw: bytes, *, secrets: bool) -> tuple[Key, ...]:
    """Read a JWK Set (RFC 7517, 5); a key that cannot be used is skipped and logged.

    Args:
        raw: the set, JSON.
        secrets: whether it may hold shared secrets (``"kty": "oct"``); False for one from a URL.

    Raises:
        ValueError: it is not a set, or has no usable key. The text quotes nothing of it.
    """
    try:
        entries = _decode_set(raw).keys
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

    - There is one fetch at a time; all callers that need it wait for the same one.
    - A set is fetched again when it is `MAX_AGE` old; when `refresh` is called, but not within
      `MIN_INTERVAL` of the last time; and when `recheck` is, once per `RECHECK_INTERVAL`.
    - A fetch that fails leaves the keys as they are, and is repeated within twice
      `RETRY_INTERVAL`.

    Attributes:
        url: address of the set.
        keys: keys of the last valid set; empty before the first.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
        fetch_timeout: float = FETCH_TIMEOUT,
    ) -> None:
        """Check ``url``; nothing is fetched before `start`.

        Args:
            url: https, or http of a loopback address.
            clock: the machine's clock, for ages and waits.
            fetch_timeout: time that a whole fetch may take [s].

        Raises:
            SettingsError: it is not such a URL, or it holds a password.
        """
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            _ = parts.port  # raises if it is not a port
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
        # A proxy in the environment is for other hosts, not for this machine.
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
        """Fetch the set, and keep it fresh from then on; a failed fetch is only logged."""
        # Imported here, because it takes 0.1 s and few gateways need it.
        import httpx

        self._client = httpx.AsyncClient(
            # The system's certificates include an organisation's own authority.
            verify=ssl.create_default_context(),
            trust_env=self._trust_env,
            # Trust in a key set is trust in the configured host, not in where it redirects.
            follow_redirects=False,
            timeout=self._fetch_timeout,
            # Without compression, the size limit holds for what is transferred.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )
        await self._fetch_once()
        self._refresher = asyncio.create_task(self._keep_fresh())

    async def aclose(self) -> None:
        """Stop refreshing; callers that wait for a fetch are refused. The keys stay."""
        # First, so that waiting callers find it gone when the fetch ends.
        client, self._client = self._client, None
        tasks = [task for task in (self._refresher, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if client is not None:
            await client.aclose()

    async def refresh(self) -> None:
        """Wait until the keys are those that the URL had within the last `MIN_INTERVAL`.

        Raises:
            RefusedError: with code 1013: the last fetch failed.
        """
        if self._fetching is not None or self._clock.monotonic() - self._fetched_at >= MIN_INTERVAL:
            await self._fetch_once()
        self._check_fetched()

    async def recheck(self) -> bool:
        """Fetch the set because a known key does not verify a token that should be signed by it.

        Issuers change keys without notice, and some keep the ``kid``. Anybody can send bad tokens,
        so this is done once per `RECHECK_INTERVAL`.

        Returns:
            Whether the set was fetched, by this call or by one that was under way.

        Raises:
            RefusedError: with code 1013: it could not be fetched.
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
                # Never for long: `refresh` may fetch meanwhile, and fail.
                await self._clock.sleep(min(remaining, RETRY_INTERVAL))
            else:
                await self._fetch_once()

    async def _fetch_once(self) -> None:
        """Fetch, or wait for the fetch that is under way."""
        if self._client is None:
            return
        if self._fetching is None:
            self._fetched_at = self._clock.monotonic()
            self._fetching = asyncio.create_task(self._fetch(self._client))
        # Unlike awaiting the task, this does not end the fetch when a waiting client leaves, nor
        # the client when the gateway ends the fetch.
        await asyncio.wait([self._fetching])

    async def _fetch(self, client: httpx.AsyncClient) -> None:
        import httpx

        try:
            # httpx limits each read; this limits their sum.
            async with asyncio.timeout(self._fetch_timeout):
                raw = await _get(client, self.url)
            self.keys = read_key_set(raw, secrets=False)
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
    # The fields that decide whether a key can be used (RFC 7517, 4); PyJWT reads the rest.
    kty: Literal["RSA", "EC", "OKP", "oct"]
    kid: str | None = None
    alg: str | None = None
    use: Literal["sig"] = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    d: Any = None
    """The private half (RFC 7518, 6.2.2 and 6.3.2)."""


def _read_key(entry: object, *, secrets: bool) -> Key:
    """Read one JWK.

    Raises:
        ValueError: it cannot be used; the text says why, and quotes nothing secret.
    """
    try:
        jwk = msgspec.convert(entry, _Jwk)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    algorithm = _ALGORITHMS[jwk.kty]
    if jwk.kty == "oct" and not secrets:
        raise ValueError("a shared secret that anyone can fetch")
    if jwk.d is not None:
        raise ValueError("a private key")
    if "verify" not in jwk.key_ops:
        raise ValueError("key_ops does not hold verify")
    if jwk.alg not in {None, algorithm}:
        raise ValueError(f"alg is not {algorithm}, the only one for such a key here")
    try:
        material = jwt.get_algorithm_by_name(algorithm).from_jwk(cast("dict[str, Any]", entry))
    except (jwt.PyJWTError, ValueError, TypeError, LookupError, UnsupportedAlgorithm):
        raise ValueError(f"not a well-formed {jwk.kty} key") from None
    return Key(material, jwk.kid)


async def _get(client: httpx.AsyncClient, url: str) -> bytes:
    """Return the body at ``url``.

    Raises:
        httpx.HTTPError: it could not be fetched.
        ValueError: the response is not a 200, or too long.
    """
    async with client.stream("GET", url) as response:
        if response.status_code != HTTPStatus.OK:
            raise ValueError(f"the status must be 200, got {response.status_code}")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_SET_BYTES:
                raise ValueError(f"the answer must have at most {MAX_SET_BYTES} bytes")
    return bytes(body)
