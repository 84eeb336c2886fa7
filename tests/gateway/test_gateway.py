"""The gateway of a process: a failure of one part does not affect the others."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from ime_live.gateway.gateway import Gateway
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import AuthMode, GatewaySettings

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
async def gateway(valkey: EmbeddedValkey) -> AsyncIterator[Gateway]:
    """A gateway that is not started yet."""
    made = Gateway(GatewaySettings(auth=AuthMode.NONE, redis_url=valkey.url))
    yield made
    await made.aclose()
    gc.unfreeze()  # objects that its start has frozen


async def test_failing_task_ends_neither_others_nor_the_process(
    gateway: Gateway, eventually: Eventually
) -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        raise LookupError("a defect of ours")

    gateway._feed.poll = look  # type: ignore[method-assign]
    with capture_logs() as logs:
        await gateway.start()
        await eventually(lambda: looks > 1 and gateway.readiness().ready)
    assert b'ime_live_part_failures_total{part="feed"}' in gateway.exposition()
    [line] = [line for line in logs if line["event"].startswith("background task failed")]
    assert line["part"] == "feed"
    assert isinstance(line["exc_info"], LookupError)


async def test_close_continues_when_one_part_cannot_be_closed(gateway: Gateway) -> None:
    closed = []

    async def fail() -> None:
        raise OSError("it does not close")

    async def close() -> None:
        closed.append("store")

    gateway._state_reader.aclose, snapshots = fail, gateway._state_reader.aclose  # type: ignore[method-assign]
    gateway._store.aclose, store = close, gateway._store.aclose  # type: ignore[method-assign]
    with pytest.raises(OSError, match="does not close"):
        await gateway.aclose()
    assert closed == ["store"]
    gateway._state_reader.aclose, gateway._store.aclose = snapshots, store  # type: ignore[method-assign]
