"""Authenticate a client by its token, and return its `Identity`. No I/O.

`ime_live.gateway.auth.keys` loads the keys. No token, and no part of one, gets into a message, a
log line or a repr.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import AuthenticationError
from ime_live.gateway.auth.identity import ANONYMOUS, Identity, Refusal, identity_from
from ime_live.gateway.auth.revocations import Revocations
from ime_live.gateway.auth.verified_tokens import VerifiedTokens
from ime_live.settings import MIN_SECRET_BYTES

__all__ = [
    "ANONYMOUS",
    "MAX_TOKEN_BYTES",
    "PUBLIC_KEY_ALGORITHMS",
    "SUBPROTOCOL",
    "Algorithm",
    "Authenticator",
    "Identity",
    "JwtAuthenticator",
    "Key",
    "KeySource",
    "NoAuthenticator",
    "Refusal",
    "SignedToken",
    "find_token",
]

MAX_TOKEN_BYTES: Final = 16 * 1024
"""A longer token is refused unread. Reading one of this size takes 0.8 ms, a usual one 0.02 ms."""

SUBPROTOCOL: Final = "ime-live"
"""The WebSocket subprotocol to select, and the only one that is ever echoed."""

_jws: Final = jwt.PyJWS()
_MIN_RSA_BITS: Final = 2048
_TOKEN_SUBPROTOCOL: Final = "token."  # noqa: S105 - the prefix of a token, not one

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]
PUBLIC_KEY_ALGORITHMS: Final = frozenset({"RS256", "ES256", "EdDSA"})


def find_token(
    authorization: str | None, subprotocols: Sequence[str], query_token: str | None
) -> str | None:
    """Return the token that a client sends, or None.

    The header comes first, then the subprotocol, then the query. The first that holds a token
    decides; if that one is bad, the others are not tried.

    Args:
        authorization: the ``Authorization`` header: ``<token>`` or ``Bearer <token>``. Another
            scheme, such as a proxy's ``Basic``, is ignored.
        subprotocols: the list in ``Sec-WebSocket-Protocol``. A browser's script cannot set any
            other header, so it offers ``ime-live`` and ``token.<token>``.
        query_token: the parameter ``token`` of the URL, decoded.
    """
    match (authorization or "").split():
        case [word] if word.lower() != "bearer":
            return word
        case [scheme, token] if scheme.lower() == "bearer":
            return token
    for protocol in map(str.strip, subprotocols):
        if protocol.startswith(_TOKEN_SUBPROTOCOL) and protocol != _TOKEN_SUBPROTOCOL:
            return protocol.removeprefix(_TOKEN_SUBPROTOCOL)
    return query_token or None


class Key:
    """A key that verifies signatures with one algorithm, prepared once.

    The key determines the algorithm, never the token's header. That keeps out ``alg: none`` and a
    public key used as an HMAC secret (RFC 8725, 2.1 and 3.1).
    """

    __slots__ = ("_hmac", "_key", "_verify", "algorithm", "kid")

    def __init__(self, material: object, kid: str | None = None) -> None:
        """Prepare a key.

        Args:
            material: the bytes of a secret, or a public key of `cryptography`.
            kid: id by which tokens name it, if it has one.

        Raises:
            ValueError: no `Algorithm` uses such a key, or it is too weak.
        """
        self.algorithm = _algorithm_of(material)
        self.kid = kid
        method = jwt.get_algorithm_by_name(self.algorithm)
        try:
            self._key: Any = method.prepare_key(material)
        except jwt.InvalidKeyError as error:
            # PyJWT detects a public key or a JWK that was given as a secret.
            raise ValueError(str(error)) from error
        self._verify = method.verify
        # Of the key alone: a copy of it takes a fifth of the time of a new one.
        self._hmac = hmac.new(material, digestmod="sha256") if isinstance(material, bytes) else None

    def __repr__(self) -> str:
        return f"<Key {self.algorithm} kid={self.kid!r}>"

    def fits(self, algorithm: str, kid: str | None) -> bool:
        """Return whether a token with this header may be signed with this key.

        A ``kid`` only distinguishes keys (RFC 7515, 4.1.4): if one side has none, any key fits.
        """
        return algorithm == self.algorithm and (kid is None or self.kid is None or kid == self.kid)

    def verify(self, signed: bytes, signature: bytes) -> bool:
        """Return whether ``signature`` over ``signed`` was made with this key."""
        if self._hmac is None:
            return self._verify(signed, self._key, signature)
        expected = self._hmac.copy()
        expected.update(signed)
        return hmac.compare_digest(signature, expected.digest())


class SignedToken:
    """A parsed token; do not trust anything in it before `signer` returns a key."""

    __slots__ = ("_signature", "_signed", "algorithm", "header", "kid", "payload")

    def __init__(self, token: str) -> None:
        """Parse ``token``.

        Raises:
            AuthenticationError: it is not a signed JWT in compact form (RFC 7515, 7.1).
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise AuthenticationError(Refusal.TOO_LONG.value)
        try:
            header, payload, signature = token.split(".")
            self.header = _header_of(header)
            algorithm = self.header["alg"]
            self.payload = _decode_segment(payload)
            self._signature = _decode_segment(signature)
            self._signed = f"{header}.{payload}".encode("ascii")
        # ValueError and RecursionError: not every release of PyJWT catches those of json.
        except (jwt.PyJWTError, ValueError, KeyError, RecursionError):
            # "from None": those errors quote the token.
            raise AuthenticationError(Refusal.INVALID.value) from None
        if not isinstance(algorithm, str):
            raise AuthenticationError(Refusal.INVALID.value)
        self.algorithm: str = algorithm
        self.kid: str | None = self.header.get("kid")

    def signer(self, keys: Iterable[Key]) -> Key | None:
        """Return which of the ``keys`` that fit the token has signed it, or None."""
        for key in keys:
            if key.fits(self.algorithm, self.kid) and key.verify(self._signed, self._signature):
                return key
        return None


