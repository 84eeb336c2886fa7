"""Targets: tokens as clients send them, what is in signed ones, and sets of keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, Self

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fuzz.target import Target
from ime_live.contracts import Contract
from ime_live.errors import AuthenticationError, SettingsError
from ime_live.gateway.auth.authenticator import JwtAuthenticator, find_token
from ime_live.gateway.auth.identity import Identity, Refusal
from ime_live.gateway.auth.jwks import read_key_set
from ime_live.gateway.auth.signed_token import Key
from ime_live.gateway.auth.signing_key import read_signing_key
from ime_live.gateway.auth.token_report import inspect_token
from ime_live.gateway.auth.tokens import revocation_of
from ime_live.store.revocation import read_revocation
from tests.support.clock import GivenClock

NOW: Final = 1_780_000_000
"""Unix seconds at which tokens are checked."""

SECRETS: Final = (b"the first secret of the fuzzing run", b"the second secret of the fuzzing run")
"""Shared secrets of the gateway; the second has the key id ``second``."""

EC_KEY: Final = derive_private_key(20_260_523, SECP256R1())
ED_KEY: Final = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"fuzz").digest())
"""Private keys of an issuer, whose public halves the gateway has."""

_KEYS: Final = (
    Key(SECRETS[0]),
    Key(SECRETS[1], "second"),
    Key(EC_KEY.public_key(), "ec"),
    Key(ED_KEY.public_key()),
)
_VERIFIED_BY: Final[Sequence[tuple[Any, str]]] = (
    (SECRETS[0], "HS256"),
    (SECRETS[1], "HS256"),
    (EC_KEY.public_key(), "ES256"),
    (ED_KEY.public_key(), "EdDSA"),
)
_CONTRACT: Final = Contract(contract_id="1", contract_name="KASH", aliases=("سکه",))
_ONLY_SIGNATURE: Final[Any] = dict.fromkeys(
    ("verify_" + name for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")), False
)
_MAX_QUOTED: Final = 8  # characters of a signature that no text may have


class _Keys:
    """The keys of a gateway without a URL."""

    keys = _KEYS

    def reload(self) -> None: ...

    async def adopt(self, other: Self) -> None:
        del other

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    async def load_key(self, algorithm: str, kid: str | None) -> bool:
        del algorithm, kid
        return False


def _authenticate(token: str | None) -> Identity:
    authenticator = JwtAuthenticator(_Keys(), clock=GivenClock(lambda: NOW * 1_000_000))
    identity = _result(authenticator.authenticate(token))
    # The second time it is remembered.
    assert _result(authenticator.authenticate(token)) == identity
    return identity


def _result(work: Coroutine[Any, Any, Identity]) -> Identity:
    """Return the result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        identity: Identity = end.value
        return identity
    raise AssertionError("it waits")


def _check_refusal(refusal: AuthenticationError, token: str) -> None:
    assert refusal.reason in list(Refusal), refusal.reason
    signature = token.rpartition(".")[2]
    said = f"{refusal} {refusal.detail} {refusal.kind}"
    if len(signature) > _MAX_QUOTED:
        assert signature not in said, "a text quotes the token"


def _check_identity(identity: Identity, claims: dict[str, Any]) -> None:
    """Compare an identity with the claims as Python's own reader has them."""
    assert identity.subject == (claims.get("sub") or "anonymous")
    assert identity.token_id == claims.get("jti")
    for name, known in (("exp", identity.expires), ("nbf", identity.begins)):
        assert (name in claims) == (known is not None), name
        if known is not None:
            assert known == float(claims[name]), name
    assert identity.expires is None or identity.expires > NOW
    assert identity.begins is None or identity.begins <= NOW
    patterns = claims.get("contracts")
    assert ("contracts" in claims) == (identity.patterns is not None)
    if identity.patterns is not None:
        assert list(identity.patterns) == ([patterns] if isinstance(patterns, str) else patterns)
    identity.may_see(_CONTRACT)


def read_token(data: bytes) -> None:
    """Authenticate by a header: what is accepted is signed, as PyJWT sees it."""
    header = data.decode("latin-1")
    token = find_token(header, [header], header) or ""
    _inspect(token)
    try:
        identity = _authenticate(token)
    except AuthenticationError as refusal:
        _check_refusal(refusal, token)
        raise
    claims = _verified(token)
    assert claims is not None, "accepted, but PyJWT finds no key that has signed it"
    _check_identity(identity, claims)


def _verified(token: str) -> dict[str, Any] | None:
    for key, algorithm in _VERIFIED_BY:
        with suppress(jwt.PyJWTError):
            found: dict[str, Any] = jwt.decode(
                token, key, algorithms=[algorithm], options=_ONLY_SIGNATURE
            )
            return found
    return None


