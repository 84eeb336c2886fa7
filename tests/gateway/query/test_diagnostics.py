"""Log lines, refusals and explanations for unknown contracts and parameters."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from ime_live.contracts import Contract
from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.query.http_errors import status_of
from ime_live.gateway.query.stream_query import ContractNotFoundError
from ime_live.registry import Registry
from tests.support.clock import FakeClock

REGISTRY = Registry(
    [
        Contract(contract_id="1", contract_name="KASH05"),
        Contract(contract_id="2", contract_name="Hidden05"),
    ]
)
TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlIG9mIHRoZSB0b2tlbg"


def may_see(contract: Contract) -> bool:
    return contract.contract_id == "1"


def test_unknown_parameter_is_logged_once_per_minute_and_name() -> None:
    clock = FakeClock()
    diagnostics = Diagnostics(clock=clock)
    with capture_logs() as logs:
        for _ in range(3):
            diagnostics.note_parameters("search", ["x", "amp;y"])
        diagnostics.note_parameters("stream by name", ["x"])
        clock.now += 60
        diagnostics.note_parameters("stream by name", ["x"])
    plain = {"event": "unknown query parameter", "log_level": "warning"}
    assert logs == [
        plain | {"parameter": "x", "call": "search"},
        plain
        | {
            "parameter": "amp;y",
            "call": "search",
            "hint": "the URL has &amp; instead of &",
        },
        plain | {"parameter": "x", "call": "stream by name", "repeated": 3},
    ]


def test_invented_parameters_do_not_flood_the_log() -> None:
    diagnostics = Diagnostics(clock=FakeClock())
    with capture_logs() as logs:
        diagnostics.note_parameters("search", [f"x{n}" for n in range(10_000)])
    assert len(logs) < 200


def test_token_in_an_unknown_parameter_is_not_logged() -> None:
    diagnostics = Diagnostics(strict=True)
    with capture_logs() as logs:
        diagnostics.note_parameters("search", [TOKEN, "Bearer " + TOKEN])
        said = diagnostics.explain_unknown(By.NAME, [TOKEN], REGISTRY, may_see)
    assert len(logs) == 3
    with pytest.raises(RefusedError) as caught:
        diagnostics.refuse_parameters([TOKEN])
    for part in TOKEN.split("."):
        assert part not in str(logs) + said.en + said.fa + caught.value.reason


def test_unknown_parameters_are_refused_in_strict_mode() -> None:
    Diagnostics().refuse_parameters(["x"])
    Diagnostics(strict=True).refuse_parameters([])
    with pytest.raises(RefusedError) as caught:
        Diagnostics(strict=True).refuse_parameters(["amp;x", "y"])
    assert caught.value.reason == "unknown parameter: amp;x"
    assert caught.value.code is CloseCode.POLICY_VIOLATION
    assert status_of(caught.value) == 422


def test_refusal_has_an_explanation_beside_its_reason() -> None:
    refusal = ContractNotFoundError(By.NAME, "kash05")
    Diagnostics().explain_refusal(refusal, REGISTRY, may_see)
    assert refusal.reason == "unknown contract: kash05"
    assert refusal.detail == "did you mean KASH05? upper and lower case differ"
    hidden = ContractNotFoundError(By.NAME, "hidden05")
    Diagnostics().explain_refusal(hidden, REGISTRY, may_see)
    assert hidden.detail == ""


def test_unknown_contracts_of_a_call_are_explained() -> None:
    names = ["kash05", "hidden05", "2", "XYZ", "99"]
    with capture_logs() as logs:
        said = Diagnostics().explain_unknown(By.NAME, names, REGISTRY, may_see)
    assert said.en == (
        "unknown contract: kash05 (did you mean KASH05? upper and lower case differ), "
        "hidden05, 2, and 2 more"
    )
    assert "Hidden05" not in said.en + said.fa + str(logs)
    assert [(line["contract"], "hint" in line) for line in logs] == [
        ("kash05", True),
        ("hidden05", False),
        ("2", False),
    ]
