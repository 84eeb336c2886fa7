"""Answers: sections are the stored bytes, what is wrong is refused, the whole is of its type."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docgen.api_documents.rest_schemas import OVERVIEWS, SECTION_TYPES
from ime_live.contracts import Contract, Market
from ime_live.errors import PayloadError
from ime_live.gateway.rest.bodies import (
    KEYS,
    Data,
    Description,
    ResponseStatus,
    Section,
    live_data,
    response_body,
    static_data,
)
from ime_live.gateway.rest.static_data import TYPES, static_json
from ime_live.gateway.upstream.sections import Sections, read_sections
from ime_live.market import SECTIONS, Payload
from ime_live.market_json import read_payload
from tests.support.rows import each_row

TODAY = date(2026, 11, 25)
MakePayload = Callable[..., dict[str, Any]]


def contract(number: int, market: Market | None = None) -> Contract:
    return Contract(contract_id=str(number), contract_name=f"KASH{number}", market=market)


def stored(payload: Any, **options: Any) -> bytes:  # noqa: ANN401 - any JSON
    return msgspec.json.format(msgspec.json.encode(payload), **options)


_numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)


def _any(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {
            each.encode_name: _any(each.type)
            if hasattr(each.type, "__struct_fields__")
            else (st.text() if each.type is str else _numbers)
            for each in msgspec.structs.fields(kind)
        }
    )


@given(_any(Payload), st.sampled_from([-1, 0, 3]), st.booleans())
def test_overview_equals_the_payload_of_the_stream(given: Any, indent: int, more: bool) -> None:  # noqa: ANN401
    data = stored(given | ({"More": [given]} if more else {}), indent=indent)
    one = contract(1)
    found = live_data(Section.OVERVIEW, {"A": one}, {"1": read_sections(data)}, TODAY)
    overview = msgspec.json.decode(found.json)["A"]
    streamed = msgspec.json.decode(read_payload(msgspec.json.encode(given)).to_json())
    assert {key: overview[key] for key in SECTIONS} == streamed


@each_row("section", Section)
def test_live_data_has_the_section_of_each_contract_or_null(
    payload: MakePayload, section: Section
) -> None:
    with_state, without = contract(1, Market.OPTION), contract(2, Market.FUTURES)
    states = {"1": read_sections(stored(payload()))}
    requested = {'an "odd" name\\': with_state, "KASH2": without, "ندارد": None}
    found = live_data(section, requested, states, TODAY)
    first, second, third = msgspec.json.decode(found.json).items()
    assert (first[0], second[0], third) == ('an "odd" name\\', "KASH2", ("ندارد", None))
    assert not found.is_complete
    if section is Section.OVERVIEW:
        assert first[1] == msgspec.json.decode(static_json(with_state, TODAY)) | payload()
        nothing = dict.fromkeys(SECTIONS)
        assert second[1] == msgspec.json.decode(static_json(without, TODAY)) | nothing
        assert list(first[1])[-4:] == list(SECTIONS)
    else:
        assert first[1] == payload()[KEYS[section]]
        assert second[1] is None
    assert live_data(section, {"A": with_state}, states, TODAY).is_complete


def test_contracts_that_cannot_be_read_are_null_and_named(payload: MakePayload) -> None:
    states: dict[str, Sections | PayloadError] = {
        "1": read_sections(stored(payload())),
        "2": PayloadError("not JSON"),
    }
    requested = {"A": contract(1), 'the "odd" %s': contract(2), "C": contract(3), "ندارد": None}
    for section in Section:
        found = live_data(section, requested, states, TODAY)
        assert found.unreadable == ('the "odd" %s',)
        status = msgspec.json.decode(response_body(found, 5))["Status"]
        assert (status["State"], status["StatusCode"], status["ServerTimeStamp"]) == (True, 200, 5)
        english, persian = status["Description"]["en"], status["Description"]["fa"]
        assert 'the market data of the "odd" %s cannot be read' in english
        assert 'دادهٔ بازار the "odd" %s خوانده نمی‌شود' in persian
        assert "null" in english
    data = msgspec.json.decode(live_data(Section.AGGREGATE, requested, states, TODAY).json)
    assert data['the "odd" %s'] is None


@pytest.mark.parametrize("market", [None, *Market])
def test_typed_bodies_equal_the_encoded_bytes(payload: MakePayload, market: Market | None) -> None:
    one = contract(1, market)
    states = {"1": read_sections(stored(payload()))}
    for section, kind in [*SECTION_TYPES.items(), (Section.OVERVIEW, OVERVIEWS[market])]:
        data = live_data(section, {"A": one}, states, TODAY)
        [whole] = msgspec.json.decode(data.json, type=dict[str, kind]).values()  # type: ignore[valid-type]
        assert msgspec.to_builtins(whole) == msgspec.json.decode(data.json)["A"]
    data = live_data(Section.OVERVIEW, {"A": one}, {}, TODAY)
    msgspec.json.decode(data.json, type=dict[str, OVERVIEWS[market]])  # type: ignore[valid-type]
    msgspec.json.decode(static_data([one], TODAY).json, type=list[TYPES[market]])  # type: ignore[valid-type]


def test_static_data_keeps_its_order() -> None:
    found = static_data([contract(2), None, contract(1), contract(2)], TODAY)
    ids = [each and each["contractId"] for each in msgspec.json.decode(found.json)]
    assert ids == ["2", None, "1", "2"]
    assert not found.is_complete
    assert static_data([], TODAY) == Data(b"[]")


@pytest.mark.parametrize("is_complete", [True, False])
def test_whole_response_body_to_the_letter(is_complete: bool) -> None:
    found = msgspec.json.decode(response_body(Data(b'{"A":null}', is_complete), 1732123456.789))
    assert list(found) == ["Data", "Status"]
    assert found["Data"] == {"A": None}
    status = msgspec.convert(found["Status"], ResponseStatus)
    assert list(found["Status"]) == [
        "State",
        "ServerTimeStamp",
        "Version",
        "Author",
        "Description",
        "StatusCode",
    ]
    assert (status.state, status.code, status.time) == (True, 200, 1732123456.789)
    assert isinstance(
        msgspec.json.decode(response_body(Data(b"[]"), 5))["Status"]["ServerTimeStamp"], float
    )
    assert ("null" in status.description.en) is not is_complete
    assert ("null" in status.description.fa) is not is_complete


@each_row("name", ["XYZ", "100 % 0.125", '"%s"', "سکه"])
def test_remark_is_part_of_the_description(name: str) -> None:
    data = Data(
        b'{"A":null}', is_complete=False, remark=Description(f"؟ {name}", f"unknown: {name}")
    )
    found = msgspec.json.decode(response_body(data, 1732123456.789))["Status"]
    assert found["ServerTimeStamp"] == 1732123456.789
    plain = msgspec.json.decode(response_body(Data(b"[]", is_complete=False), 5))["Status"][
        "Description"
    ]
    assert found["Description"] == {
        "fa": f"{plain['fa']} ؟ {name}",
        "en": f"{plain['en']} unknown: {name}",
    }
