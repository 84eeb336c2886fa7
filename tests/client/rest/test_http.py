"""Connections for REST calls: answers that do not come, come too slowly, or are cut short."""

from __future__ import annotations

import pytest

import ime_live
from ime_live.client.rest.async_client import AsyncClient
from tests.client.rest_service import Rest


async def test_unreachable_or_slow_service_is_an_error(rest: Rest) -> None:
    rest.drip = True
    with pytest.raises(ime_live.ServiceError, match=r"must answer within 0\.2 s"):
        await AsyncClient(rest.url, read_timeout=0.2, tries=1).contracts(["A"])
    with pytest.raises(ime_live.ServiceError, match="cannot be reached"):
        await AsyncClient("http://127.0.0.1:1", tries=1).contracts(["A"])


async def test_answer_that_is_cut_short_is_an_error(rest: Rest) -> None:
    rest.cut = True
    async with AsyncClient(rest.url, tries=1) as client:
        with pytest.raises(ime_live.ServiceError, match="closed the connection"):
            await client.contracts(["A"])


async def test_answer_that_is_too_large_is_an_error(
    rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ime_live.client.rest.http._MAX_ANSWER", 20)
    async with AsyncClient(rest.url, tries=1) as client:
        with pytest.raises(ime_live.ServiceError, match="the answer must be at most 20 bytes"):
            await client.contracts(["A"])
