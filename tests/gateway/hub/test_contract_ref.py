"""Contract reference: messages name a contract as the client did."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By, ContractRef

TIMESTAMP = b"2026-05-23T15:10:00.000000"


@pytest.mark.parametrize("by", list(By))
@given(name=st.one_of(st.text(), st.sampled_from(["A", "contractName", '"', "سکه", "12"])))
def test_message_names_contract_as_the_client_did(by: By, name: str) -> None:
    ref = ContractRef.of(by, name)
    assert (ref.by, ref.name) == (by, name)
    message = json.loads(wire.message(ref.envelope, TIMESTAMP, b"{}"))
    assert list(message) == [
        "channel",
        "contractName" if by is By.NAME else "ContractId",
        "timestamp",
        "data",
    ]
    assert list(message.values())[1] == name


@given(st.text())
def test_status_message_names_contract_as_the_client_did(name: str) -> None:
    text = wire.status_message(TIMESTAMP, b'{"feed":null}', [(name, None)])
    assert json.loads(text)["data"]["contracts"] == {name: None}


def test_equal_references_are_one_key() -> None:
    """Subscribers with equal selections share a group."""
    first, second = (ContractRef.of(By.NAME, name) for name in ("A1", "".join(["A", "1"])))
    assert first == second
    assert hash(first) == hash(second)
    assert first != ContractRef.of(By.ID, "A1")
