"""Close reasons: what codes, texts and HTTP statuses mean; the gateway's own texts are known."""

from __future__ import annotations

import pytest

from ime_live.client.protocol import close_reason
from ime_live.errors import (
    AuthenticationError,
    ImeLiveError,
    RefusedError,
    ServiceError,
    UnknownContractError,
    printable_reason,
)
from ime_live.gateway.auth.identity import Refusal
from ime_live.gateway.query import stream_query as session
from tests.support.rows import each_row


@each_row("code", [1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 3000, 4999])
def test_close_codes_after_which_a_client_reconnects(code: int) -> None:
    assert close_reason.error_of_close(code, "going away") is None


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009])
@pytest.mark.parametrize("reason", ["too many messages", ""])
def test_close_codes_after_which_a_client_does_not_reconnect(code: int, reason: str) -> None:
    error = close_reason.error_of_close(code, reason)
    assert type(error) is RefusedError
    assert error.code == code
    assert error.reason == reason or (not reason and str(code) in error.reason)


@each_row("refusal", list(Refusal))
def test_close_reasons_about_tokens_are_distinguished(refusal: Refusal) -> None:
    error = close_reason.error_of_close(1008, refusal.value)
    assert isinstance(error, AuthenticationError)
    assert error.reason == refusal.value


def test_close_reason_names_the_unknown_contract() -> None:
    error = close_reason.error_of_close(1008, f"{session.UNKNOWN}: XYZ")
    assert isinstance(error, UnknownContractError)
    assert str(error) == "unknown contract: XYZ"
    assert (
        type(close_reason.error_of_close(1008, f"{session.NOT_COVERED} by the token: XYZ"))
        is RefusedError
    )


@each_row(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, ServiceError),
        (301, ServiceError),
        (200, ServiceError),
        (429, type(None)),
        (500, type(None)),
        (502, type(None)),
        (503, type(None)),
    ],
)
def test_status_of_a_refused_handshake_becomes_a_close_reason(
    status: int, kind: type[ImeLiveError | None]
) -> None:
    error = close_reason.error_of_status(status)
    assert type(error) is kind
    assert error is None or str(status) in str(error)


@each_row("status", [400, 403, 429, 500, 502, 503, 504])
def test_temporary_status_of_a_proxy_allows_a_reconnect(status: int) -> None:
    assert close_reason.error_of_proxy(status) is None


def test_proxy_authentication_required_is_an_error() -> None:
    error = close_reason.error_of_proxy(407)
    assert isinstance(error, ServiceError)
    assert error.status == 407


@each_row("name", ["A", "می\u200cخواهم", "a\tb…", "می\u200c" * 60, "سکه" * 40, "x" * 500])
def test_contract_is_found_in_a_truncated_close_reason(name: str) -> None:
    reason = printable_reason(f"unknown contract: {name}")
    assert close_reason.is_about(reason, name)
    assert not close_reason.is_about(reason, "B" + name)
