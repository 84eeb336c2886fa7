"""Connections that are kept for later REST calls."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

import ime_live
from ime_live import AsyncClient
from tests.client.rest_service import Rest


async def test_keep_alive_connection_is_used_for_the_next_call(rest: Rest) -> None:
    async with AsyncClient(rest.url) as client:
        for _ in range(5):
            assert await client.contracts(["A"])
        assert rest.connections == 1
        rest.statuses = [404]
        with pytest.raises(ime_live.ServiceError):
            await client.contracts(["A"])
        assert await client.contracts(["A"])
        assert rest.connections == 1  # an error is an answer, too


async def test_calls_at_the_same_time_have_connections_of_their_own(rest: Rest) -> None:
    rest.together = threading.Barrier(3)
    async with AsyncClient(rest.url) as client:
        for _ in range(2):
            await asyncio.gather(*(client.contracts(["A"]) for _ in range(3)))
    assert rest.connections == 3


async def test_connection_that_the_service_has_closed_is_replaced(rest: Rest) -> None:
    async with AsyncClient(rest.url, tries=1) as client:
        for closes in (True, False, True, True):
            rest.closes = closes
            assert await client.contracts(["A"])


async def test_connection_that_is_closed_while_it_is_used_is_replaced(rest: Rest) -> None:
    async with AsyncClient(rest.url, tries=1) as client:
        assert await client.contracts(["A"])
        rest.drops = 1
        assert await client.contracts(["A"])
        assert rest.connections == 2
        rest.drops = 2  # a new one as well: that is an error
        with pytest.raises(ime_live.ServiceError, match="closed the connection"):
            await client.contracts(["A"])


def test_client_works_in_one_event_loop_after_another(rest: Rest) -> None:
    client = AsyncClient(rest.url)
    for _ in range(3):
        assert asyncio.run(client.contracts(["A"]))
    assert rest.connections == 1
    asyncio.run(client.aclose())
    with pytest.raises(ime_live.ServiceError, match="the client cannot make calls: it was closed"):
        asyncio.run(client.contracts(["A"]))


def test_garbage_collection_of_a_client_closes_its_sockets(rest: Rest) -> None:
    client = AsyncClient(rest.url)
    assert asyncio.run(client.contracts(["A"]))
    [(kept, _)] = client._caller._pool._idle
    socket = kept.sock
    assert socket.fileno() >= 0
    del client
    gc.collect()
    assert socket.fileno() == -1
