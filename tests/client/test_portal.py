"""Portals: calls that run when one is closed, or come later, fail and never wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from ime_live.client.portal import Portal
from ime_live.errors import ServiceError

PATIENCE = 20.0


async def until_cancelled(started: threading.Event) -> None:
    started.set()
    await asyncio.Event().wait()


def test_portal_returns_results_and_raises_errors() -> None:
    async def divide(number: int) -> float:
        return 1 / number

    portal = Portal("it is over")
    assert portal.run(divide(2)) == 0.5
    with pytest.raises(ZeroDivisionError):
        portal.run(divide(0))
    portal.close()


def test_call_after_close_is_an_error() -> None:
    portal = Portal("it is over")
    portal.close()
    portal.close()
    # Were the coroutine left as it is, the warning would fail this test.
    with pytest.raises(ServiceError, match=r"^it is over$"):
        portal.run(asyncio.sleep(0))
    with pytest.raises(ServiceError, match=r"^it is over$"):
        portal.start(asyncio.sleep(0))
    portal.soon(lambda: None)


def test_close_cancels_a_waiting_call() -> None:
    portal, started = Portal("it is over"), threading.Event()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(portal.run, until_cancelled(started))
        assert started.wait(PATIENCE)
        portal.close()
        with pytest.raises(ServiceError, match=r"^it is over$"):
            waiting.result(PATIENCE)


def test_call_that_cancels_itself_is_an_error() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    portal = Portal("it is over")
    with pytest.raises(CancelledError):
        portal.run(give_up())
    portal.close()


def call_until_it_fails(portal: Portal, begun: threading.Barrier) -> Exception:
    begun.wait(PATIENCE)
    while True:
        try:
            portal.run(asyncio.sleep(0))
        except Exception as error:  # noqa: BLE001 - whatever it is
            return error


def test_calls_at_the_moment_of_close_end() -> None:
    for _ in range(20):
        portal, begun = Portal("it is over"), threading.Barrier(5)
        errors: list[Exception] = []

        def work(
            add: Callable[[Exception], None] = errors.append,
            portal: Portal = portal,
            begun: threading.Barrier = begun,
        ) -> None:
            add(call_until_it_fails(portal, begun))

        threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait(PATIENCE)
        portal.close()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a call waits forever"
        assert [str(error) for error in errors] == ["it is over"] * 4
        assert {type(error) for error in errors} == {ServiceError}
