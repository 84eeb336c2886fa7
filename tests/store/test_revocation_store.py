"""Revocations in a real store: merged, removed when they are over, and never taken for none."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ime_live.errors import StoreError
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.store.revocation import Revocation, RevokedBy
from ime_live.store.revocation_store import RevocationStore

KEY = "ime:revoked"


@pytest.fixture
async def revoked(valkey: EmbeddedValkey, redis: Any) -> AsyncIterator[RevocationStore]:  # noqa: ANN401
    del redis  # it empties the store
    async with RevocationStore(StoreSettings(redis_url=valkey.url)) as store:
        yield store


def subject(name: str, moment: int, expires: int) -> Revocation:
    return Revocation(RevokedBy.SUBJECT, name, moment, expires)


async def test_later_times_of_a_revocation_count(revoked: RevocationStore) -> None:
    now = int(time.time())
    await revoked.revoke([subject("alice", now, now + 500), subject("bob", now, 0)])
    await revoked.revoke([subject("alice", now - 9, now + 900), subject("bob", now + 9, now + 9)])
    assert await revoked.read() == {
        "sub:alice": subject("alice", now, now + 900),
        "sub:bob": subject("bob", now + 9, 0),
    }


async def test_revocation_that_is_over_is_removed_by_the_next_one(
    revoked: RevocationStore,
) -> None:
    now = int(time.time())
    await revoked.revoke([subject("alice", now - 60, now - 1)])
    await revoked.revoke([subject("bob", now, now + 60)])
    assert list(await revoked.read()) == ["sub:bob"]


async def test_unreadable_field_is_left_out_and_counted(
    revoked: RevocationStore,
    redis: Any,  # noqa: ANN401
) -> None:
    await redis.hset(KEY, mapping={"sub:alice": "5 0", "sub:bob": "whenever"})
    assert await revoked.read() == {"sub:alice": subject("alice", 5, 0)}
    assert revoked.unreadable == 1


async def test_key_of_another_type_is_an_error(revoked: RevocationStore, redis: Any) -> None:  # noqa: ANN401
    await redis.set(KEY, "no hash")
    with pytest.raises(StoreError):
        await revoked.read()
    with pytest.raises(StoreError):
        await revoked.revoke([subject("alice", 5, 0)])
