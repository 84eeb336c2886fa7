"""Checks of Redis: contracts, states, the feed, and permissions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from ime_live.contracts import Contract
from ime_live.doctor.check import Finding, run_checks
from ime_live.doctor.store_checks import STORE_CHECKS, CheckedStore
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import Lease
from ime_live.store.store import Store

Redis = Any  # redis-py's client, whose commands are loosely typed
MakePayload = Callable[..., dict[str, Any]]


async def answers(url: str) -> dict[str, list[Finding]]:
    """All answers by the name of the check."""
    found: dict[str, list[Finding]] = {}
    settings = StoreSettings(redis_url=url)
    async with Store(settings) as store:
        async for each in run_checks(STORE_CHECKS, CheckedStore(settings, store)):
            found.setdefault(each.check, []).append(each)
    return found


def texts(found: dict[str, list[Finding]]) -> dict[str, list[str]]:
    """Levels and texts by the name of the check."""
    return {name: [f"{e.level}: {e.text}" for e in each] for name, each in found.items()}


async def test_empty_store_has_no_contracts_and_no_feed(valkey: EmbeddedValkey) -> None:
    found = texts(await answers(valkey.url))
    assert found["redis"][0].startswith("ok: ")
    assert " at " in found["redis"][0]
    assert found["rights"] == [
        "ok: may read states and contracts",
        "ok: may subscribe",
        "ok: may run the script that stores and publishes",
    ]
    assert found["contracts"] == ["warning: no contracts are registered"]
    assert found["feed"][0].startswith("ok: no exchange feed has run")


async def test_contracts_and_states_are_counted_with_those_that_cannot_be_read(
    valkey: EmbeddedValkey,
    store: Store,
    redis: Redis,
    payload: MakePayload,
) -> None:
    await store.import_contracts(
        Contract(contract_id=i, contract_name=f"C{i}") for i in ("1", "2", "3")
    )
    await redis.hset("ime:contracts", "4", "{}")
    now = time.time_ns() // 1000
    state = {"version": now, "data": json.dumps(payload())}
    await redis.hset("ime:last:{1}", mapping=state)
    await redis.hset("ime:last:{2}", mapping={"version": "x", "data": "{}"})
    first, second, third = texts(await answers(valkey.url))["contracts"]
    assert first == "warning: 1 contract cannot be read"
    assert second == "warning: 1 last state cannot be read"
    assert third.startswith("ok: 3 contracts, 1 with a state; the newest is ")


@pytest.mark.parametrize(
    ("state", "lag", "error", "text"),
    [
        (FeedState.LIVE, 0.2, None, "ok: live, by webSockets, lag 0.2 s"),
        (FeedState.LIVE, 60.0, None, "warning: live"),
        (FeedState.LIVE, None, "polls", "warning: live, by webSockets: polls"),
        (FeedState.DOWN, None, "it is away", "failed: down, by webSockets: it is away"),
    ],
)
async def test_feed_is_judged_by_its_own_status(
    valkey: EmbeddedValkey, state: FeedState, lag: float | None, error: str | None, text: str
) -> None:
    now = time.time_ns() // 1000
    async with Lease(StoreSettings(redis_url=valkey.url), "test") as lease:
        taken = await lease.take()
        status = FeedStatus(
            state, now, source="webSockets", error=error, lag=lag, token=taken.token, written=now
        )
        await lease.write(status)
        assert texts(await answers(valkey.url))["feed"][0].startswith(text)
        await lease.release()
    assert texts(await answers(valkey.url))["feed"][0].startswith("warning: no feed runs")


async def test_restricted_user_learns_its_missing_permissions(
    valkey: EmbeddedValkey,
    redis: Redis,
) -> None:
    rules = ("on", ">pw", "~ime:*", "resetchannels", "+@read", "+@connection", "+ping", "+info")
    await redis.execute_command("ACL", "SETUSER", "reader", "reset", *rules)
    try:
        if valkey.url.startswith("unix://"):
            url = valkey.url.replace("unix://", "unix://reader:pw@")
        else:
            url = valkey.url.replace("redis://", "redis://reader:pw@")
        found = texts(await answers(url))
    finally:
        await redis.execute_command("ACL", "DELUSER", "reader")
    assert found["redis"][0].startswith("ok")
    assert found["rights"][0] == "ok: may read states and contracts"
    assert found["rights"][1].startswith("failed: may not subscribe: ")
    assert found["rights"][2].startswith("warning: may not store and publish: ")
    assert found["contracts"] == ["skipped: needs: rights"] or found["contracts"][0].startswith("w")


@pytest.mark.parametrize(
    ("info", "text"),
    [
        ({"role": "slave"}, "failed: it is a replica, which refuses writes and may lag behind"),
        (
            {"role": "master", "maxmemory": "1000", "used_memory": "1200"},
            "failed: its memory is full: 1,200 of 1,000 bytes are used",
        ),
        (
            {"rdb_last_bgsave_status": "err"},
            "warning: it could not save its data, so it may refuse writes",
        ),
    ],
)
async def test_store_that_refuses_writes_is_reported(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, info: dict[str, str], text: str
) -> None:
    known = Store.server_info

    async def changed(store: Store) -> dict[str, str]:
        found = await known(store)
        assert {"role", "used_memory", "rdb_last_bgsave_status"} <= set(found)
        return found | info

    assert len(texts(await answers(valkey.url))["redis"]) == 1
    monkeypatch.setattr(Store, "server_info", changed)
    assert text in texts(await answers(valkey.url))["redis"]


async def test_unreachable_store_skips_dependent_checks() -> None:
    found = await answers("redis://127.0.0.1:1")
    assert found["redis"][0].text == "Redis at 127.0.0.1:1 refused the connection"
    assert "--redis-url" in found["redis"][0].remedy
    assert texts(found)["feed"] == ["skipped: needs: redis"]
