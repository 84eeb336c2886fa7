"""Records of the store: which replies are a last state, and which are refused."""

from __future__ import annotations

from datetime import datetime

import pytest
from redis.exceptions import ResponseError

from ime_live.errors import PayloadError
from ime_live.store.records import (
    LastState,
    Lifted,
    is_bad_data,
    lifted,
    state_in,
    timestamp_in,
    version_in,
)
from tests.support.payloads import payload
from tests.support.rows import each_row

LATEST = 1_780_000_000_000_000


def test_last_state_is_read_with_its_version() -> None:
    state = state_in(b"5", payload(7).to_json(), (b"4", None), LATEST)
    assert state == LastState(5, payload(7).to_json(), b"4", b"")
    assert isinstance(state, LastState)
    assert (state.read().version, state.read().payload) == (5, payload(7))


@each_row(
    ("version", "data", "missing"),
    [(None, None, "both"), (b"5", None, "data"), (None, b"{}", "version")],
)
def test_last_state_without_version_or_data_is_refused(
    version: bytes | None, data: bytes | None, missing: str
) -> None:
    found = state_in(version, data, (), LATEST)
    assert isinstance(found, PayloadError)
    assert str(found) == f"a last state must have version and data, missing: {missing}"


@each_row(
    "version", [b"", b"0", b"-5", b"1.5", b" 5", b"five", b"9" * 40, b"%d" % (LATEST + 1), "5", 5]
)
def test_version_that_is_no_time_is_refused(version: object) -> None:
    assert version_in(version, LATEST) is None
    if isinstance(version, bytes):
        found = state_in(version, b"{}", (), LATEST)
        assert isinstance(found, PayloadError)
        assert found.kind == "not a version"


def test_version_may_be_the_latest_one() -> None:
    assert version_in(b"%d" % LATEST, LATEST) == LATEST


def test_malformed_payload_of_a_last_state_is_an_error() -> None:
    with pytest.raises(PayloadError, match="BestLimit"):
        LastState(5, b"{}").read()


@each_row(
    ("text", "timestamp"),
    [
        (b"2026-11-28T11:45:00", datetime.fromisoformat("2026-11-28T11:45:00")),
        (b"2026-11-28T11:45:00+03:30", None),  # timestamps of boards have no offset
        (b"soon", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_timestamp_is_read_if_it_is_one(text: bytes, timestamp: datetime | None) -> None:
    assert timestamp_in(text) == timestamp


def test_reply_of_the_lift_script_is_a_version_or_an_age() -> None:
    assert lifted(1, 9) == Lifted(version=9)
    assert lifted(0, -3) == Lifted(confirmed=-3)
    assert lifted(2, 9) == Lifted()


def test_key_of_another_type_is_bad_data_and_other_errors_are_not() -> None:
    assert is_bad_data(ResponseError("WRONGTYPE Operation against a key holding the wrong kind"))
    assert not is_bad_data(ResponseError("LOADING the dataset"))
    assert not is_bad_data(ConnectionError("WRONGTYPE "))
