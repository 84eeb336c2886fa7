"""Claims of a verified token become an identity or a refusal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ime_live.contracts import Contract
from ime_live.errors import AuthenticationError, CloseCode
from ime_live.gateway.auth.identity import ANONYMOUS, Identity, Refusal, identity_from
from tests.support.rows import each_row

NOW = 1_780_000_000.0


def identify(
    claims: object, *, audience: str | None = None, issuer: str | None = None, leeway: float = 0.0
) -> Identity:
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return identity_from(payload, audience=audience, issuer=issuer, leeway=leeway, now=NOW)


def refusal(
    claims: object, *, audience: str | None = None, issuer: str | None = None, leeway: float = 0.0
) -> str:
    with pytest.raises(AuthenticationError) as caught:
        identify(claims, audience=audience, issuer=issuer, leeway=leeway)
    assert caught.value.code is CloseCode.POLICY_VIOLATION
    assert caught.value.kind == caught.value.reason
    return caught.value.reason


def test_token_without_claims_is_valid() -> None:
    assert identify({}) == Identity(ANONYMOUS, None, None)


def test_identity_has_the_subject_claim() -> None:
    assert identify({"sub": "desk-7"}).subject == "desk-7"
    assert identify({"sub": ""}).subject == ANONYMOUS
    assert identify({"sub": None}).subject == ANONYMOUS


@each_row(
    "claims",
    [
        {"sub": 7},
        {"exp": "1780000001"},
        {"exp": None},
        {"exp": True},
        {"nbf": []},
        {"nbf": None},
        {"iat": "yesterday"},
        {"iss": 1},
        {"aud": 1},
        {"aud": [1]},
        {"contracts": None},
        {"contracts": 1},
        {"contracts": {"KASH*": True}},
        {"contracts": ["KASH*", 1]},
        {"contracts": ["KASH*", None]},
        {"contracts": [["KASH*"]]},
        [],
        None,
        "text",
        b"",
        b"{",
        b"\xff",
        b'{"exp": 1e999}',
        b'{"exp": NaN}',
        b'{"x": ' + b"[" * 10_000,
    ],
)
def test_malformed_claims_are_refused(claims: object) -> None:
    assert refusal(claims) == Refusal.BAD_CLAIMS


@each_row(
    ("claims", "detail"),
    [
        ({"exp": "soon"}, "exp must be a number of seconds since 1970, got a text"),
        ({"nbf": True}, "nbf must be a number of seconds since 1970, got true"),
        ({"iat": None}, "iat must be a number of seconds since 1970, got null"),
        (
            b'{"exp": 1e999}',
            "exp must be a number of seconds since 1970, got one that is too large",
        ),
        ({"contracts": 5}, "contracts must be a text or a list of texts, got a number"),
        ({"contracts": None}, "contracts must be a text or a list of texts, got null"),
        ({"contracts": {"A": 1}}, "contracts must be a text or a list of texts, got an object"),
        (
            {"contracts": ["A", 1]},
            "contracts must be a text or a list of texts, got a list with a number",
        ),
        ({"sub": 7}, "sub must be a text, got a number"),
        ({"iss": []}, "iss must be a text, got a list"),
        ({"aud": ["a", ["b"]]}, "aud must be a text or a list of texts, got a list with a list"),
        (
            {"sub": 7, "x": 1, "iss": "x", "aud": 5},
            "sub must be a text, got a number; aud must be a text or a list of texts, got a number",
        ),
        (b'{"sub": "\xff"}', "sub must be a text, got one that is not well-formed"),
        (
            b'{"aud": ["\xff"]}',
            "aud must be a text or a list of texts, got one that is not well-formed",
        ),
        ([], "the claims must be a well-formed JSON object"),
        (b"\xff", "the claims must be a well-formed JSON object"),
    ],
)
def test_malformed_claim_is_named(claims: object, detail: str) -> None:
    assert detail_of(claims) == detail


def test_failed_claim_is_named() -> None:
    assert detail_of({"nbf": NOW + 90}) == "nbf is 90 s ahead of this server's clock"
    assert detail_of({"aud": ["x", "y"]}, audience="ime") == "aud must be ime, got x, y"
    assert detail_of({}, audience="ime") == "aud must be ime, got none"
    assert detail_of({"iss": "us"}, issuer="them") == "iss must be them, got us"
    assert len(detail_of({"iss": "x" * 10_000}, issuer="them")) < 200


def detail_of(claims: object, **wanted: str) -> str:
    with pytest.raises(AuthenticationError) as caught:
        identify(claims, **wanted)  # type: ignore[arg-type] # texts alone
    return caught.value.detail


class TestTimes:
    def test_token_expires_at_the_moment_of_exp(self) -> None:
        # RFC 7519, 4.1.4: "on or after which the JWT MUST NOT be accepted".
        assert identify({"exp": NOW + 0.001}).expires == NOW + 0.001
        assert refusal({"exp": NOW}) == Refusal.EXPIRED

    def test_token_expires_after_the_leeway(self) -> None:
        assert identify({"exp": NOW - 29}, leeway=30).expires == NOW + 1
        assert refusal({"exp": NOW - 30}, leeway=30) == Refusal.EXPIRED

    def test_token_without_exp_never_expires(self) -> None:
        assert identify({"iat": 0}).expires is None

    def test_token_is_refused_before_nbf(self) -> None:
        assert refusal({"nbf": NOW + 1}) == Refusal.NOT_YET_VALID
        assert identify({"nbf": NOW})
        assert identify({"nbf": NOW + 30}, leeway=30)
        assert refusal({"nbf": NOW + 31}, leeway=30) == Refusal.NOT_YET_VALID

    @each_row("ahead", [0.5, 2, 1e6])
    def test_token_with_a_future_iat_is_accepted(self, ahead: float) -> None:
        assert identify({"iat": NOW + ahead})


class TestAudienceAndIssuer:
    def test_audience_and_issuer_are_ignored_unless_configured(self) -> None:
        assert identify({"aud": "someone else", "iss": "anyone"})

    @each_row("aud", ["ime-live", ["ime-live"], ["other", "ime-live"]])
    def test_configured_audience_is_accepted(self, aud: object) -> None:
        assert identify({"aud": aud}, audience="ime-live")

    @each_row("aud", ["other", "ime-live2", "ime", [], ["other"], "", None])
    def test_other_audience_is_refused(self, aud: object) -> None:
        assert refusal({"aud": aud}, audience="ime-live") == Refusal.WRONG_AUDIENCE

    def test_missing_audience_is_refused(self) -> None:
        assert refusal({}, audience="ime-live") == Refusal.WRONG_AUDIENCE

    def test_issuer_must_be_the_configured_one(self) -> None:
        assert identify({"iss": "https://a"}, issuer="https://a")
        for claims in ({"iss": "https://ab"}, {"iss": "https:"}, {"iss": None}, {}):
            assert refusal(claims, issuer="https://a") == Refusal.WRONG_ISSUER


class TestContracts:
    FUTURE = Contract(contract_id="1", contract_name="KASHF05")
    OTHER = Contract(contract_id="2", contract_name="SAFF05")

    def test_token_without_contracts_claim_covers_every_contract(self) -> None:
        identity = identify({})
        assert identity.patterns is None
        assert identity.may_see(self.FUTURE)

    def test_contracts_claim_may_be_a_list(self) -> None:
        identity = identify({"contracts": ["KASH*", "id:3"]})
        assert identity.patterns == ("KASH*", "id:3")
        assert identity.may_see(self.FUTURE)
        assert not identity.may_see(self.OTHER)

    def test_contracts_claim_may_be_one_pattern(self) -> None:
        identity = identify({"contracts": "KASH*"})
        assert identity.patterns == ("KASH*",)
        assert identity.may_see(self.FUTURE)
        assert not identity.may_see(self.OTHER)

    @each_row("contracts", [[], "", [""]])
    def test_empty_contracts_claim_covers_no_contract(self, contracts: object) -> None:
        identity = identify({"contracts": contracts})
        assert not identity.may_see(self.FUTURE)
        assert not identity.may_see(self.OTHER)


def test_identity_is_hashable_and_comparable() -> None:
    one, other = Identity("a", 1.0, ("K*",)), Identity("a", 1.0, ("K*",))
    one.may_see(TestContracts.FUTURE)
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(AttributeError):
        one.subject = "b"  # type: ignore[misc]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
claim_names = st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "contracts", "other"])


@given(st.dictionaries(claim_names, json_values).map(json.dumps).map(str.encode) | st.binary())
@settings(deadline=None)
def test_any_claims_are_valid_or_refused(payload: bytes) -> None:
    try:
        outcome: object = identify(payload, audience="a").may_see(TestContracts.FUTURE)
    except AuthenticationError as error:
        outcome = error.reason
    assert outcome in {True, False, *Refusal}