@lru_cache(maxsize=16)  # the tokens of one issuer have one header
def _header_of(segment: str) -> Mapping[str, Any]:
    """Return the header of a token from its first segment; PyJWT parses and checks it.

    PyJWT could do the same for the other segments, and check the signature. But its check of their
    spelling takes twice as long as all that is done here, and it prepares the key for each token.

    Raises:
        PyJWTError: it is not the header of a token, or has an unknown critical part.
    """
    parts = _jws.decode_complete(f"{segment}..", options={"verify_signature": False})
    header: dict[str, Any] = parts["header"]
    return header


def _decode_segment(segment: str) -> bytes:
    """Decode base64url (RFC 7515, 2), with or without padding.

    Raises:
        ValueError: it has other characters, or bits that are not used and not zero.
    """
    digits = segment.rstrip("=")
    padding = len(segment) - len(digits)
    if padding and (padding > 2 or len(segment) % 4):
        raise ValueError("the padding must complete the last four characters")
    data = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    # Other characters are left out by the decoder.
    if base64.urlsafe_b64encode(data).rstrip(b"=") != digits.encode():
        raise ValueError("a segment must be base64url")
    return data


class KeySource(Protocol):
    """Provides keys to `JwtAuthenticator`."""

    @property
    def keys(self) -> Sequence[Key]:
        """The keys known now."""

    def reload(self) -> None:
        """Read the files again; never fails, and keeps the keys of one that cannot be read."""

    async def start(self) -> None:
        """Load the keys that are missing; never fails, and takes a few seconds at most."""

    async def aclose(self) -> None:
        """Stop, and release everything."""

    async def learn(self, algorithm: str, kid: str | None) -> bool:
        """Look for the key of a token that no key in `keys` verifies; return whether to try again.

        Raises:
            RefusedError: with code 1013: the key may exist, but cannot be loaded now.
        """


class Authenticator(Protocol):
    """Checks the tokens of clients."""

    def reload(self) -> None:
        """Read the files of keys again; never fails."""

    def check(self, identity: Identity) -> None:
        """Check the token of a known client again; raises as `authenticate`."""

    async def start(self) -> None:
        """Start background tasks; never fails, and takes a few seconds at most."""

    async def aclose(self) -> None:
        """End background tasks."""

    async def authenticate(self, token: str | None) -> Identity:
        """Return the identity of the client that sends ``token``.

        Raises:
            AuthenticationError: the token is missing or bad; code 1008, reason a `Refusal`.
            RefusedError: the token cannot be checked now; code 1013.
        """


