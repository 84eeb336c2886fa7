"""Keys from the settings: secrets, files and URLs, and errors of wrong ones."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from structlog.testing import capture_logs

from ime_live.errors import AuthenticationError, SettingsError
from ime_live.gateway.auth.authenticator import JwtAuthenticator, NoAuthenticator
from ime_live.gateway.auth.identity import ANONYMOUS, Identity
from ime_live.gateway.auth.keys import Keyring, authenticator_from, keyring_from
from ime_live.settings import AuthMode, AuthSettings
from tests.support.clock import FakeClock
from tests.support.token_keys import EC_KEY, ED_KEY, RSA_KEY, SECRET

NOW = 1_780_000_000.0

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

Write = Callable[[bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file; returns its path."""

    def write(content: bytes) -> str:
        path = tmp_path / "a file"
        path.write_bytes(content)
        return str(path)

    return write


def public_pem(key: PrivateKey, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, form)


def certificate(key: PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an issuer")])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=365))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def key_set(**keys: object) -> bytes:
    """A JWK Set of public keys and secrets, by their kid."""
    algorithms = {
        rsa.RSAPublicKey: "RS256",
        ec.EllipticCurvePublicKey: "ES256",
        ed25519.Ed25519PublicKey: "EdDSA",
        bytes: "HS256",
    }
    jwks = [
        jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True) | {"kid": kid}
        for kid, key in keys.items()
        for type_, algorithm in algorithms.items()
        if isinstance(key, type_)
    ]
    return json.dumps({"keys": jwks}).encode()


def wrong(**settings: str) -> str:
    """Return the error of such settings."""
    with capture_logs(), pytest.raises(SettingsError) as caught:
        keyring_from(AuthSettings(**settings))  # type: ignore[arg-type]
    return str(caught.value)


class TestSecret:
    def test_secret_is_a_key(self) -> None:
        (key,) = keyring_from(AuthSettings(jwt_secret=SECRET)).keys

        assert (key.algorithm, key.kid) == ("HS256", None)

    def test_public_key_is_refused_as_a_secret(self) -> None:
        assert "--jwt-secret" in wrong(jwt_secret=public_pem(RSA_KEY).decode())


class TestPemFile:
    @pytest.mark.parametrize(
        ("pem", "algorithm"),
        [
            (public_pem(RSA_KEY), "RS256"),
            (public_pem(RSA_KEY, PublicFormat.PKCS1), "RS256"),
            (public_pem(EC_KEY), "ES256"),
            (public_pem(ED_KEY), "EdDSA"),
            (b"a comment before it\n" + public_pem(EC_KEY), "ES256"),
            (public_pem(EC_KEY).replace(b"\n", b"\r\n"), "ES256"),
            (certificate(RSA_KEY), "RS256"),
            (certificate(EC_KEY), "ES256"),
            (certificate(ED_KEY), "EdDSA"),
        ],
    )
    def test_pem_file_has_a_public_key_or_certificate(
        self, write: Write, pem: bytes, algorithm: str
    ) -> None:
        (key,) = keyring_from(AuthSettings(jwt_public_key=write(pem))).keys

        assert (key.algorithm, key.kid) == (algorithm, None)

    @pytest.mark.parametrize("key", [RSA_KEY, EC_KEY, ED_KEY])
    @pytest.mark.parametrize("encrypted", [False, True])
    def test_pem_file_with_a_private_key_is_refused(
        self, write: Write, key: PrivateKey, encrypted: bool
    ) -> None:
        cipher = BestAvailableEncryption(b"password") if encrypted else NoEncryption()
        path = write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, cipher))

        text = wrong(jwt_public_key=path)

        assert text.startswith(f"--jwt-public-key {path}: expected a public key, got a private key")

    def test_pem_file_with_an_rsa_private_key_is_refused(self, write: Write) -> None:
        path = write(
            RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )

        assert "expected a public key, got a private key" in wrong(jwt_public_key=path)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"hello",
            b"\x00\xff",
            public_pem(RSA_KEY)[:200],
            public_pem(RSA_KEY).replace(b"M", b"N"),
            certificate(EC_KEY)[:200],
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            RSA_KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
            RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            key_set(a=EC_KEY.public_key()),
        ],
    )
    def test_pem_file_without_a_public_key_is_refused(self, write: Write, content: bytes) -> None:
        path = write(content)

        assert wrong(jwt_public_key=path) == (
            f"--jwt-public-key {path}: expected a public key in PEM form, got something else"
        )

    @pytest.mark.parametrize(
        "key",
        [
            ec.generate_private_key(ec.SECP384R1()).public_key(),
            ed448.Ed448PrivateKey.generate().public_key(),
            rsa.generate_private_key(65537, key_size=1024).public_key(),  # noqa: S505 - too weak
        ],
    )
    def test_pem_file_with_an_unsupported_key_is_refused(
        self,
        write: Write,
        key: ec.EllipticCurvePublicKey | ed448.Ed448PublicKey | rsa.RSAPublicKey,
    ) -> None:
        path = write(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

        text = wrong(jwt_public_key=path)

        assert text.startswith(f"--jwt-public-key {path} cannot be used: ")
        assert "RSA" in text


class TestKeySetFile:
    def test_key_set_file_has_keys_and_secrets(self, write: Write) -> None:
        path = write(key_set(a=RSA_KEY.public_key(), b=EC_KEY.public_key(), c=SECRET.encode()))

        keys = keyring_from(AuthSettings(jwks=path)).keys

        assert [(key.algorithm, key.kid) for key in keys] == [
            ("RS256", "a"),
            ("ES256", "b"),
            ("HS256", "c"),
        ]

    def test_unusable_key_of_a_file_is_skipped(self, write: Write) -> None:
        path = write(key_set(a=b"short", b=EC_KEY.public_key()))

        with capture_logs() as logs:
            (key,) = keyring_from(AuthSettings(jwks=path)).keys

        assert key.kid == "b"
        assert [line["event"] for line in logs] == ["jwks key skipped"]

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"<html>", key_set(), key_set(a=b"short"), public_pem(EC_KEY)]
    )
    def test_key_set_file_without_a_usable_key_is_refused(
        self, write: Write, content: bytes
    ) -> None:
        path = write(content)

        assert wrong(jwks=path).startswith(f"--jwks {path} cannot be used: ")


