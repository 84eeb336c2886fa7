"""The REST calls of a program without async."""

from __future__ import annotations

import pytest

import ime_live
from ime_live.errors import ServiceError
from tests.client.rest_service import Rest


def test_blocking_client_in_a_plain_program(rest: Rest) -> None:
    with ime_live.Client(rest.url, token="SECRET") as client:
        assert client.snapshot(["A"])["A"] is not None
        assert client.snapshot(["A"], section=ime_live.BestLimit)["A"] is not None
        assert client.overview(["NOPE"]) == {"NOPE": None}
        assert client.contracts(["NOPE"]) == [None]
        assert len(client.search(ime_live.Market.FUTURES, "A")) == 1
        assert len(client.search(ime_live.Market.FUTURES)) == 1
        rest.body = b'{"Data": []}'
        assert client.option_chain("GC", "2026-08-01") == []
        assert client.markets() == []
        assert repr(client) == f"<Client {rest.url.removeprefix('http://')}>"


def test_call_after_close_is_an_error() -> None:
    with ime_live.Client("http://127.0.0.1:1") as client:
        pass
    with pytest.raises(ServiceError, match=r"^the client cannot make calls: it was closed$"):
        client.contracts(["A"])
