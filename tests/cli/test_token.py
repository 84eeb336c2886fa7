"""`ime-live token`: create, inspect and revoke."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ime_live.gateway.auth.tokens import create_token

Run = Callable[..., subprocess.CompletedProcess[str]]

SECRET = "made up for the tests, 32 bytes "
OTHER = "another one, made up for the tests"


@pytest.fixture
def token() -> str:
    return create_token(SECRET, "alice", 1, now=time.time())


def test_token_create_and_inspect(ime_live: Run) -> None:
    done = ime_live(
        *("token", "create", "--subject", "alice", "--days", "2.5"),
        *("--contracts", "KASH*", "--contracts", "SAF*"),
        *("--jwt-audience", "ime", "--jwt-issuer", "us"),
        IME_LIVE_JWT_SECRET=SECRET,
    )
    assert (done.returncode, done.stderr) == (0, "")
    token = done.stdout.strip()
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="ime", issuer="us")
    assert (claims["sub"], claims["contracts"]) == ("alice", ["KASH*", "SAF*"])
    assert claims["exp"] - claims["iat"] == pytest.approx(2.5 * 86_400, abs=1)

    done = ime_live("token", "inspect", token)  # without a key
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, report["accepted"]) == (0, None)
    assert report["claims"] == claims
    assert report["signature"] == "not verified"

    # As it is copied from a request's header, through a pipe.
    given = {"IME_LIVE_JWT_SECRET": SECRET, "IME_LIVE_JWT_AUDIENCE": "ime"}
    done = ime_live("token", "inspect", "-", stdin=f"Bearer {token}\n", **given)
    report = json.loads(done.stdout)
    assert (done.returncode, report["accepted"]) == (0, True)
    assert "expires in 2 days" in report["remarks"]


@pytest.mark.parametrize(
    ("options", "remark"),
    [
        (["--jwt-secret", OTHER], "no key at hand has signed it"),
        (["--jwt-secret", SECRET, "--jwt-issuer", "them"], "a gateway refuses it: "),
    ],
)
def test_inspect_reports_the_refusal_of_a_gateway(
    ime_live: Run, token: str, options: list[str], remark: str
) -> None:
    done = ime_live("token", "inspect", token, *options)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["accepted"] is False
    assert any(each.startswith(remark) for each in report["remarks"])
    assert SECRET not in done.stdout + done.stderr


def test_inspect_of_a_malformed_token_is_an_error(ime_live: Run) -> None:
    done = ime_live("token", "inspect", "-", stdin=b"\xff\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "ime-live: invalid token; a token must have three parts separated by dots, as "
        "header.claims.signature, got 1\n"
    )


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([], "a secret must be given to sign with, got none; set --jwt-secret or"),
        (
            ["--jwt-secret", "geheim"],
            "the secret must have at least 32 bytes for HS256 (RFC 7518, 3.2), got 6",
        ),
        (["--jwt-secret", SECRET, "--subject", " "], "--subject must not be empty, got ' '"),
        (["--jwt-secret", SECRET, "--contracts", ""], "--contracts must not be empty, got ''"),
        (
            ["--jwt-secret", SECRET, "--contracts", "KASH*", "--contracts", " "],
            "--contracts must not be empty, got ' '; leave it out to allow all",
        ),
    ],
)
def test_wrong_use_of_token_is_status_2(ime_live: Run, options: list[str], error: str) -> None:
    done = ime_live("token", "create", "--subject", "alice", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"ime-live: {error}")
    assert done.stderr.count("\n") == 1
    assert "geheim" not in done.stderr
    assert SECRET not in done.stderr


def test_unreadable_key_is_an_error(ime_live: Run, token: str, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    done = ime_live("token", "inspect", token, "--jwt-public-key", "key.pem")
    assert (done.returncode, done.stdout) == (2, "")
    reason = "expected a public key in PEM form, got something else"
    assert done.stderr == f"ime-live: --jwt-public-key key.pem: {reason}\n"


def test_inspect_names_the_wrong_claim(ime_live: Run) -> None:
    claims = {"sub": "alice", "exp": "2026-12-01", "contracts": ["KASH*", 5]}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    done = ime_live("token", "inspect", token, "--jwt-secret", SECRET)
    assert done.returncode == 1
    assert json.loads(done.stdout)["remarks"][-2:] == [
        "a gateway refuses it: invalid claims",
        (
            "exp must be a number of seconds since 1970, got a text; "
            "contracts must be a text or a list of texts, got a list with a number"
        ),
    ]
    token = jwt.PyJWS().encode(b"[]", SECRET)
    done = ime_live("token", "inspect", token, "--jwt-secret", SECRET)
    assert done.returncode == 1
    assert done.stderr == (
        "ime-live: invalid claims; the claims must be a well-formed JSON object\n"
    )


def test_create_signs_with_a_private_key_and_names_it(ime_live: Run, tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    file = tmp_path / "key.pem"
    plain = NoEncryption()
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain))
    done = ime_live(
        "token", "create", "--subject", "x", "--private-key", str(file), "--kid", "2026-12"
    )
    token = done.stdout.strip()
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": "2026-12", "typ": "JWT"}
    assert jwt.decode(token, private.public_key(), algorithms=["EdDSA"])["sub"] == "x"


def test_create_signs_with_a_secret_of_a_key_set(ime_live: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
    keys = [{"kty": "EC", "kid": "e"}, {"kty": "oct", "kid": "new", "k": secret}]
    file.write_text(json.dumps({"keys": keys}))
    done = ime_live("token", "create", "--subject", "x", "--jwks", str(file))
    assert jwt.get_unverified_header(done.stdout.strip())["kid"] == "new"
    jwt.decode(done.stdout.strip(), SECRET, algorithms=["HS256"])
    done = ime_live("token", "create", "--subject", "x", "--jwks", str(file), "--kid", "old")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the JWK Set must have a secret (oct) with kid old to sign with" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "one of TOKEN, --jti and --subject must be given"),
        (["--jti", "1", "--subject", "x"], "must be given, got 2 of them"),
        (["--subject", " "], "the sub of a revocation must not be empty"),
        (["--jti", "1", "--keep", "-1"], "--keep must be a number of days of at least 0, got -1"),
    ],
)
def test_revoke_with_wrong_arguments_names_the_fault(
    ime_live: Run, arguments: list[str], error: str
) -> None:
    done = ime_live("token", "revoke", *arguments)
    assert done.returncode == 2
    assert error in done.stderr
