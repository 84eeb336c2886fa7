"""Responses of the REST calls: their errors, and the types that they are decoded to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ime_live import BestLimit, Payload
from ime_live.client.rest.response import (
    Response,
    chain_of,
    contract_of,
    markets_of,
    overview_of,
    section_type,
)
from ime_live.errors import ServiceError, SettingsError
from tests.support.rows import each_row
from tests.support.stream_messages import DATA

NEW_MARKET: dict[str, Any] = {"market": "IMEOfNextYear"}
CONTRACT = {"contractId": "1", "contractName": "A"}


@each_row("body", [b"", b"<html>", b"[]", b'{"Data":', b"\xff", b"[" * 100_000])
def test_malformed_body_is_an_error_with_its_status(body: bytes) -> None:
    with pytest.raises(ServiceError, match="the response cannot be read: ") as caught:
        _ = Response(200, body).data
    assert caught.value.status == 200


@pytest.mark.parametrize("convert", [contract_of, markets_of, overview_of, chain_of])
@pytest.mark.parametrize("data", [5, "A", {}, [{}], [None], {"market": 5}])
def test_data_of_another_type_is_an_error(convert: Callable[[Any], object], data: object) -> None:
    if convert is markets_of and data == [{}]:
        assert convert(data) == []  # no market that this version knows
        return
    with pytest.raises(ServiceError, match="the response cannot be read: "):
        convert(data)


def test_unknown_market_of_a_newer_service_is_left_out_or_none() -> None:
    hours: dict[str, Any] = {"timeZone": "UTC", "sessions": None, "holidays": None}
    found = markets_of([hours | NEW_MARKET, hours | {"market": "IMEFund"}])
    assert [each.market for each in found] == ["IMEFund"]
    assert contract_of(CONTRACT | NEW_MARKET).market is None
    overview = overview_of(CONTRACT | NEW_MARKET)
    assert overview is not None
    assert (overview.contract.contract_name, overview.contract.market) == ("A", None)


def test_overview_of_a_contract_without_a_state_has_none() -> None:
    assert overview_of(None) is None
    nothing = overview_of(CONTRACT | dict.fromkeys(DATA))
    assert nothing is not None
    assert nothing.data is None
    whole = overview_of(CONTRACT | DATA)
    assert whole is not None
    assert msgspec.to_builtins(whole.data) == DATA
    assert whole.to_dict()["closing_price"] == 999393.5


@each_row(
    ("header", "seconds"),
    [(None, 0), ("3", 3), ("", 0), ("soon", 0), ("-1", 0), ("1.5", 0), ("²", 0)],
)
def test_retry_after_is_a_number_of_seconds(header: str | None, seconds: float) -> None:
    assert Response(429, b"", retry_after=header).wait == seconds


def test_detail_of_a_refusal_is_its_text_or_the_status() -> None:
    assert Response(401, b'{"detail": "token expired"}').detail == "token expired"
    for body in (b"", b"<html>", b'{"detail": 5}', b"{}"):
        assert Response(502, body).detail == "HTTP 502"


def test_section_is_given_as_a_class_or_by_its_name() -> None:
    assert section_type(BestLimit) is section_type("BestLimit") is BestLimit
    assert section_type("Payload") is Payload
    for wrong in ("best-limit", str, None):
        with pytest.raises(SettingsError, match="section must be one of Payload, BestLimit, "):
            section_type(wrong)
