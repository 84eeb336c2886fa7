"""Tokens that the command line makes."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from ime_live.contracts import Contract
from ime_live.errors import SettingsError
from ime_live.gateway.auth.authenticator import JwtAuthenticator
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.auth.keys import Keyring
from ime_live.gateway.auth.signed_token import Key
from ime_live.gateway.auth.tokens import create_token, revocation_of
from ime_live.store.revocation import MAX_TIME, read_revocation
from tests.support.clock import FakeClock
from tests.support.rows import each_row
from tests.support.token_keys import SECRET

NOW = 1_780_000_000.5
DAY = 86_400
KEY = Key(SECRET.encode())


async def authenticate(token: str, **settings: Any) -> Identity:  # noqa: ANN401 - of the class
    authenticator = JwtAuthenticator(Keyring([KEY]), clock=FakeClock(NOW), **settings)
    return await authenticator.authenticate(token)


class TestCreateToken:
    async def test_created_token_is_accepted_by_a_gateway(self) -> None:
        token = create_token(SECRET, "desk-7", 30, now=NOW)

        identity = await authenticate(token)

        assert (identity.subject, identity.patterns) == ("desk-7", None)
        assert identity.expires is not None
        assert 0 <= identity.expires - (NOW + 30 * DAY) < 1

    async def test_created_token_has_every_claim(self) -> None:
        token = create_token(SECRET, "desk-7", 0.5, ["KASH*", "id:5"], "aud", "iss", now=NOW)

        identity = await authenticate(token, audience="aud", issuer="iss")

        assert identity.patterns == ("KASH*", "id:5")
        assert identity.may_see(Contract(contract_id="5", contract_name="x"))

    async def test_contracts_claim_may_be_one_pattern_or_absent(self) -> None:
        one = create_token(SECRET, "x", 1, "KASH*", now=NOW)
        nothing = create_token(SECRET, "x", 1, [], now=NOW)

        assert (await authenticate(one)).patterns == ("KASH*",)
        assert (await authenticate(nothing)).patterns == ()

    def test_absent_claims_are_left_out(self) -> None:
        token = create_token(SECRET, "x", 1, audience="", issuer="", now=NOW)

        assert jwt.decode(token, options={"verify_signature": False}).keys() == {
            "sub",
            "iat",
            "exp",
            "jti",
        }

    @each_row("secret", ["", "short", "x" * 31, "é" * 15])
    def test_short_secret_is_refused(self, secret: str) -> None:
        with pytest.raises(SettingsError, match="32 bytes"):
            create_token(secret, "x", 1, now=NOW)

    def test_length_of_a_secret_counts_bytes(self) -> None:
        assert create_token("é" * 16, "x", 1, now=NOW)

    def test_jwk_as_secret_is_refused(self) -> None:
        jwk = '{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0"}'
        with pytest.raises(SettingsError, match="secret") as caught:
            create_token(jwk, "x", 1, now=NOW)
        assert jwk not in str(caught.value)

    @each_row("days", [0, -1, -0.0, float("nan"), float("inf"), 1e308])
    def test_days_must_be_above_0(self, days: float) -> None:
        with pytest.raises(SettingsError, match="days"):
            create_token(SECRET, "x", days, now=NOW)

    async def test_shortest_lifetime_is_valid_now(self) -> None:
        assert await authenticate(create_token(SECRET, "x", 1e-9, now=NOW))

    def test_token_longer_than_a_gateway_reads_is_refused(self) -> None:
        names = [f"KASHF{number:05}" for number in range(2000)]
        with pytest.raises(SettingsError, match="patterns"):
            create_token(SECRET, "x", 1, names, now=NOW)


@each_row(
    ("expires", "until"),
    [
        (1_780_000_100, 1_780_086_500),
        (10**400, MAX_TIME),
        (-(10**400), 1_780_000_000),
        (-86_400, 1_780_000_000),
        (-1e308, 1_780_000_000),
    ],
)
def test_revocation_of_any_expiry_can_be_stored(expires: float, until: int) -> None:
    token = jwt.encode({"jti": "a", "exp": expires}, "s" * 32)
    revocation = revocation_of(token, keep=0, now=1_780_000_000.5)
    assert revocation.expires == until
    assert read_revocation(revocation.key.encode(), revocation.text.encode()) == revocation