def _inspect(token: str) -> None:
    """Explain a token, as ``ime-live token inspect`` and ``token revoke`` do."""
    with suppress(AuthenticationError):
        report = inspect_token(token, _KEYS, now=float(NOW))
        assert all(remark for remark in report.remarks)
        with suppress(SettingsError):
            found = revocation_of(token, keep=0, now=float(NOW))
            assert read_revocation(found.key.encode(), found.text.encode()) == found


def read_signed(data: bytes) -> None:
    """Authenticate by a token that is signed, whatever is in its header and its claims.

    The input is both, with a line feed between them.
    """
    header, _, claims = data.partition(b"\n")
    signed = _base64url(header) + b"." + _base64url(claims)
    signature = hmac.digest(SECRETS[0], signed, "sha256")
    token = (signed + b"." + _base64url(signature)).decode()
    _inspect(token)
    try:
        identity = _authenticate(token)
    except AuthenticationError as refusal:
        _check_refusal(refusal, token)
        raise
    said = json.loads(header)
    assert said["alg"] == "HS256"
    assert said.get("kid") in {None, "second"} or isinstance(said["kid"], str)
    assert not said.get("crit"), "a critical part is ignored"
    # Claims that a gateway does not read need not be UTF-8.
    _check_identity(identity, json.loads(claims.decode("utf-8", "replace")))


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def read_keys(data: bytes) -> None:
    """Read a set of keys: those with a secret are never shown, and sign what they verify."""
    try:
        keys = read_key_set(data, secrets=True)
    except ValueError as error:
        _check_quotes(str(error), data)
        raise
    for key in keys:
        assert key.algorithm in {"HS256", "RS256", "ES256", "EdDSA"}
        assert key.kid is None or isinstance(key.kid, str)
        _check_quotes(repr(key).replace(repr(key.kid), ""), data)
        assert not key.verify(b"signed", b"no signature")
    assert all(key.algorithm != "HS256" for key in _public(data)), "a secret from a URL"
    with suppress(SettingsError):
        signer = read_signing_key(data, None)
        token = jwt.encode({}, signer.material, algorithm=signer.algorithm)
        signed, _, signature = token.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        assert any(key.verify(signed.encode(), raw) for key in keys), "signs what none verifies"


class _KeySet(msgspec.Struct):
    keys: list[Any]


def _public(data: bytes) -> Sequence[Key]:
    try:
        return read_key_set(data, secrets=False)
    except ValueError:
        return ()


def _check_quotes(text: str, data: bytes) -> None:
    with suppress(msgspec.MsgspecError, ValueError, RecursionError):
        for each in msgspec.json.decode(data, type=_KeySet).keys:
            secret = each.get("k") if isinstance(each, dict) else None
            if isinstance(secret, str) and len(secret) > _MAX_QUOTED:
                assert secret not in text, "a text quotes a secret"


_CLAIMS: Final = (
    b'"exp":1790000000',
    b'"nbf":1770000000',
    b'"iat":1770000000',
    b'"sub":"alice"',
    b'"jti":"a1"',
    b'"contracts":["KASH*","id:1?"]',
    b'"contracts":"[a-"',
    b'"aud":["x"]',
    b'"iss":"x"',
    b",",
    b'"alg":"HS256"',
    b'"alg":"none"',
    b'"kid":"second"',
    b'"crit":["b64"]',
    b'"b64":false',
    b"null",
    b'"typ":"JWT"',
    b'{"alg":"HS256"}\n{}',
    b"1.5",
    b'"zip":"DEF"',
)

TARGETS: Final = (
    Target(
        "tokens",
        "tokens in headers, subprotocols and queries (`gateway/auth`)",
        read_token,
        (AuthenticationError,),
        (
            b"Bearer ",
            b"token.",
            b".",
            b"=",
            b"-",
            b"_",
            b"eyJhbGciOiJub25lIn0",
            b"eyJhbGciOiJIUzI1NiJ9",
        ),
    ),
    Target(
        "signed-tokens",
        "headers and claims of signed tokens",
        read_signed,
        (AuthenticationError,),
        _CLAIMS,
    ),
    Target(
        "key-sets",
        "JWKS files, also with secrets (`oct`)",
        read_keys,
        (ValueError,),
        (
            b'{"keys":[',
            b"]}",
            b'{"kty":"oct","k":"',
            b'"kid":"a"',
            b'"alg":"HS256"',
            b'"use":"sig"',
            b'"kty":"EC"',
            b'"crv":"P-256"',
            b'"kty":"OKP"',
            b'"crv":"Ed25519"',
            b'"x":"',
            b'"y":"',
            b'"kty":"RSA"',
            b'"n":"',
            b'"e":"AQAB"',
            b'"d":"',
            b'"key_ops":["verify"]',
            b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
    ),
)
