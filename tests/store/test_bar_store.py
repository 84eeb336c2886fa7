"""Bars in a real store: written in parts, fenced, and noticed when they are lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest

from ime_live.errors import FencedError
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.store.bar import Bar, pack
from ime_live.store.bar_store import BarStore, BarWrite

DAY = date(2026, 11, 28)
KEY = "ime:bars:{1}:2026-11-28"
FIRST, SECOND = (Bar(minute, 1, 1, 1, 1, minute, 1, 1, 1, 1, 1) for minute in (705, 706))


@pytest.fixture
async def bars(valkey: EmbeddedValkey, redis: Any) -> AsyncIterator[BarStore]:  # noqa: ANN401
    del redis  # it empties the store
    async with BarStore(StoreSettings(redis_url=valkey.url)) as store:
        yield store


async def write(
    store: BarStore, stored: int | None, first: int, *written: Bar, token: int = 10
) -> object:
    item = BarWrite("1", DAY, stored, first, pack(written))
    [result] = await store.write([item], token, 1000)
    return result


async def test_bars_are_appended_and_the_last_one_is_replaced(bars: BarStore) -> None:
    assert await write(bars, None, 0, FIRST) is True
    assert await write(bars, 1, 0, FIRST, SECOND) is True
    assert await bars.read([("1", DAY), ("2", DAY)]) == [[FIRST, SECOND], []]


async def test_bars_expire_after_the_days_of_the_setting(bars: BarStore, redis: Any) -> None:  # noqa: ANN401
    await write(bars, None, 0, FIRST)
    assert 900 < await redis.ttl(KEY) <= 1000
    await redis.expire(KEY, 5)
    await write(bars, 1, 0, FIRST)
    assert 900 < await redis.ttl(KEY) <= 1000


async def test_store_that_lost_bars_is_noticed_and_not_written(bars: BarStore) -> None:
    assert await write(bars, 1, 0, FIRST, SECOND) is False
    assert await bars.read([("1", DAY)]) == [[]]


async def test_first_bars_of_a_day_replace_no_bars_of_another_writer(bars: BarStore) -> None:
    assert await write(bars, 0, 0, FIRST) is True
    assert await write(bars, 0, 0, SECOND) is False
    assert await bars.read([("1", DAY)]) == [[FIRST]]


async def test_older_token_is_refused(bars: BarStore) -> None:
    await write(bars, None, 0, FIRST, token=20)
    for stored in (None, 1):
        refused = await write(bars, stored, 0, SECOND)
        assert isinstance(refused, FencedError)
        assert refused.token == 20
    assert await bars.read([("1", DAY)]) == [[FIRST]]
    assert await write(bars, 1, 0, SECOND, token=21) is True


async def test_key_of_another_type_counts_as_absent(bars: BarStore, redis: Any) -> None:  # noqa: ANN401
    await redis.hset(KEY, "a", "b")
    assert await bars.read([("1", DAY)]) == [[]]
    assert await write(bars, 1, 0, FIRST) is False
    assert await write(bars, None, 0, FIRST) is True
    assert await bars.read([("1", DAY)]) == [[FIRST]]
