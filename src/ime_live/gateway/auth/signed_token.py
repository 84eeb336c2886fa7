"""Parse tokens, and verify their signatures. No I/O.

Error messages and reprs never contain a token or a part of one.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ime_live.errors import AuthenticationError
from ime_live.gateway.auth.identity import Refusal
from ime_live.settings import MIN_SECRET_BYTES

MAX_TOKEN_BYTES: Final = 16 * 1024
"""Maximum size of a token [bytes]. To read one of this size takes 0.8 ms, a usual one 0.02 ms."""

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]
PUBLIC_KEY_ALGORITHMS: Final = frozenset({"RS256", "ES256", "EdDSA"})

_jws: Final = jwt.PyJWS()
_MIN_RSA_BITS: Final = 2048


class Key:
    """A key that verifies signatures with one algorithm.

    The key determines the algorithm, not the header of a token. This prevents ``alg: none`` and a
    public key as an HMAC secret (RFC 8725, 2.1 and 3.1).
    """

    __slots__ = ("_hmac", "_key", "_verify", "algorithm", "kid")

    def __init__(self, material: object, kid: str | None = None) -> None:
        """Prepare a key.

        Args:
            material: the bytes of a secret, or a public key of `cryptography`.
            kid: id of the key in the headers of tokens; None without one.

        Raises:
            ValueError: no `Algorithm` uses such a key, or the key is too weak.
        """
        self.algorithm = _algorithm_of(material)
        self.kid = kid
        method = jwt.get_algorithm_by_name(self.algorithm)
        try:
            self._key: Any = method.prepare_key(material)
        except jwt.InvalidKeyError as error:
            # PyJWT detects a public key or a JWK that is used as a secret.
            raise ValueError(str(error)) from error
        self._verify = method.verify
        # Keyed once: to copy this object takes a fifth of the time of making a new one.
        self._hmac = hmac.new(material, digestmod="sha256") if isinstance(material, bytes) else None

    def __repr__(self) -> str:
        return f"<Key {self.algorithm} kid={self.kid!r}>"

    def fits(self, algorithm: str, kid: str | None) -> bool:
        """Return whether this key may have signed a token with this header.

        A ``kid`` is a hint (RFC 7515, 4.1.4): if the token or the key has none, it is ignored.
        """
        return algorithm == self.algorithm and (kid is None or self.kid is None or kid == self.kid)

    def verify(self, signed: bytes, signature: bytes) -> bool:
        """Return whether a signature of the bytes ``signed`` was made with this key."""
        if self._hmac is None:
            return self._verify(signed, self._key, signature)
        expected = self._hmac.copy()
        expected.update(signed)
        return hmac.compare_digest(signature, expected.digest())


def _algorithm_of(material: object) -> Algorithm:
    """Return the algorithm of a key; see `Key`."""
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


class SignedToken:
    """A parsed token. Its contents must not be trusted before `signer` returns a key."""

    __slots__ = ("_signature", "_signed", "algorithm", "header", "kid", "payload")

    def __init__(self, token: str) -> None:
        """Parse a token.

        Raises:
            AuthenticationError: this is not a signed JWT in compact form (RFC 7515, 7.1).
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
        # Some releases of PyJWT do not catch the ValueError and RecursionError of json.
        except (jwt.PyJWTError, ValueError, KeyError, RecursionError):
            # "from None", because these errors contain parts of the token.
            raise AuthenticationError(Refusal.INVALID.value) from None
        if not isinstance(algorithm, str):
            raise AuthenticationError(Refusal.INVALID.value)
        self.algorithm: str = algorithm
        self.kid: str | None = self.header.get("kid")

    def signer(self, keys: Iterable[Key]) -> Key | None:
        """Return the key that has signed the token; None if none of the keys has."""
        for key in keys:
            if key.fits(self.algorithm, self.kid) and key.verify(self._signed, self._signature):
                return key
        return None


@lru_cache(maxsize=16)  # all tokens of an issuer have the same header
def _header_of(segment: str) -> Mapping[str, Any]:
    """Return the header of a token from its first segment; PyJWT parses and checks it.

    PyJWT could also parse the other segments, and verify the signature. But its check of the
    encoding alone takes twice as long as this module, and it prepares the key for each token.

    Raises:
        PyJWTError: this is not the header of a token, or it has an unknown critical part.
    """
    parts = _jws.decode_complete(f"{segment}..", options={"verify_signature": False})
    header: dict[str, Any] = parts["header"]
    return header


def _decode_segment(segment: str) -> bytes:
    """Decode base64url (RFC 7515, 2), with or without padding.

    Raises:
        ValueError: the segment has other characters, or unused bits that are not zero.
    """
    digits = segment.rstrip("=")
    padding = len(segment) - len(digits)
    if padding and (padding > 2 or len(segment) % 4):
        raise ValueError("the padding must complete the last four characters")
    data = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    # The decoder ignores other characters and unused bits.
    if base64.urlsafe_b64encode(data).rstrip(b"=") != digits.encode():
        raise ValueError("a segment must be base64url")
    return data