class NoAuthenticator:
    """``--auth none``: needs no token, and lets every client see everything."""

    def reload(self) -> None:
        """Do nothing: there are no keys."""

    def check(self, identity: Identity) -> None:
        """Do nothing: every client is accepted."""

    async def start(self) -> None:
        """Do nothing: there are no background tasks."""

    async def aclose(self) -> None:
        """Do nothing: there are no background tasks."""

    async def authenticate(self, token: str | None) -> Identity:
        """Return the anonymous identity, with any token or none."""
        return Identity(ANONYMOUS, None, None)


class JwtAuthenticator:
    """``--auth jwt``: accepts a token if one of the keys has signed it and its claims are valid."""

    def __init__(
        self,
        keys: KeySource,
        audience: str | None = None,
        issuer: str | None = None,
        leeway: float = 0.0,
        clock: Clock = SYSTEM_CLOCK,
        revocations: Revocations | None = None,
    ) -> None:
        """Make an authenticator; see `identity_from` for the arguments.

        Args:
            keys: the keys that may sign tokens.
            audience: value that ``aud`` must be or contain.
            issuer: value that ``iss`` must be.
            leeway: seconds.
            clock: the machine's clock, for the times in tokens.
            revocations: tokens that are no longer accepted; None for none.
        """
        self._revocations = Revocations(loaded=True) if revocations is None else revocations
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway
        self._clock = clock
        self._verified = VerifiedTokens()

    def reload(self) -> None:
        """Read the files of keys again; see `KeySource.reload`."""
        self._keys.reload()

    def check(self, identity: Identity) -> None:
        """Check the token of a client again: whether it was revoked since.

        Raises:
            AuthenticationError: it was; code 1008.
            RefusedError: that is not known yet; code 1013.
        """
        self._revocations.check(identity)

    async def start(self) -> None:
        """Load the keys."""
        await self._keys.start()

    async def aclose(self) -> None:
        """Release the keys."""
        await self._keys.aclose()

    async def authenticate(self, token: str | None) -> Identity:
        """Return the identity of the client; waits only if no known key has signed ``token``.

        Raises:
            AuthenticationError: the token is missing or bad; code 1008, reason a `Refusal`.
            RefusedError: the key that may have signed it cannot be loaded now, or the revocations
                are not known yet; code 1013.
        """
        identity = await self._verify(token)
        # Also for a token that is remembered: it may have been revoked since.
        self._revocations.check(identity)
        return identity

    async def _verify(self, token: str | None) -> Identity:
        if not token:
            raise AuthenticationError(Refusal.REQUIRED.value)
        if identity := self._verified.find(token, self._keys.keys, self._clock.time()):
            return identity
        signed = SignedToken(token)
        key = signed.signer(self._keys.keys)
        if key is None and await self._keys.learn(signed.algorithm, signed.kid):
            key = signed.signer(self._keys.keys)
        if key is None:
            raise AuthenticationError(Refusal.INVALID.value)
        identity = identity_from(
            signed.payload,
            audience=self._audience,
            issuer=self._issuer,
            leeway=self._leeway,
            now=self._clock.time(),
        )
        self._verified.add(token, key, identity)
        return identity


def _algorithm_of(material: object) -> Algorithm:
    """Return the one algorithm of a key; see `Key`."""
    match material:
        case bytes():
            if len(material) < MIN_SECRET_BYTES:
                raise ValueError(
                    f"a secret must have at least {MIN_SECRET_BYTES} bytes (RFC 7518, 3.2)"
                )
            return "HS256"
        case RSAPublicKey():
            if material.key_size < _MIN_RSA_BITS:
                raise ValueError(
                    f"an RSA key must have at least {_MIN_RSA_BITS} bits (RFC 7518, 3.3), "
                    f"got {material.key_size}"
                )
            return "RS256"
        case EllipticCurvePublicKey(curve=SECP256R1()):
            return "ES256"
        case Ed25519PublicKey():
            return "EdDSA"
    raise ValueError("a public key must be of RSA, EC P-256 or Ed25519")
