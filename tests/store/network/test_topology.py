"""Which server is asked, for how long, and that looking for failovers does not end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from structlog.testing import capture_logs

from ime_live.store.network import topology
from ime_live.store.network.topology import FailoverWatcher, first_answer

Eventually = Callable[..., Awaitable[None]]


class Server:
    """Answers with its name, fails, or hangs."""

    def __init__(self, name: str, *, error: Exception | None = None, hangs: bool = False) -> None:
        self.name = name
        self.requested = False
        self.given_up = False
        self._error = error
        self._hangs = hangs

    async def ask(self) -> str:
        self.requested = True
        if self._hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up = True
        if self._error is not None:
            raise self._error
        return self.name


async def test_first_answering_server_is_used() -> None:
    first, second = Server("first"), Server("second")
    assert await first_answer([first.ask, second.ask]) == "first"
    assert not second.requested


async def test_failing_or_hanging_server_is_followed_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topology, "HEAD_START", 0.01)
    hanging = Server("hanging", hangs=True)
    failing = Server("failing", error=RedisConnectionError("away"))
    good, last = Server("good"), Server("last")
    servers = (failing, hanging, failing, good, last)
    assert await first_answer([server.ask for server in servers]) == "good"
    assert not last.requested
    await asyncio.sleep(0)
    assert hanging.given_up


async def test_last_failure_is_raised_when_no_server_answers() -> None:
    servers = [Server("a", error=RedisTimeoutError("a")), Server("b", error=RedisTimeoutError("b"))]
    with pytest.raises(RedisTimeoutError, match="b"):
        await first_answer([server.ask for server in servers])
    with pytest.raises(RedisConnectionError, match="no server"):
        await first_answer([])


async def test_topology_checks_continue_after_any_failure_until_closed(
    monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(topology, "CHECK_INTERVAL", 0.001)
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks % 2:
            raise RedisConnectionError("as when no Sentinel answers")
        raise LookupError("a defect of ours")

    watcher = FailoverWatcher(look)
    with capture_logs() as logs:
        watcher.begin()
        watcher.begin()  # under way already
        await eventually(lambda: looks >= 6)
        await watcher.aclose()
    after = looks
    await asyncio.sleep(0.01)
    assert looks == after
    assert [type(line["exc_info"]) for line in logs] == [LookupError]


async def test_closing_topology_checks_that_never_started() -> None:
    async def look() -> None:
        raise AssertionError("nobody has begun")

    await FailoverWatcher(look).aclose()
