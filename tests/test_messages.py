"""Messages: the types say what the gateway's bytes are, and what of a client's is meant for us."""

from __future__ import annotations

import json

import pytest
from msgspec import UNSET

from ime_live.errors import ControlError
from ime_live.gateway.hub import frames as wire
from ime_live.market import SECTIONS, PayloadSections, sections_of
from ime_live.market_json import read_payload
from ime_live.messages import (
    CONTROL,
    STATUS,
    STREAM,
    Action,
    ControlMessage,
    ControlRequest,
    StatusMessage,
    StreamMessage,
    read_message,
    read_request,
)
from tests.support.payloads import payload
from tests.support.rows import each_row

TIMESTAMP = b"2026-05-23T15:10:00.000000"


def test_gateway_and_the_types_use_the_same_words() -> None:
    assert (wire.CHANNEL, wire.STATUS_CHANNEL, wire.CONTROL_CHANNEL) == (STREAM, STATUS, CONTROL)


def test_message_of_a_state_to_the_letter() -> None:
    data = payload(5)
    text = wire.message(wire.envelope_by_name("سکه"), TIMESTAMP, data.to_json())
    message = read_message(text)
    assert isinstance(message, StreamMessage)
    assert (message.contract_name, message.contract_id) == ("سکه", UNSET)
    assert (message.timestamp, message.skipped) == (TIMESTAMP.decode(), UNSET)
    assert message.data == sections_of(data, SECTIONS)


def test_message_of_sections_and_skipped_count_to_the_letter() -> None:
    part = sections_of(payload(5), ["ContractInfo"])
    text = wire.message(wire.envelope_by_id("1"), TIMESTAMP, part.to_json(), 3)
    message = read_message(text)
    assert isinstance(message, StreamMessage)
    assert (message.contract_id, message.skipped, message.data) == ("1", 3, part)
    assert list(json.loads(text)["data"]) == ["ContractInfo"]


def test_status_message_to_the_letter() -> None:
    feed = b'{"feed":"live","since":null,"lastBoard":null,"current":true,"markets":{}}'
    message = read_message(wire.status_message(TIMESTAMP, feed, [("A", None)]))
    assert isinstance(message, StatusMessage)
    assert message.data.contracts == {"A": None}


def test_answer_of_a_command_to_the_letter() -> None:
    said = b'{"id":1,"action":null,"contract_names":[],"contract_ids":["1"],"errors":[]}'
    message = read_message(wire.control_message(TIMESTAMP, said))
    assert isinstance(message, ControlMessage)
    assert (message.data.id, message.data.contract_ids) == (1, ["1"])


@pytest.mark.parametrize(
    "text",
    [
        "", "ping", "[]", "7", '"subscribe"', "{}", '{"channel": "subscribe"}', b"\xff", "[" * 9999,
        "\ufeff", "\ufeffping", '\ufeff{"a": 1}', "{", '{"a": 1,}', '{"a": NaN}', '{"reaction": 1',
        '{"a": {"action": "subscribe"}', '{"a": ["action"', '{"a": "action"', '["action": 1',
        '"action":', "{'a': 'action'", '{"a": "\\"action\\":"', '{"a":' + "[" * 9999, "\ud800",
        '42["action", {"action": 1}]', '{"a": 1e999}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("binary", [False, True])
def test_message_without_an_action_is_ignored(text: str | bytes, binary: bool) -> None:
    assert read_request(text, binary=binary) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"action": "subscribe"', '{"action": "subscribe",}', "{'action': 'subscribe'}", "{action:",
        '{"action": NaN}', '{"action": "subscribe"} x', '{"action": "subscribe" "id": 7}',
        '{"id": 1e999, "action": "subscribe"}', '{"action": "subscribe", "id": 1e999}',
        '{"action"}', '\n {"a": {"b": [1, {}]}, "action": ', '{"action":' + "[" * 9999,
        b'{"action": "\xff"}', '{"action": "\ud800"}', '\ufeff{"action": "subscribe"',
    ],
)  # fmt: skip
@pytest.mark.parametrize("binary", [False, True])
def test_malformed_message_with_an_action_is_an_error(text: str | bytes, binary: bool) -> None:
    with pytest.raises(ControlError, match="a control message must be valid JSON: "):
        read_request(text, binary=binary)


@each_row(
    ("text", "binary", "error"),
    [
        ('{"action": "subscribe", "id": 7}', True, "must be text, got binary"),
        ('{"action": "nonsense", "id": 7}', True, "must be text, got binary"),
        ('\ufeff{"action": "subscribe", "id": 7}', False, "got a byte-order mark"),
        (b'\xef\xbb\xbf{"action": "x", "id": 7}', False, "got a byte-order mark"),
    ],
)
def test_message_in_a_wrong_wrapping_is_an_error_that_names_its_id(
    text: str | bytes, binary: bool, error: str
) -> None:
    with pytest.raises(ControlError, match=error) as caught:
        read_request(text, binary=binary)
    assert caught.value.id == 7


def test_well_formed_command_is_read() -> None:
    text = '{"action": "subscribe", "contract_names": ["A"], "contract_ids": [1, "2"]}'
    request = ControlRequest(action=Action.SUBSCRIBE, contract_names=("A",), contract_ids=(1, "2"))
    assert read_request(text) == request
    assert read_request(request.to_json()) == request


@each_row(
    ("text", "error"),
    [
        ('{"action": "sub"}', "action is neither subscribe nor unsubscribe: sub"),
        ('{"action": null}', "action is neither subscribe nor unsubscribe: None"),
        ('{"action": "subscribe", "contract_names": "A"}', r"at `\$.contract_names`"),
        ('{"action": "subscribe", "contract_ids": [1.5]}', r"at `\$.contract_ids\[0\]`"),
        ('{"action": "subscribe", "id": {}}', r"at `\$.id`"),
        ('{"action": "subscribe", "contract_name": ["A"]}', "unknown field `contract_name`"),
    ],
)
def test_malformed_command_names_the_fault(text: str, error: str) -> None:
    with pytest.raises(ControlError, match=error):
        read_request(text)


def test_error_of_a_command_has_its_id() -> None:
    with pytest.raises(ControlError) as caught:
        read_request('{"action": "sub", "id": "seven"}')
    assert caught.value.id == "seven"


class TestPayloadSections:
    def test_sections_are_in_the_documented_order(self) -> None:
        part = sections_of(payload(1), ["ContractInfo", "BestLimit"])
        assert list(json.loads(part.to_json())) == ["BestLimit", "ContractInfo"]

    def test_all_sections_together_are_the_payload(self) -> None:
        whole = payload(1)
        assert sections_of(whole, SECTIONS).to_json() == whole.to_json()
        assert read_payload(sections_of(whole, SECTIONS).to_json()) == whole

    def test_payload_without_sections_is_empty(self) -> None:
        assert sections_of(payload(1), []) == PayloadSections()

    def test_levels_of_a_part_are_found_by_name(self) -> None:
        best_limit = payload(1).best_limit
        levels = [best_limit.first, best_limit.second, best_limit.third]
        assert [best_limit[level] for level in ("1", 2, "3")] == levels
        with pytest.raises(KeyError):
            best_limit["4"]
