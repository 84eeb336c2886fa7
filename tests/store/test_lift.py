"""Lifting: a stored state gets a version above a gateway's if it was confirmed after that."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ime_live.errors import StoreError
from ime_live.market import MICROSECONDS
from ime_live.market_json import MAX_AHEAD
from ime_live.store.records import Lift, Lifted, Stored
from ime_live.store.store import Store

DATA = b'{"state":"A"}'  # a store does not look into it
KEY, CHANNEL = "ime:last:{1}", "ime:live:{1}"
HOUR = 3600 * MICROSECONDS
Client = Any  # redis-py's own, whose commands are loosely typed


def now() -> int:
    return time.time_ns() // 1000


@pytest.fixture
async def channel(redis: Client) -> AsyncIterator[Any]:
    async with redis.pubsub() as listening:
        await listening.subscribe(CHANNEL)
        await listening.get_message(timeout=5)
        yield listening


async def put(
    redis: Client, version: int | str, seen: int | str | None, data: bytes = DATA
) -> None:
    fields = {"version": version, "data": data, "token": 7}
    await redis.hset(KEY, mapping=fields if seen is None else fields | {"seen": seen})


async def lift(store: Store, version: int, above: int, age: int = HOUR) -> Lifted | StoreError:
    [lifted] = await store.lift([Lift("1", version, above, age)])
    return lifted


async def nothing_happened(redis: Client, channel: Client, version: int | str) -> bool:
    return (
        await redis.hget(KEY, "version") == str(version).encode()
        and await channel.get_message(timeout=0.05) is None
    )


async def test_confirmed_state_gets_a_version_above_the_gateways(
    store: Store, redis: Client, channel: Client
) -> None:
    version, above, seen = now() - HOUR, now() + HOUR, now()
    await put(redis, version, seen)
    assert await lift(store, version, above) == Lifted(above + 1)
    text = str(above + 1).encode()
    assert await redis.hgetall(KEY) == {
        b"version": text,
        b"data": DATA,
        b"seen": str(seen).encode(),
        b"token": b"7",
    }
    message = await channel.get_message(timeout=5)
    assert json.loads(message["data"]) == {"version": above + 1, "data": {"state": "A"}}


async def test_version_is_at_least_the_clock_of_redis(store: Store, redis: Client) -> None:
    await put(redis, 5, now())
    before = now()
    lifted = await lift(store, 5, 10)
    assert isinstance(lifted, Lifted)
    assert before <= lifted.version <= now()


@pytest.mark.parametrize(("age", "lifted"), [(3, False), (8, True)])
async def test_age_of_the_gateways_state_decides(
    store: Store, redis: Client, age: int, lifted: bool
) -> None:
    version = now() - HOUR
    await put(redis, version, now() - 5 * MICROSECONDS)
    found = await lift(store, version, version + 1, age * MICROSECONDS)
    assert isinstance(found, Lifted)
    assert bool(found.version) == lifted


async def test_confirmation_from_before_the_gateways_state_does_not_count(
    store: Store, redis: Client, channel: Client
) -> None:
    await put(redis, 5, now() - 20 * MICROSECONDS)
    lifted = await lift(store, 5, 10, age=10 * MICROSECONDS)
    assert isinstance(lifted, Lifted)
    assert lifted.version == 0
    assert lifted.confirmed is not None
    assert 20 * MICROSECONDS <= lifted.confirmed < 80 * MICROSECONDS
    assert await nothing_happened(redis, channel, 5)


@pytest.mark.parametrize("seen", [None, "", "x", "nan", "inf", "-inf", "-5", "0"])
async def test_state_that_nobody_confirmed_is_not_lifted(
    store: Store, redis: Client, channel: Client, seen: str | None
) -> None:
    await put(redis, 5, seen)
    lifted = await lift(store, 5, 10)
    assert isinstance(lifted, Lifted)
    assert lifted.version == 0
    assert await nothing_happened(redis, channel, 5)


async def test_confirmation_by_a_clock_that_is_ahead_does_not_count(
    store: Store, redis: Client, channel: Client
) -> None:
    await put(redis, 5, now() + HOUR)
    lifted = await lift(store, 5, 10)
    assert isinstance(lifted, Lifted)
    assert lifted.confirmed is not None
    assert lifted.confirmed < 0
    assert await nothing_happened(redis, channel, 5)


async def test_state_that_has_changed_meanwhile_is_not_lifted(
    store: Store, redis: Client, channel: Client
) -> None:
    await put(redis, 6, now())
    assert await lift(store, 5, 10) == Lifted()
    assert await nothing_happened(redis, channel, 6)
    await redis.delete(KEY)
    assert await lift(store, 5, 10) == Lifted()
    await redis.hset(KEY, mapping={"version": 5, "seen": now()})
    assert await lift(store, 5, 10) == Lifted()


async def test_version_that_readers_would_refuse_is_not_given(
    store: Store, redis: Client, channel: Client
) -> None:
    await put(redis, 5, now())
    assert await lift(store, 5, now() + MAX_AHEAD + HOUR) == Lifted()
    assert await nothing_happened(redis, channel, 5)


async def test_version_counts_however_it_is_written(store: Store, redis: Client) -> None:
    await put(redis, "0005", now())
    lifted = await lift(store, 5, 10)
    assert isinstance(lifted, Lifted)
    assert lifted.version > 10


async def test_concurrent_lifts_agree(store: Store, redis: Client) -> None:
    await put(redis, 5, now())
    tops = [now() + n * HOUR for n in (2, 1, 3)]
    lifted = await store.lift([Lift("1", 5, top, HOUR) for top in tops])
    assert lifted == [Lifted(tops[0] + 1), Lifted(), Lifted()]
    assert await lift(store, tops[0] + 1, tops[2]) == Lifted(tops[2] + 1)


async def test_next_publication_continues_from_the_lifted_version(
    store: Store, redis: Client
) -> None:
    await put(redis, 5, now())
    above = now() + HOUR
    await lift(store, 5, above)
    assert await store.publish([("1", DATA)]) == [Stored(above + 1, published=False)]
    assert await store.publish([("1", b'{"state":"B"}')]) == [Stored(above + 2, published=True)]


async def test_refused_lift_does_not_affect_other_contracts(store: Store, redis: Client) -> None:
    await put(redis, 5, now())
    await redis.set("ime:last:{2}", "not a hash")
    refused, lifted = await store.lift([Lift("2", 5, 10, HOUR), Lift("1", 5, 10, HOUR)])
    assert isinstance(refused, StoreError)
    assert isinstance(lifted, Lifted)
    assert lifted.version
