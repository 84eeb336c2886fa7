"""Keys that sign tokens: which can be read, and which cannot sign."""

from __future__ import annotations

import re

import pytest

from ime_live.errors import SettingsError
from ime_live.gateway.auth.signing_key import read_private_key
from tests.support.rows import each_row


@each_row(
    ("text", "error"),
    [
        ("no key", "expected a private key in PEM form, got something else"),
        ("-----BEGIN PUBLIC KEY-----\n", "got a public key or certificate"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "must not be encrypted"),
        ("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n", "must be one of RSA with 2048 bits, EC P-256"),
    ],
)
def test_private_key_that_cannot_sign_is_an_error(text: str, error: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(error)) as caught:
        read_private_key(text.encode())
    assert "c2VjcmV0" not in str(caught.value)
