"""Tokens that are remembered: for how long, how many, and what ends it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Self

import jwt
import pytest

from ime_live.errors import AuthenticationError
from ime_live.gateway.auth import authenticator as module
from ime_live.gateway.auth.authenticator import JwtAuthenticator
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.auth.signed_token import Key, SignedToken
from ime_live.gateway.auth.verified_tokens import MAX_LENGTH, VerifiedTokens
from tests.support.clock import GivenClock
from tests.support.token_keys import SECRET

NOW = 1_780_000_000.0
KEY = Key(SECRET.encode())
OTHER = Key(b"another secret of the tests, 32 bytes and more")
IDENTITY = Identity("desk-7", NOW + 60, None, NOW - 60)


class Keys:
    """Keys that a test changes."""

    def __init__(self) -> None:
        self.keys: Sequence[Key] = [OTHER, KEY]

    def reload(self) -> None: ...

    async def adopt(self, other: Self) -> None: ...

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    async def load_key(self, algorithm: str, kid: str | None) -> bool:
        del algorithm, kid
        return False


class Gateway:
    """An authenticator whose clock and keys a test sets."""

    def __init__(self, leeway: float = 0.0) -> None:
        self.now = NOW
        self.keys = Keys()
        self.authenticator = JwtAuthenticator(
            self.keys, leeway=leeway, clock=GivenClock(lambda: round(self.now * 1e6))
        )

    async def refusal(self, token: str) -> str:
        with pytest.raises(AuthenticationError) as caught:
            await self.authenticator.authenticate(token)
        return caught.value.reason


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were parsed and verified, not remembered."""
    tokens: list[str] = []

    class Noted(SignedToken):
        def __init__(self, token: str) -> None:
            tokens.append(token)
            super().__init__(token)

    monkeypatch.setattr(module, "SignedToken", Noted)
    return tokens


def token(**claims: object) -> str:
    return jwt.encode({"sub": "desk-7", "contracts": ["GC*"], **claims}, SECRET)


class TestAuthenticator:
    async def test_token_is_verified_once(self, parsed: list[str]) -> None:
        gateway = Gateway()
        first = await gateway.authenticator.authenticate(token(exp=NOW + 60))
        again = await gateway.authenticator.authenticate(token(exp=NOW + 60))
        assert again is first  # one object for all connections of a client
        assert parsed == [token(exp=NOW + 60)]

    async def test_another_token_of_the_same_client_is_verified(self, parsed: list[str]) -> None:
        gateway = Gateway()
        await gateway.authenticator.authenticate(token(exp=NOW + 60))
        await gateway.authenticator.authenticate(token(exp=NOW + 61))
        assert len(parsed) == 2

    async def test_every_byte_of_a_token_counts(self, parsed: list[str]) -> None:
        gateway = Gateway()
        good = token(exp=NOW + 60)
        await gateway.authenticator.authenticate(good)
        for at in range(len(good)):
            forged = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
            if at == len(good) - 1:
                continue  # the last character has two bits that base64 does not use
            assert await gateway.refusal(forged)
        assert len(parsed) == len(good)

    async def test_cached_token_expires_in_time(self) -> None:
        gateway = Gateway(leeway=5.0)
        await gateway.authenticator.authenticate(token(exp=NOW + 60))
        gateway.now = NOW + 64.9
        assert await gateway.authenticator.authenticate(token(exp=NOW + 60))
        gateway.now = NOW + 65
        assert await gateway.refusal(token(exp=NOW + 60)) == "token expired"

    async def test_cached_token_is_refused_before_nbf_when_the_clock_goes_back(self) -> None:
        gateway = Gateway(leeway=5.0)
        await gateway.authenticator.authenticate(token(nbf=NOW))
        gateway.now = NOW - 5
        assert await gateway.authenticator.authenticate(token(nbf=NOW))
        gateway.now = NOW - 6
        assert await gateway.refusal(token(nbf=NOW)) == "token not yet valid"

    async def test_revoked_key_ends_its_cached_tokens(self) -> None:
        gateway = Gateway()
        await gateway.authenticator.authenticate(token())
        gateway.keys.keys = [OTHER]
        assert await gateway.refusal(token()) == "invalid token"
        gateway.keys.keys = [OTHER, KEY]
        assert await gateway.authenticator.authenticate(token())

    async def test_cached_token_is_verified_again_after_a_refresh_of_keys(
        self, parsed: list[str]
    ) -> None:
        gateway = Gateway()
        await gateway.authenticator.authenticate(token())
        gateway.keys.keys = [Key(SECRET.encode())]
        await gateway.authenticator.authenticate(token())
        await gateway.authenticator.authenticate(token())
        assert len(parsed) == 2

    async def test_refused_tokens_are_not_cached(self, parsed: list[str]) -> None:
        gateway = Gateway()
        for _ in range(2):
            assert await gateway.refusal(token(exp=NOW - 1)) == "token expired"
        assert len(parsed) == 2
        gateway.now = NOW - 2
        assert await gateway.authenticator.authenticate(token(exp=NOW - 1))


class TestVerifiedTokens:
    def test_least_recently_used_token_is_evicted(self) -> None:
        tokens = VerifiedTokens(3)
        for name in "abc":
            tokens.add(name, KEY, IDENTITY)
        assert tokens.find("a", [KEY], NOW)
        tokens.add("d", KEY, IDENTITY)
        assert len(tokens) == 3
        assert tokens.find("b", [KEY], NOW) is None
        assert all(tokens.find(name, [KEY], NOW) for name in "acd")

    def test_expired_token_is_evicted(self) -> None:
        tokens = VerifiedTokens()
        tokens.add("a", KEY, IDENTITY)
        assert tokens.find("a", [KEY], NOW + 60) is None
        assert len(tokens) == 0

    def test_token_added_twice_takes_one_place(self) -> None:
        tokens = VerifiedTokens(2)
        tokens.add("a", KEY, IDENTITY)
        for _ in range(3):
            tokens.add("b", KEY, IDENTITY)
        assert len(tokens) == 2
        assert tokens.find("a", [KEY], NOW)

    def test_long_tokens_are_not_cached(self) -> None:
        tokens = VerifiedTokens()
        tokens.add("x" * (MAX_LENGTH + 1), KEY, IDENTITY)
        tokens.add("x" * MAX_LENGTH, KEY, IDENTITY)
        assert len(tokens) == 1

    def test_token_of_any_characters_is_looked_up(self) -> None:
        tokens = VerifiedTokens()
        for odd in ("", "\udc80", "توکن"):
            assert tokens.find(odd, [KEY], NOW) is None

    def test_cache_holds_no_token_in_clear_text(self) -> None:
        tokens = VerifiedTokens()
        tokens.add("secret" * 10, KEY, IDENTITY)
        kept = [*gc.get_referents(tokens), tokens.__dict__]
        assert "secret" not in repr(kept)
