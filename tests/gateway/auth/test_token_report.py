"""Tokens explained to a person."""

from __future__ import annotations

import re
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from ime_live.errors import AuthenticationError, RefusedError
from ime_live.gateway.auth.authenticator import JwtAuthenticator
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.auth.keys import Keyring
from ime_live.gateway.auth.signed_token import Key
from ime_live.gateway.auth.token_report import Signature, TokenReport, inspect_token
from ime_live.gateway.auth.tokens import create_token
from tests.support.clock import FakeClock
from tests.support.rows import each_row
from tests.support.token_keys import SECRET

NOW = 1_780_000_000.5
DAY = 86_400
KEY = Key(SECRET.encode())
OTHER_KEY = Key(b"another secret, also of 32 bytes or more")
EC_KEY = ec.generate_private_key(ec.SECP256R1())


async def authenticate(token: str, **settings: Any) -> Identity:  # noqa: ANN401 - of the class
    authenticator = JwtAuthenticator(Keyring([KEY]), clock=FakeClock(NOW), **settings)
    return await authenticator.authenticate(token)


class TestInspectToken:
    def test_report_of_a_valid_token(self) -> None:
        token = create_token(SECRET, "desk-7", 30, ["KASH*", "SAF*"], now=NOW)

        report = inspect_token(token, [KEY], now=NOW + 3600)

        assert report.header == {"alg": "HS256", "typ": "JWT"}
        assert report.claims["sub"] == "desk-7"
        assert report.expires == "2026-06-27 20:26:41 UTC"
        assert report.signature is Signature.VERIFIED
        assert report.accepted is True
        assert report.remarks == (
            "expires in 29 days",
            "shows the contracts that match KASH*, SAF*",
        )

    def test_report_without_keys_leaves_the_signature_open(self) -> None:
        report = inspect_token(create_token(SECRET, "x", 1, now=NOW), now=NOW)

        assert report.signature is Signature.NOT_VERIFIED
        assert report.accepted is None
        assert any("no key" in remark for remark in report.remarks)

    def test_report_names_a_wrong_key(self) -> None:
        report = inspect_token(create_token(SECRET, "x", 1, now=NOW), [OTHER_KEY], now=NOW)

        assert report.signature is Signature.BAD
        assert report.accepted is False
        assert "no key at hand has signed it" in report.remarks

    @pytest.mark.parametrize(
        ("kid", "remark"),
        [
            (None, "no key at hand is for alg ES256"),
            ("k1", "no key at hand is for alg ES256 and kid k1"),
        ],
    )
    def test_report_names_a_missing_kind_of_key(self, kid: str | None, remark: str) -> None:
        headers = {"kid": kid} if kid else None
        token = jwt.encode({}, EC_KEY, algorithm="ES256", headers=headers)

        report = inspect_token(token, [KEY], now=NOW)

        assert report.signature is Signature.BAD
        assert remark in report.remarks

    @each_row(
        ("seconds", "text"),
        [
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (3599, "59 minutes"),
            (3600, "1 hour"),
            (2 * 3600, "2 hours"),
            (DAY, "1 day"),
            (29 * DAY + 3600, "29 days"),
        ],
    )
    def test_report_shows_the_lifetime(self, seconds: int, text: str) -> None:
        token = jwt.encode({"exp": NOW}, SECRET)

        assert f"expires in {text}" in inspect_token(token, [KEY], now=NOW - seconds).remarks
        late = inspect_token(token, [KEY], now=NOW + seconds)
        assert f"expired {text} ago" in late.remarks
        assert "a gateway refuses it: token expired" in late.remarks
        assert late.signature is Signature.VERIFIED
        assert late.accepted is False

    def test_report_of_a_token_that_never_expires(self) -> None:
        report = inspect_token(jwt.encode({}, SECRET), [KEY], now=NOW)

        assert report.expires == "never"
        assert report.remarks == ("never expires", "shows every contract")

    @each_row(
        ("claims", "remark"),
        [
            ({"aud": "x"}, "a gateway refuses it: wrong audience"),
            ({"aud": "a", "iss": "x"}, "a gateway refuses it: wrong issuer"),
            ({"nbf": NOW + 9}, "a gateway refuses it: token not yet valid"),
            ({"contracts": 5}, "a gateway refuses it: invalid claims"),
            ({"aud": "a", "iss": "b", "contracts": []}, "shows no contract"),
        ],
    )
    def test_report_quotes_the_refusal_of_a_gateway(
        self, claims: dict[str, object], remark: str
    ) -> None:
        token = jwt.encode(claims, SECRET)

        report = inspect_token(token, [KEY], audience="a", issuer="b", now=NOW)

        assert remark in report.remarks
        if report.accepted is False:  # the claim that is wrong is named
            claim = next(name for name in ("contracts", "nbf", "iss", "aud") if name in claims)
            assert report.remarks[-1].startswith(f"{claim} ")

    @each_row(("exp", "text"), [("soon", "not a date"), (None, "not a date"), (1e30, "not a date")])
    def test_report_of_an_exp_that_is_not_a_date(self, exp: object, text: str) -> None:
        assert inspect_token(jwt.encode({"exp": exp}, SECRET), [KEY], now=NOW).expires == text

    def test_report_applies_the_leeway(self) -> None:
        token = jwt.encode({"exp": NOW - 5}, SECRET)

        assert inspect_token(token, [KEY], leeway=10, now=NOW).accepted is True

    @each_row("token", ["", "x", "a.b.c", "x" * 20_000])
    def test_malformed_token_is_refused(self, token: str) -> None:
        with pytest.raises(AuthenticationError):
            inspect_token(token, [KEY], now=NOW)

    def test_claims_must_be_an_object(self) -> None:
        with pytest.raises(AuthenticationError, match="invalid claims") as caught:
            inspect_token(jwt.PyJWS().encode(b"[]", SECRET), [KEY], now=NOW)
        assert caught.value.detail == "the claims must be a well-formed JSON object"

    def test_report_is_json_and_hides_the_token(self) -> None:
        token = create_token(SECRET, "desk-7", 30, now=NOW)
        report = inspect_token(token, [KEY], now=NOW)

        assert not any(part in repr(report) for part in token.split("."))
        assert msgspec.json.decode(msgspec.json.encode(report), type=TokenReport) == report


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["exp", "nbf", "contracts", "sub", "x"]), json_values))
@settings(deadline=None)
def test_report_exists_for_any_claims(claims: dict[str, Any]) -> None:
    payload = msgspec.json.encode(claims)
    try:
        report = inspect_token(jwt.PyJWS().encode(payload, SECRET), [KEY], now=NOW)
    except RefusedError:
        return
    assert report.signature is Signature.VERIFIED


