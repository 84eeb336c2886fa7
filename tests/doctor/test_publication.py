"""Reviews of published messages: faults, notes, and limits of their number."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ime_live.doctor.publication import PublicationReviewer
from ime_live.errors import PayloadError
from ime_live.market_json import MAX_AHEAD, read_publication
from tests.support.rows import each_row

MakePayload = Callable[..., dict[str, Any]]

NOW = 1_779_536_400_000_000


def reviewed(message: object, *before: object) -> tuple[str, str]:
    """The faults and the notes of the last message, as one text each."""
    reviewer = PublicationReviewer()
    for each in (*before, message):
        raw = each if isinstance(each, bytes) else json.dumps(each).encode()
        review = reviewer.review(raw, NOW)
    return "; ".join(review.faults), "; ".join(review.notes)


def test_review_of_correct_message_finds_nothing(payload: MakePayload) -> None:
    assert reviewed({"version": NOW, "data": payload()}) == ("", "")


def test_review_names_missing_fields(payload: MakePayload) -> None:
    data = payload()
    del data["AllowedPriceRange"], data["BestLimit"]["2"]["buy_price"]
    faults, _ = reviewed({"version": NOW, "data": data})
    assert faults.startswith("data must be complete")
    assert faults.endswith("missing: BestLimit.2.buy_price, AllowedPriceRange")


@each_row(
    ("changes", "fault"),
    [
        (
            {"Aggregate": {"last_price": "5"}},
            "last_price must be a number, got text '5'; leave out",
        ),
        ({"Aggregate": {"last_price": None}}, "where there is none, send 0"),
        ({"Aggregate": {"last_price": True}}, "must be a number, got true or false"),
        ({"Aggregate": {"date": 20260523}}, "Aggregate.date must be a text, got number 20260523"),
        ({"ContractInfo": 5}, "data.*|ContractInfo must be an object"),
    ],
)
def test_review_names_wrong_types(
    payload: MakePayload, changes: dict[str, Any], fault: str
) -> None:
    data = payload()
    for section, value in changes.items():
        data[section] = {**data[section], **value} if isinstance(value, dict) else value
    faults, _ = reviewed({"version": NOW, "data": data})
    assert fault.rpartition("|")[2] in faults


@each_row(
    ("version", "fault"),
    [
        (NOW // 1_000_000, "which are seconds; multiply by 1,000,000"),
        (NOW // 1_000, "which are milliseconds; multiply by 1,000"),
        (NOW * 1_000, "which are nanoseconds; divide by 1,000"),
        (str(NOW), "got text '1779536400000000'"),
        (float(NOW) + 0.5, "got number"),
        (0, "got 0"),
        (NOW + 2 * MAX_AHEAD, "48.0 h ahead of this machine's clock"),
    ],
)
def test_review_names_unit_of_version(payload: MakePayload, version: object, fault: str) -> None:
    faults, _ = reviewed({"version": version, "data": payload()})
    assert faults.startswith("version must be a whole number of microseconds")
    assert fault in faults


def test_review_compares_with_message_before(payload: MakePayload) -> None:
    first = {"version": NOW, "data": payload()}
    other = payload(Aggregate={"last_price": 7})
    assert "equal to the last one, with equal data" in reviewed(first, first)[0]
    assert "its data is another" in reviewed({"version": NOW, "data": other}, first)[0]
    older = {"version": NOW - 2_500_000, "data": other}
    assert "older than the last one by 2.5 s" in reviewed(older, first)[0]
    assert "equal to the last message's" in reviewed({**first, "version": NOW + 1}, first)[1]


def test_review_compares_with_last_accepted_message(payload: MakePayload) -> None:
    first = {"version": NOW, "data": payload()}
    bad = {"version": NOW + 5, "data": {}}
    assert reviewed(
        {"version": NOW + 3, "data": payload(Aggregate={"low_price": 1})}, first, bad
    ) == ("", "")


def test_review_notes_missing_version_and_unknown_field(payload: MakePayload) -> None:
    data = payload()
    data["Aggregate"]["lastprice"] = 5
    faults, notes = reviewed({"data": data})
    assert faults == ""
    assert "Aggregate.lastprice is not a documented field" in notes
    assert "last_price may be meant" in notes
    assert "there is no version" in notes


@each_row(
    ("message", "fault"),
    [
        (b"", "must be JSON"),
        (b"\xff", "must be JSON"),
        (b"[1]", "must be an object with version and data, got a list"),
        (b"5", "got number"),
        (b"{}", 'must have "data", got no key'),
        (b'{"BestLimit": {}}', 'must be inside "data"'),
        (b'{"data": "{}"}', "data must be an object with BestLimit"),
        (b"[" * 100_000, "must be JSON"),
        (b'{"data": ' + b" " * 70_000 + b"{}}", "must be complete"),
    ],
)
def test_review_names_fault_of_form(message: bytes, fault: str) -> None:
    assert fault in reviewed(message)[0]


def test_review_limits_the_number_of_named_fields(payload: MakePayload) -> None:
    data = payload()
    data["Aggregate"] = dict.fromkeys(data["Aggregate"], "x")
    faults, _ = reviewed({"version": NOW, "data": data})
    assert faults.count("must be a number") == 6
    assert faults.endswith("and 3 more fields")


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
)


@given(
    version=st.one_of(_values, st.integers(NOW - 10**9, NOW + 2 * MAX_AHEAD)),
    section=st.sampled_from(["BestLimit", "Aggregate", "AllowedPriceRange", "ContractInfo"]),
    value=_values,
    removes=st.booleans(),
)
def test_review_refuses_messages_that_gateways_refuse(
    payload: MakePayload, version: object, section: str, value: object, removes: bool
) -> None:
    data = payload()
    key = min(data[section])
    data[section][key] = value
    if removes:
        del data[section][key]
    raw = json.dumps({"version": version, "data": data}).encode()
    review = PublicationReviewer().review(raw, NOW)
    try:
        read, _ = read_publication(raw, NOW)
    except PayloadError:
        assert review.faults
    else:
        in_other_unit = read is not None and not math.isclose(read, NOW, rel_tol=0.01)
        assert review.accepted or in_other_unit, review.faults
