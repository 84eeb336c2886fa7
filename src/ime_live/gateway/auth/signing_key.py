"""Keys that sign tokens, read from the files of an operator. No I/O."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from ime_live.errors import SettingsError
from ime_live.gateway.auth.signed_token import Algorithm, Key


class SigningKey(Struct, frozen=True):
    """A key that signs tokens: a shared secret or a private key.

    Attributes:
        algorithm: algorithm of the signatures.
        material: the bytes of a secret, or a private key of `cryptography`.
        kid: id of the key in the headers of tokens; None without one.
    """

    algorithm: Algorithm
    material: Any
    kid: str | None = None

    def __repr__(self) -> str:
        return f"<SigningKey {self.algorithm} kid={self.kid!r}>"


def read_private_key(pem: bytes, kid: str | None = None) -> SigningKey:
    """Read a private key in PEM form: RSA, EC P-256 or Ed25519.

    Raises:
        SettingsError: this is no such key, or it is encrypted or too weak. The text contains no
            part of it.
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
    """Return a shared secret (``"kty": "oct"``) of a JWK Set, to sign tokens with.

    Args:
        key_set: the set, JSON.
        kid: id of the key; None for the first secret.

    Raises:
        SettingsError: there is no such key.
    """
    try:
        entries = msgspec.json.decode(key_set, type=_SecretKeySet).keys
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise SettingsError(
            "expected a JWK Set, a JSON object with the list `keys`, got something else"
        ) from None
    for each in entries:
        if each.kty == "oct" and each.k and kid in {None, each.kid}:
            try:
                secret = base64.urlsafe_b64decode(each.k + "=" * (-len(each.k) % 4))
                return SigningKey(Key(secret, each.kid).algorithm, secret, each.kid)
            except ValueError as error:
                raise SettingsError(f"the key {each.kid or ''} cannot be used: {error}") from None
    expected = "a secret (oct)" if kid is None else f"a secret (oct) with kid {kid}"
    raise SettingsError(f"the JWK Set must have {expected} to sign with, got none")


class _SecretJwk(Struct):
    kty: str = ""
    kid: str | None = None
    k: str = ""


class _SecretKeySet(Struct):
    keys: list[_SecretJwk]
