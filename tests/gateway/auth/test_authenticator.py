"""Tokens found, taken apart, verified: what a client gets for each."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import traceback
from collections.abc import Sequence
from typing import Self

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ime_live.errors import AuthenticationError, CloseCode, RefusedError
from ime_live.gateway.auth.authenticator import (
    Authenticator,
    JwtAuthenticator,
    NoAuthenticator,
    find_token,
)
from ime_live.gateway.auth.identity import ANONYMOUS, Identity, Refusal
from ime_live.gateway.auth.signed_token import MAX_TOKEN_BYTES, Key, SignedToken
from tests.support.clock import FakeClock
from tests.support.rows import each_row
from tests.support.token_keys import (
    CLAIMS,
    EC_KEY,
    ED_KEY,
    KEYS,
    NOW,
    RSA_KEY,
    SECRET,
    SIGNERS,
    TOKEN,
)


class GivenKeys:
    """Keys that never change; notes what it is asked to learn, and may learn it."""

    def __init__(self, *keys: Key, learnt: Key | None = None) -> None:
        self.keys: Sequence[Key] = keys
        self.requested: list[tuple[str, str | None]] = []
        self._learnt = learnt

    def reload(self) -> None: ...

    async def adopt(self, other: Self) -> None: ...

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    async def load_key(self, algorithm: str, kid: str | None) -> bool:
        self.requested.append((algorithm, kid))
        if self._learnt is None:
            return False
        self.keys = [self._learnt]
        return True


def with_keys(
    *keys: Key, audience: str | None = None, issuer: str | None = None, leeway: float = 0.0
) -> JwtAuthenticator:
    return JwtAuthenticator(GivenKeys(*keys), audience, issuer, leeway, clock=FakeClock(NOW))


async def refusal(authenticator: Authenticator, token: str | None) -> str:
    """The reason; checks what holds for every refusal."""
    with pytest.raises(AuthenticationError) as caught:
        await authenticator.authenticate(token)
    error = caught.value
    assert error.code is CloseCode.POLICY_VIOLATION
    assert error.kind == error.reason
    assert error.reason in set(Refusal)
    if token:
        shown = repr(error) + "".join(traceback.format_exception(error))
        assert not any(len(part) > 8 and part in shown for part in set(token.split(".")))
    return error.reason


def encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def forge(header: object, claims: object, secret: bytes | None = None) -> str:
    """A token that PyJWT would not make; signed as HS256 if there is a secret."""
    signed = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
    if secret is None:
        return signed + "."
    return f"{signed}.{encode(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


class TestFindToken:
    @each_row(
        "header",
        [
            "a.b.c",
            "Bearer a.b.c",
            "bearer a.b.c",
            "BEARER a.b.c",
            " Bearer  a.b.c ",
            "Bearer\ta.b.c",
        ],
    )
    def test_token_is_found_in_the_authorization_header(self, header: str) -> None:
        assert find_token(header, [], None) == "a.b.c"

    @each_row(
        "offered",
        [["ime-live", "token.a.b.c"], ["token.a.b.c", "ime-live"], [" ime-live", " token.a.b.c "]],
    )
    def test_token_is_found_in_the_subprotocol(self, offered: list[str]) -> None:
        assert find_token(None, offered, None) == "a.b.c"

    def test_token_is_found_in_the_query(self) -> None:
        assert find_token(None, ["ime-live"], "a.b.c") == "a.b.c"

    def test_header_precedes_subprotocol_and_query(self) -> None:
        assert find_token("Bearer 1", ["token.2"], "3") == "1"
        assert find_token(None, ["token.2"], "3") == "2"
        assert find_token(None, [], "3") == "3"

    @each_row("header", [None, "", "  ", "Bearer", "Bearer ", "Basic YTpi", "a b c"])
    def test_header_without_token_is_skipped(self, header: str | None) -> None:
        assert find_token(header, [], None) is None
        assert find_token(header, ["token.2"], None) == "2"

    @each_row("offered", [[], ["ime-live"], ["token."], ["TOKEN.x"], ["xtoken.x"]])
    def test_subprotocol_without_token_has_none(self, offered: list[str]) -> None:
        assert find_token(None, offered, None) is None

    def test_empty_query_has_no_token(self) -> None:
        assert find_token(None, [], "") is None

    @given(st.text(), st.lists(st.text()), st.text())
    def test_finding_a_token_accepts_any_text(
        self, header: str, offered: list[str], query: str
    ) -> None:
        assert find_token(header, offered, query) != ""


class TestGoodTokens:
    @pytest.mark.parametrize("algorithm", KEYS)
    async def test_token_of_each_algorithm_is_accepted(self, algorithm: str) -> None:
        token = jwt.encode(CLAIMS, SIGNERS[algorithm], algorithm=algorithm)

        identity = await with_keys(KEYS[algorithm]).authenticate(token)

        assert identity == Identity("desk-7", NOW + 60, None)

    @pytest.mark.parametrize("algorithm", KEYS)
    async def test_one_of_several_keys_accepts_the_token(self, algorithm: str) -> None:
        token = jwt.encode(CLAIMS, SIGNERS[algorithm], algorithm=algorithm)

        assert (await with_keys(*KEYS.values()).authenticate(token)).subject == "desk-7"

    async def test_old_and_new_secret_accept_tokens_during_rotation(self) -> None:
        old = Key(b"the secret of last year, soon gone")

        assert await with_keys(old, KEYS["HS256"]).authenticate(TOKEN)

    @pytest.mark.parametrize(
        ("token_kid", "key_kid"), [("a", "a"), ("a", None), (None, "a"), (None, None)]
    )
    async def test_token_is_verified_by_a_key_with_its_kid_or_none(
        self, token_kid: str | None, key_kid: str | None
    ) -> None:
        headers = {"kid": token_kid} if token_kid else None
        token = jwt.encode(CLAIMS, SECRET, headers=headers)

        assert await with_keys(Key(SECRET.encode(), key_kid)).authenticate(token)

    async def test_token_without_claims_is_accepted(self) -> None:
        token = jwt.encode({}, SECRET)

        assert await with_keys(KEYS["HS256"]).authenticate(token) == Identity(ANONYMOUS, None, None)

    async def test_settings_of_audience_issuer_and_leeway_are_applied(self) -> None:
        authenticator = with_keys(KEYS["HS256"], audience="a", issuer="b", leeway=5)
        claims = {"aud": "a", "iss": "b", "exp": NOW - 1, "contracts": "K*"}

        identity = await authenticator.authenticate(jwt.encode(claims, SECRET))
        assert identity == Identity(ANONYMOUS, NOW + 4, ("K*",))

        for claim, value, reason in (
            ("aud", "x", Refusal.WRONG_AUDIENCE),
            ("iss", "x", Refusal.WRONG_ISSUER),
            ("exp", NOW - 5, Refusal.EXPIRED),
            ("nbf", NOW + 6, Refusal.NOT_YET_VALID),
            ("contracts", 5, Refusal.BAD_CLAIMS),
        ):
            token = jwt.encode(claims | {claim: value}, SECRET)
            assert await refusal(authenticator, token) == reason

    async def test_largest_token_is_accepted(self) -> None:
        header, _, signature = jwt.encode({}, SECRET).split(".")
        room = MAX_TOKEN_BYTES - len(header) - len(signature) - 2
        token = jwt.encode({"x": "x" * (room * 3 // 4 - 8)}, SECRET)
        assert MAX_TOKEN_BYTES - 4 < len(token) <= MAX_TOKEN_BYTES

        assert await with_keys(KEYS["HS256"]).authenticate(token)
        assert await refusal(with_keys(KEYS["HS256"]), token + "AAAA") == Refusal.TOO_LONG


class TestBadTokens:
    @pytest.mark.parametrize("token", [None, ""])
    async def test_missing_token_is_refused(self, token: str | None) -> None:
        assert await refusal(with_keys(KEYS["HS256"]), token) == Refusal.REQUIRED

    @pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None])
    @pytest.mark.parametrize("signature", ["", "AAAA"])
    async def test_token_with_alg_none_is_refused(self, alg: str | None, signature: str) -> None:
        token = forge({"alg": alg, "typ": "JWT"}, CLAIMS) + signature

        assert await refusal(with_keys(*KEYS.values()), token) == Refusal.INVALID

    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    @pytest.mark.parametrize("strip", [False, True])
    async def test_public_key_does_not_verify_an_hmac_token(
        self, encoding: Encoding, strip: bool
    ) -> None:
        public = RSA_KEY.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        token = forge({"alg": "HS256"}, CLAIMS, public.strip() if strip else public)

        assert await refusal(with_keys(KEYS["RS256"]), token) == Refusal.INVALID
        assert await refusal(with_keys(*KEYS.values()), token) == Refusal.INVALID

    @pytest.mark.parametrize(
        ("algorithm", "key"),
        [("HS384", "HS256"), ("HS512", "HS256"), ("RS384", "RS256"), ("PS256", "RS256")],
    )
    @pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
    async def test_other_algorithm_of_the_same_key_is_refused(
        self, algorithm: str, key: str
    ) -> None:
        token = jwt.encode(CLAIMS, SIGNERS[key], algorithm=algorithm)

        assert await refusal(with_keys(*KEYS.values()), token) == Refusal.INVALID

    @pytest.mark.parametrize("algorithm", KEYS)
    @pytest.mark.parametrize("claimed", KEYS)
    async def test_token_header_cannot_choose_the_algorithm(
        self, algorithm: str, claimed: str
    ) -> None:
        token = jwt.encode(CLAIMS, SIGNERS[algorithm], algorithm=algorithm)
        _, payload, signature = token.split(".")
        forged = f"{encode(json.dumps({'alg': claimed, 'x': 1}).encode())}.{payload}.{signature}"

        assert await refusal(with_keys(*KEYS.values()), forged) == Refusal.INVALID

    @pytest.mark.parametrize("algorithm", KEYS)
    async def test_tampered_claims_are_refused(self, algorithm: str) -> None:
        token = jwt.encode(CLAIMS, SIGNERS[algorithm], algorithm=algorithm)
        header, _, signature = token.split(".")
        claims = encode(json.dumps(CLAIMS | {"sub": "admin"}).encode())

        tampered = f"{header}.{claims}.{signature}"
        assert await refusal(with_keys(*KEYS.values()), tampered) == Refusal.INVALID

    @pytest.mark.parametrize("algorithm", KEYS)
    @pytest.mark.parametrize("signature", ["", "AAAA", "A" * 86, "A" * 342])
    async def test_other_signature_is_refused(self, algorithm: str, signature: str) -> None:
        token = jwt.encode(CLAIMS, SIGNERS[algorithm], algorithm=algorithm)

        forged = f"{token.rpartition('.')[0]}.{signature}"
        assert await refusal(with_keys(*KEYS.values()), forged) == Refusal.INVALID

    async def test_other_secret_is_refused(self) -> None:
        other = with_keys(Key(b"another secret, also of 32 bytes or more"))

        assert await refusal(other, TOKEN) == Refusal.INVALID

    async def test_unknown_kid_is_refused(self) -> None:
        token = jwt.encode(CLAIMS, SECRET, headers={"kid": "a"})

        assert await refusal(with_keys(Key(SECRET.encode(), "b")), token) == Refusal.INVALID

    async def test_token_without_any_key_is_refused(self) -> None:
        assert await refusal(with_keys(), TOKEN) == Refusal.INVALID

    @pytest.mark.parametrize(
        "header",
        [
            {},
            [],
            "HS256",
            {"alg": ["HS256"]},
            {"alg": {"HS256": 1}},
            {"alg": 256},
            {"alg": "HS256", "kid": 1},
            {"alg": "HS256", "crit": ["exp"], "exp": 1},  # RFC 7515, 4.1.11
            {"alg": "HS256", "crit": []},
            {"alg": "HS256", "crit": ["b64"], "b64": False},  # RFC 7797
            {"alg": "HS256", "b64": False},
        ],
    )
    async def test_token_with_malformed_or_crit_header_is_refused(self, header: object) -> None:
        token = forge(header, CLAIMS, SECRET.encode())

        assert await refusal(with_keys(KEYS["HS256"]), token) == Refusal.INVALID

    @pytest.mark.parametrize(
        "token",
        [
            ".",
            "..",
            "a.b",
            "a.b.c",
            "a.b.c.d.e",
            TOKEN + ".x",
            TOKEN[:-1],
            " " + TOKEN,
            "Bearer " + TOKEN,
            TOKEN + "\n",
            "é" + TOKEN,
            "\ud800." + TOKEN,
            "\0",
            encode(b"[" * 9000) + ".e30.AA",
            encode(b'{"a":' * 2000) + ".e30.AA",
            forge({"alg": "HS256", "x": "\x00" * 50}, CLAIMS, SECRET.encode()).replace("J", "!"),
        ],
    )
    async def test_malformed_token_is_refused(self, token: str) -> None:
        assert await refusal(with_keys(*KEYS.values()), token) == Refusal.INVALID

    @pytest.mark.parametrize("token", ["x" * (MAX_TOKEN_BYTES + 1), "." * 1_000_000])
    async def test_token_beyond_the_limit_is_refused(self, token: str) -> None:
        assert await refusal(with_keys(KEYS["HS256"]), token) == Refusal.TOO_LONG

    async def test_signature_is_checked_before_claims(self) -> None:
        expired = jwt.encode({"exp": NOW - 1}, "another secret, also of 32 bytes or more")

        assert await refusal(with_keys(KEYS["HS256"]), expired) == Refusal.INVALID


class TestKeyRefresh:
    async def test_known_key_causes_no_refresh(self) -> None:
        source = GivenKeys(KEYS["HS256"])

        await JwtAuthenticator(source, clock=FakeClock(NOW)).authenticate(TOKEN)

        assert source.requested == []

    async def test_unknown_key_causes_a_refresh(self) -> None:
        source = GivenKeys(KEYS["RS256"], learnt=Key(EC_KEY.public_key(), "new"))
        token = jwt.encode(CLAIMS, EC_KEY, algorithm="ES256", headers={"kid": "new"})

        assert await JwtAuthenticator(source, clock=FakeClock(NOW)).authenticate(token)
        assert source.requested == [("ES256", "new")]

    async def test_refreshed_keys_may_still_refuse_the_token(self) -> None:
        source = GivenKeys(learnt=Key(ED_KEY.public_key(), "new"))
        token = jwt.encode(CLAIMS, EC_KEY, algorithm="ES256", headers={"kid": "new"})

        assert await refusal(JwtAuthenticator(source), token) == Refusal.INVALID


async def test_gateway_without_authenticator_accepts_every_client() -> None:
    authenticator: Authenticator = NoAuthenticator()
    await authenticator.start()
    for token in (None, "", "anything", TOKEN):
        assert await authenticator.authenticate(token) == Identity(ANONYMOUS, None, None)
    await authenticator.aclose()


def test_reprs_hide_token_and_secret() -> None:
    for thing in (SignedToken(TOKEN), with_keys(KEYS["HS256"]), KEYS["HS256"]):
        assert SECRET not in repr(thing)
        assert not any(part in repr(thing) for part in TOKEN.split("."))


# A token of any sort: text, three arbitrary segments, or a good one with something changed.
json_objects = st.dictionaries(
    st.sampled_from(["alg", "kid", "crit", "b64", "typ", "exp", "sub", "contracts"]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.lists(st.text())
    | st.sampled_from(["none", *KEYS]),
)
segments = st.one_of(
    st.text(),
    st.binary().map(encode),
    json_objects.map(lambda value: encode(json.dumps(value).encode())),
)
tokens = st.one_of(
    st.text(),
    st.lists(segments, max_size=5).map(".".join),
    st.builds(forge, json_objects, json_objects, st.none() | st.just(SECRET.encode())),
    st.builds(
        lambda at, text: TOKEN[:at] + text + TOKEN[at + 1 :],
        st.integers(0, len(TOKEN)),
        st.text(),
    ),
)


@given(tokens)
@example(TOKEN)
@settings(deadline=None)
async def test_any_token_is_accepted_or_refused(token: str) -> None:
    try:
        outcome: object = await with_keys(*KEYS.values()).authenticate(token)
    except RefusedError as error:
        outcome = error.reason
    assert isinstance(outcome, Identity) or outcome in set(Refusal)


@given(st.sampled_from([*KEYS]), st.data())
@settings(deadline=None)
async def test_any_change_of_a_signed_token_is_refused(algorithm: str, data: st.DataObject) -> None:
    token = jwt.encode(CLAIMS, SIGNERS[algorithm], algorithm=algorithm)
    signed_length = token.rindex(".")
    at = data.draw(st.integers(0, signed_length - 1))
    to = data.draw(st.characters(codec="ascii").filter(lambda c: c != token[at]))

    with pytest.raises(AuthenticationError):
        await with_keys(*KEYS.values()).authenticate(token[:at] + to + token[at + 1 :])
