"""Refusals as HTTP: the status and the headers of each kind."""

from __future__ import annotations

from ime_live.errors import AuthenticationError, CloseCode, LimitError, RefusedError
from ime_live.gateway.auth.cors import FOREIGN_ORIGIN
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.http_errors import headers_of, status_of
from ime_live.gateway.query.stream_query import NOT_COVERED, ContractNotFoundError
from tests.support.rows import each_row


@each_row(
    ("refusal", "status"),
    [
        (AuthenticationError("token expired"), 401),
        (RefusedError("contract not covered by the token: A", kind=NOT_COVERED), 403),
        (RefusedError("origin not allowed", kind=FOREIGN_ORIGIN), 403),
        (ContractNotFoundError(By.NAME, "A"), 404),
        (RefusedError("max_rate is not a number", kind="bad max_rate"), 422),
        (LimitError(retry_after=1), 429),
        (LimitError("too many clients", retry_after=1, status=503), 503),
        (RefusedError("no contracts yet", code=CloseCode.TRY_AGAIN_LATER), 503),
        (RefusedError("internal error", code=CloseCode.INTERNAL_ERROR), 500),
    ],
)
def test_refusal_has_its_http_status(refusal: RefusedError, status: int) -> None:
    assert status_of(refusal) == status


def test_code_to_try_again_later_precedes_the_kind_of_refusal() -> None:
    refusal = RefusedError("later", code=CloseCode.TRY_AGAIN_LATER, kind=NOT_COVERED)
    assert status_of(refusal) == 503


@each_row(("seconds", "header"), [(0.2, "1"), (1, "1"), (1.01, "2"), (60, "60")])
def test_retry_after_is_rounded_up_to_whole_seconds(seconds: float, header: str) -> None:
    assert headers_of(LimitError(retry_after=seconds)) == {"Retry-After": header}


def test_missing_token_is_requested_as_a_bearer_token() -> None:
    assert headers_of(AuthenticationError("missing token")) == {"WWW-Authenticate": "Bearer"}
    assert headers_of(RefusedError("no contract")) == {}
