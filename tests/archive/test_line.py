"""Lines of an archive: messages as states, events of the recorder, and other texts."""

from __future__ import annotations

import json

import pytest

from ime_live.archive.line import RECORDING, event, opening, read_line
from ime_live.contracts import Contract
from ime_live.errors import FeedError
from tests.archive.states import state
from tests.support.rows import each_row


def test_message_is_read_as_a_state() -> None:
    line = read_line(state("1", 5))
    assert line.is_state
    assert (line.contract_id, line.timestamp) == ("1", "2026-05-23T10:00:00.000005")
    assert json.loads(bytes(line.data)) == {"n": 5}


def test_event_has_the_channel_of_the_recorder() -> None:
    text = event("contract", contract=Contract(contract_id="1", contract_name="A"))
    assert json.loads(text) == {
        "channel": RECORDING,
        "event": "contract",
        "contract": {"contractId": "1", "contractName": "A"},
    }
    line = read_line(text)
    assert not line.is_state
    assert line.contract is not None
    assert line.contract.contract_name == "A"


def test_opening_holds_the_message_unchanged() -> None:
    line = read_line(opening(state("1", 5)))
    assert not line.is_state
    assert bytes(line.state) == state("1", 5)


def test_contract_of_a_newer_recorder_keeps_all_but_its_market() -> None:
    text = event(
        "contract", contract={"contractId": "1", "contractName": "A", "market": "IMEOfNextYear"}
    )
    assert read_line(text).contract == Contract(contract_id="1", contract_name="A")


@each_row(
    "text", [b"", b"[]", b"{}", b'{"channel":"IME Status"}', b'{"channel":1}', b"\xff", b"[" * 9999]
)
def test_other_text_is_refused(text: bytes) -> None:
    with pytest.raises(FeedError, match="not a line of an archive"):
        read_line(text)