@pytest.mark.parametrize("option", ["jwt_public_key", "jwks"])
class TestFileThatCannotBeRead:
    def test_missing_key_file_is_refused(self, tmp_path: Path, option: str) -> None:
        path = str(tmp_path / "missing")

        text = wrong(**{option: path})

        flag = f"--{option.replace('_', '-')}"
        assert text == f"{flag} {path} cannot be read: no such file or directory"

    def test_directory_as_key_file_is_refused(self, tmp_path: Path, option: str) -> None:
        assert str(tmp_path) in wrong(**{option: str(tmp_path)})

    def test_impossible_path_of_a_key_file_is_refused(self, option: str) -> None:
        assert f"--{option.replace('_', '-')}" in wrong(**{option: "a\0b"})


class TestUrl:
    async def test_jwks_url_is_not_fetched_before_the_start(self) -> None:
        keyring = keyring_from(AuthSettings(jwks="https://issuer.invalid/jwks.json"))

        assert keyring.keys == ()
        await keyring.aclose()

    def test_jwks_url_must_use_tls(self) -> None:
        assert "https" in wrong(jwks="http://issuer.invalid/jwks.json")
        assert "https" in wrong(jwks="ftp://issuer.invalid/jwks.json")


class TestSeveralSources:
    async def test_key_of_any_source_accepts_the_token(self, tmp_path: Path) -> None:
        pem, jwks = tmp_path / "pem", tmp_path / "jwks"
        pem.write_bytes(public_pem(RSA_KEY))
        jwks.write_bytes(key_set(new=EC_KEY.public_key()))
        authenticator = authenticator_from(
            AuthSettings(jwt_secret=SECRET, jwt_public_key=str(pem), jwks=str(jwks))
        )
        for token in (
            jwt.encode({}, SECRET),
            jwt.encode({}, RSA_KEY, algorithm="RS256", headers={"kid": "any"}),
            jwt.encode({}, EC_KEY, algorithm="ES256", headers={"kid": "new"}),
            jwt.encode({}, EC_KEY, algorithm="ES256"),
        ):
            assert await authenticator.authenticate(token)
        for token in (
            jwt.encode({}, EC_KEY, algorithm="ES256", headers={"kid": "old"}),
            jwt.encode({}, ED_KEY, algorithm="EdDSA"),
        ):
            with pytest.raises(AuthenticationError, match="invalid token"):
                await authenticator.authenticate(token)

    async def test_sources_without_a_url_cannot_refresh(self) -> None:
        keyring = Keyring()
        await keyring.start()
        assert not await keyring.load_key("RS256", "new")
        await keyring.aclose()


class TestAuthenticatorFrom:
    async def test_auth_none_needs_no_authenticator(self) -> None:
        authenticator = authenticator_from(AuthSettings(auth=AuthMode.NONE))

        assert isinstance(authenticator, NoAuthenticator)
        assert await authenticator.authenticate(None) == Identity(ANONYMOUS, None, None)

    async def test_authenticator_takes_every_jwt_setting(self) -> None:
        authenticator = authenticator_from(
            AuthSettings(jwt_secret=SECRET, jwt_audience="a", jwt_issuer="b", jwt_leeway=5),
            clock=FakeClock(NOW),
        )
        assert isinstance(authenticator, JwtAuthenticator)
        await authenticator.start()
        good = {"aud": "a", "iss": "b", "exp": NOW}

        identity = await authenticator.authenticate(jwt.encode(good, SECRET))
        assert identity == Identity(ANONYMOUS, NOW + 5, None)
        for bad in ({"aud": "x"}, {"iss": "x"}, {"exp": NOW - 5}):
            with pytest.raises(AuthenticationError):
                await authenticator.authenticate(jwt.encode(good | bad, SECRET))
        await authenticator.aclose()

    async def test_empty_settings_add_no_limit(self) -> None:
        authenticator = authenticator_from(AuthSettings(jwt_secret=SECRET))

        assert await authenticator.authenticate(jwt.encode({"aud": "x", "iss": "y"}, SECRET))

    def test_errors_of_settings_hide_the_secret(self) -> None:
        secret = public_pem(EC_KEY).decode()

        assert secret not in wrong(jwt_secret=secret)
