"""Versions of the last states: malformed ones, and reads of Redis, at most one per second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from ime_live.errors import StoreError
from ime_live.gateway.upstream.version_cache import MAX_AGE, VersionCache
from ime_live.market_json import read_payload
from ime_live.store.store import Store
from tests.support.clock import GivenClock


class World:
    """The store's answers, and the clock."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.stored = {"1": 11, "2": 22}
        self.requested: list[list[str]] = []
        self.error: StoreError | None = None
        self.read = VersionCache(self, clock=GivenClock(monotonic=lambda: self.seconds)).read

    async def versions(self, ids: Sequence[str], /) -> Mapping[str, int]:
        self.requested.append(list(ids))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return {i: self.stored[i] for i in ids if i in self.stored}


@pytest.fixture
def world() -> World:
    return World()


async def test_each_version_is_read_at_most_once_per_second(world: World) -> None:
    assert await world.read(["1", "3"]) == {"1": 11}
    world.stored["1"] = 12
    world.seconds += MAX_AGE / 2
    assert await world.read(["1", "2", "3"]) == {"1": 11, "2": 22}
    world.seconds += MAX_AGE / 2
    assert await world.read(["1", "2"]) == {"1": 12, "2": 22}
    assert await world.read([]) == {}
    assert world.requested == [["1", "3"], ["2"], ["1"]]


async def test_concurrent_requests_share_one_read(world: World) -> None:
    answers = await asyncio.gather(*(world.read(["1", "2"]) for _ in range(20)))
    assert answers == [{"1": 11, "2": 22}] * 20
    assert len(world.requested) == 1


async def test_failed_read_is_cached_for_a_second(world: World) -> None:
    world.error = StoreError("away")
    errors = await asyncio.gather(*(world.read(["1"]) for _ in range(20)), return_exceptions=True)
    assert [str(error) for error in errors] == ["away"] * 20
    assert len(world.requested) == 1
    world.error = None
    with pytest.raises(StoreError, match="away"):
        await world.read(["2"])
    world.seconds += MAX_AGE
    assert await world.read(["1"]) == {"1": 11}


async def test_read_leaves_out_malformed_versions(
    store: Store,
    redis: Any,  # noqa: ANN401
    payload: Callable[..., dict[str, Any]],
) -> None:
    [stored] = await store.publish([("1", read_payload(payload()).to_json())])
    assert not isinstance(stored, StoreError)
    for contract_id, version in {
        "3": b"garbage",
        "4": b"-5",
        "5": b"0",
        "6": b"9" * 19,
        "7": b"9" * 5000,
        "8": b"1.5",
        "9": b"\xd9\xa1",
    }.items():
        await redis.hset(store.keys.last(contract_id), "version", version)
    await redis.set(store.keys.last("2"), "another kind of value")
    assert await store.versions(str(n) for n in range(1, 11)) == {"1": stored.version}
    assert await store.versions([]) == {}
