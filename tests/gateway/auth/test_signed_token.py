"""Tokens taken apart, and the keys that verify them."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from ime_live.errors import AuthenticationError
from ime_live.gateway.auth.signed_token import Key, SignedToken
from tests.support.rows import each_row
from tests.support.token_keys import EC_KEY, ED_KEY, KEYS, RSA_KEY, SECRET, TOKEN


class TestKey:
    def test_key_fixes_the_algorithm(self) -> None:
        assert {name: key.algorithm for name, key in KEYS.items()} == {k: k for k in KEYS}

    @each_row(
        "material",
        [
            b"31 bytes are not enough for it.",
            b"",
            "a str is not bytes, however long it may be",
            RSA_KEY,
            EC_KEY,
            ED_KEY,
            ec.generate_private_key(ec.SECP384R1()).public_key(),
            ec.generate_private_key(ec.SECP256K1()).public_key(),
            ed448.Ed448PrivateKey.generate().public_key(),
            rsa.generate_private_key(65537, key_size=1024).public_key(),  # noqa: S505 - too weak
            RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            b'{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}',
        ],
    )
    def test_key_of_another_type_is_refused(self, material: object) -> None:
        with pytest.raises(ValueError, match=r"\w"):
            Key(material)

    def test_repr_of_key_hides_the_secret(self) -> None:
        assert repr(Key(SECRET.encode(), "k1")) == "<Key HS256 kid='k1'>"


@given(st.text("AQg-_=+/.é", max_size=12))
@example("QQ==")
@example("QR")  # bits that are not used and not zero
@example("QUI=")
@example("QUJD====")
def test_segments_are_read_as_pyjwt_reads_them(segment: str) -> None:
    header = TOKEN.partition(".")[0]
    token = f"{header}.{segment}.{segment}"
    try:
        expected = jwt.PyJWS().decode_complete(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        with pytest.raises(AuthenticationError):
            SignedToken(token)
    else:
        assert SignedToken(token).payload == expected["payload"]


@pytest.mark.parametrize("extra", [{"crit": ["exp"]}, {"crit": ["b64"], "b64": False}])
def test_token_with_an_unknown_critical_header_is_refused_each_time(extra: dict[str, Any]) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256"} | extra).encode())
    token = f"{header.rstrip(b'=').decode()}.{TOKEN.partition('.')[2]}"

    for _ in range(2):
        with pytest.raises(AuthenticationError):
            SignedToken(token)
