"""Fenced writer: each write carries the leader's token, and is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import pytest

from ime_live.contracts import Contract
from ime_live.errors import ContractError, FencedError
from ime_live.feeds.boards.newest import NewestBoards
from ime_live.feeds.pipeline.fenced import FencedWriter
from ime_live.feeds.pipeline.registrar import Registrar
from ime_live.market import Payload
from ime_live.publisher import PublishResult
from tests.support.clock import FakeClock
from tests.support.payloads import payload

CONTRACT = Contract(contract_id="1", contract_name="A")


class Store:
    """Takes writes as publisher and registrar do, and refuses tokens below `leader`."""

    def __init__(self) -> None:
        self.leader = 0
        self.tokens: list[int | None] = []
        self.published: list[tuple[str, Payload]] = []

    def take(self, token: int | None) -> None:
        self.tokens.append(token)
        if token is None or token < self.leader:
            raise FencedError("another feed leads", token=self.leader)

    async def publish_many(
        self,
        payloads: Iterable[tuple[str, Payload]],
        /,
        *,
        token: int | None,
        pushed_at: Mapping[str, datetime],
    ) -> list[PublishResult]:
        del pushed_at
        self.take(token)
        self.published += payloads
        return []

    async def register(
        self, contracts: Sequence[Contract], token: int
    ) -> Mapping[str, ContractError]:
        del contracts
        self.take(token)
        return {}

    async def claim(
        self, ids: Iterable[str], token: int
    ) -> tuple[list[Contract], Mapping[str, datetime]]:
        del ids
        self.take(token)
        return [CONTRACT], {}


def writer_of(store: Store, clock: FakeClock) -> FencedWriter:
    return FencedWriter(store, cast(Registrar, store), NewestBoards(), clock)


async def test_every_write_carries_the_present_token() -> None:
    store, clock = Store(), FakeClock()
    writer = writer_of(store, clock)
    for writer.token in (4, 5):
        assert await writer.claim(["1"]) == ([CONTRACT], {})
        assert await writer.register([CONTRACT]) == {}
        await writer.publish_many([("1", payload(5))])
    assert store.tokens == [4] * 3 + [5] * 3
    assert store.published == [("1", payload(5))] * 2


async def test_refused_write_is_counted_and_changes_nothing() -> None:
    store, clock = Store(), FakeClock()
    writer = writer_of(store, clock)
    writer.token, store.leader = 4, 5
    calls: list[Any] = [
        writer.claim(["1"]),
        writer.register([CONTRACT]),
        writer.publish_many([("1", payload(5))]),
    ]
    for call in calls:
        with pytest.raises(FencedError):
            await call
    assert writer.writes.failures == {"not_leading": 3, "store": 0}
    assert (store.published, writer.registry_read) == ([], 0)


async def test_time_of_the_last_look_at_the_registry_is_kept() -> None:
    store, clock = Store(), FakeClock(1_000)
    writer = writer_of(store, clock)
    await writer.register([CONTRACT])
    assert writer.registry_read == 1_000
    clock.now = 1_060
    await writer.publish_many([("1", payload(5))])
    assert writer.registry_read == 1_000
    await writer.claim([])
    assert writer.registry_read == 1_060
