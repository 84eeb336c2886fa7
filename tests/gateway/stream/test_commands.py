"""Queue of commands: one after the other, none while the client takes nothing, not too many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog
from structlog.testing import capture_logs

from ime_live.errors import RefusedError
from ime_live.gateway.stream.commands import CommandQueue
from ime_live.log_limiter import LogLimiter
from ime_live.messages import ControlRequest


def ask(number: int) -> bytes:
    return b'{"action": "subscribe", "id": %d}' % number


def limiter() -> LogLimiter:
    """A limiter that has written no line yet."""
    return LogLimiter(structlog.get_logger())


class CommandHandler:
    """Takes down what it is asked for, and takes its time."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.at_work = 0
        self.slow = asyncio.Event()
        self.slow.set()

    async def change(
        self, request: ControlRequest, writable: Callable[[], Awaitable[object]]
    ) -> None:
        assert not self.at_work, "two at once"
        self.at_work += 1
        try:
            await self.slow.wait()
            await writable()
            if request.id == 13:
                raise ValueError("unlucky")
            self.said.append(request.id)
        finally:
            self.at_work -= 1

    def reject(self, error: str, request_id: str | int | None) -> None:
        self.said.append((error, request_id))


async def at_once() -> None:
    """A turn that is free."""


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_commands_are_handled_in_order() -> None:
    handler = CommandHandler()
    queue = CommandQueue(handler, writable=True, turn=at_once, limited=limiter())
    for number in range(3):
        queue.receive(ask(number))
    queue.receive(b"ping")
    queue.receive(b'{"action": "nonsense", "id": "x"}')
    await settled()
    assert handler.said == [0, 1, 2, ("action is neither subscribe nor unsubscribe: nonsense", "x")]
    queue.receive(ask(4))
    await settled()
    assert handler.said[-1] == 4


async def test_binary_message_is_refused_as_a_command() -> None:
    handler = CommandHandler()
    queue = CommandQueue(handler, writable=True, turn=at_once, limited=limiter())
    queue.receive(ask(1), binary=True)
    queue.receive(b"\x00\xff", binary=True)
    queue.receive(ask(2))
    await settled()
    assert handler.said == [("a control message must be text, got binary", 1), 2]


async def test_commands_wait_while_the_client_takes_no_data() -> None:
    handler = CommandHandler()
    queue = CommandQueue(handler, writable=False, turn=at_once, limited=limiter())
    queue.receive(ask(1))
    await settled()
    assert (handler.said, handler.at_work) == ([], 0)
    queue.resume()
    await settled()
    queue.pause()
    queue.receive(b'{"action": 1}')
    await settled()
    assert handler.said == [1]
    queue.resume()
    await settled()
    assert len(handler.said) == 2


async def test_answer_waits_until_the_client_takes_data() -> None:
    handler = CommandHandler()
    queue = CommandQueue(handler, writable=True, turn=at_once, limited=limiter())
    handler.slow.clear()
    queue.receive(ask(1))
    await settled()
    queue.pause()
    handler.slow.set()
    await settled()
    assert handler.said == []
    queue.resume()
    await settled()
    assert handler.said == [1]


async def test_queue_of_commands_is_bounded() -> None:
    handler = CommandHandler()
    queue = CommandQueue(handler, writable=False, turn=at_once, limited=limiter())
    for number in range(100):
        queue.receive(ask(number))
    queue.receive(b"what asks for nothing does not wait")
    with pytest.raises(RefusedError, match="too many messages"):
        queue.receive(ask(100))
    queue.close()
    await settled()


async def test_closed_queue_answers_no_command() -> None:
    handler = CommandHandler()
    queue = CommandQueue(handler, writable=True, turn=at_once, limited=limiter())
    handler.slow.clear()
    queue.receive(ask(1))
    queue.receive(ask(2))
    await settled()
    queue.close()
    handler.slow.set()
    await settled()
    assert (handler.said, handler.at_work) == ([], 0)


async def test_failed_command_is_answered_and_logged_and_the_next_is_handled() -> None:
    handler = CommandHandler()
    queue = CommandQueue(handler, writable=True, turn=at_once, limited=limiter())
    with capture_logs() as logs:
        for number in (13, 14, 13, 13):
            queue.receive(ask(number))
        await settled()
    assert handler.said == [("internal error", 13), 14, *[("internal error", 13)] * 2]
    # One line for each kind of failure, however often a client brings it about.
    assert [line["event"] for line in logs] == ["command failed"]


async def test_command_waits_for_its_turn() -> None:
    handler = CommandHandler()
    turn = asyncio.Event()
    queue = CommandQueue(handler, writable=True, turn=turn.wait, limited=limiter())
    queue.receive(ask(1))
    await settled()
    assert handler.said == []
    turn.set()
    await settled()
    assert handler.said == [1]
