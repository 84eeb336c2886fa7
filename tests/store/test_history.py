"""The history of a store's data: after each loss of writes that may be, it is another one.

On real servers, which are killed and made leaders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ime_live.errors import StoreError
from ime_live.market_json import read_payload
from ime_live.settings import StoreSettings
from ime_live.store.records import LastState, Stored
from ime_live.store.store import Store
from tests.support.servers import Server

MakePayload = Callable[[], dict[str, Any]]
MakeState = Callable[[], bytes]
Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
def state(payload: MakePayload) -> MakeState:
    """Make an encoded state."""
    return lambda: read_payload(payload()).to_json()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "valkey", "--save", "") as made:
        yield made


def store_of(server: Server) -> Store:
    return Store(StoreSettings(redis_url=server.url))


async def publish(store: Store, contract_id: str, data: bytes) -> Stored:
    [stored] = await store.publish([(contract_id, data)])
    assert isinstance(stored, Stored)
    return stored


async def read(store: Store, contract_id: str) -> LastState:
    state = (await store.states([contract_id]))[contract_id]
    assert isinstance(state, LastState)
    return state


async def present(store: Store, *ids: str) -> set[str]:
    histories = {i: (await read(store, i)).history for i in ids}
    return await store.in_present_history(histories)


async def restart(server: Server) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


async def test_first_confirmation_after_a_start_has_a_new_version(
    server: Server, state: MakeState
) -> None:
    async with store_of(server) as store:
        first = await publish(store, "1", state())
        await publish(store, "2", state())
        assert not (await publish(store, "1", state())).published
        assert await present(store, "1", "2") == {"1", "2"}
        server.client.save()
        await restart(server)
        assert (await read(store, "1")).version == first.version
        assert await present(store, "1", "2") == set()
        again = await publish(store, "1", state())
        assert again.published
        assert again.version > first.version
        assert await present(store, "1", "2") == {"1"}
        assert await publish(store, "1", state()) == Stored(again.version, published=False)


async def test_expected_version_counts_after_a_start_as_well(
    server: Server, state: MakeState
) -> None:
    async with store_of(server) as store:
        first = await publish(store, "1", state())
        server.client.save()
        await restart(server)
        assert await store.publish_if("1", state(), first.version - 1) is None
        again = await store.publish_if("1", state(), first.version)
        assert again is not None
        assert again.published


async def test_replica_that_is_made_the_leader_begins_another_history(
    server: Server, tmp_path: Path, state: MakeState, eventually: Eventually
) -> None:
    with Server(tmp_path / "replica", "--save", "") as replica:
        replica.client.replicaof("127.0.0.1", server.port)
        async with store_of(server) as store, store_of(replica) as other:
            await publish(store, "1", state())

            def copied() -> bool:
                return bool(replica.client.exists("ime:last:{1}"))

            await eventually(copied, 15)
            replica.client.replicaof("NO", "ONE")
            assert await present(other, "1") == set()
            assert (await publish(other, "1", state())).published
            assert await present(other, "1") == {"1"}
            assert await present(store, "1") == {"1"}


async def test_state_without_a_history_counts_as_confirmed(
    server: Server, state: MakeState
) -> None:
    async with store_of(server) as store:
        version = server.client.time()[0] * 1_000_000
        server.client.hset("ime:last:{1}", mapping={"version": version, "data": state()})
        assert await present(store, "1") == {"1"}
        # Storing the history for the first time is no change of the state.
        assert await publish(store, "1", state()) == Stored(version, published=False)
        assert (await read(store, "1")).history


async def test_server_that_forbids_info_has_no_history(server: Server, state: MakeState) -> None:
    server.client.execute_command(
        "ACL", "SETUSER", "deaf", "on", "nopass", "~*", "&*", "+@all", "-info"
    )
    url = server.url.replace("//", "//deaf:x@")
    async with store_of(server) as store, Store(StoreSettings(redis_url=url)) as deaf:
        version = (await publish(deaf, "1", state())).version
        assert (await read(store, "1")).history == b""
        assert await publish(deaf, "1", state()) == Stored(version, published=False)
        # A permitted caller gets the answer; a forbidden one does not remove it.
        assert await publish(store, "1", state()) == Stored(version, published=False)
        assert await present(store, "1") == {"1"}
        with pytest.raises(StoreError, match=r"must allow INFO.*\+info"):
            await present(deaf, "1")
