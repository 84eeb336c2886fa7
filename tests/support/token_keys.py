"""Keys for tokens, one for each algorithm, and a token that is signed with a secret."""

from __future__ import annotations

from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ime_live.gateway.auth.signed_token import Key

NOW: Final = 1_780_000_000.0
SECRET: Final = "a secret of the tests, 32 bytes and more"
CLAIMS: Final = {"sub": "desk-7", "exp": NOW + 60}

RSA_KEY: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY: Final = ec.generate_private_key(ec.SECP256R1())
ED_KEY: Final = ed25519.Ed25519PrivateKey.generate()
SIGNERS: Final[dict[str, Any]] = {
    "HS256": SECRET,
    "RS256": RSA_KEY,
    "ES256": EC_KEY,
    "EdDSA": ED_KEY,
}
KEYS: Final = {
    "HS256": Key(SECRET.encode()),
    "RS256": Key(RSA_KEY.public_key()),
    "ES256": Key(EC_KEY.public_key()),
    "EdDSA": Key(ED_KEY.public_key()),
}
TOKEN: Final = jwt.encode(CLAIMS, SECRET)