@pytest.mark.parametrize("expires", [10**400, -(10**400)], ids=["future", "past"])
def test_expiry_beyond_all_numbers_is_reported_as_none(expires: int) -> None:
    report = inspect_token(jwt.encode({"exp": expires}, "s" * 32), now=NOW)
    assert report.expires == "not a date"
    assert "exp is not a number of seconds" in report.remarks


@each_row(
    ("token", "detail"),
    [
        ("abc", "a token must have three parts separated by dots, .*, got 1"),
        ("a.b.c.d", "a token must have three parts separated by dots, .*, got 4"),
        ("", "a token must have three parts separated by dots, .*, got 1"),
        ("e30.e30.", "the signature of a token must be base64url"),
        ("e30.ü.e30", "the claims of a token must be base64url"),
        ("abcde.e30.e30", "the header of a token must be base64url"),
        ("e30.e30.e30", "the header of a token must be a JSON object with alg"),
        ("W10.e30.e30", "the header of a token must be a JSON object with alg"),
        ("x" * 20_000, "a token must have at most 16384 bytes, got 20000"),
    ],
)
def test_inspection_says_why_a_text_is_no_token(token: str, detail: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        inspect_token(token, now=NOW)
    assert re.match(detail, caught.value.detail)
    assert caught.value.reason in {"invalid token", "token too long"}
