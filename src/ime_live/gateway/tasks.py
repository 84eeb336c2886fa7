"""Part: what runs in the gateway beside its connections, as long as the process.

No failure of a part ends the process. That would disconnect all clients, also those that the part
does nothing for; and what makes it fail, as an entry of the store that it cannot take, is there
for all gateways at once, and for the next process as well. So it is started again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

from ime_live.backoff import Backoff

LONGEST_WAIT: Final = 10.0
"""Seconds before a part that fails again and again is started again, at most."""

RAN_WELL: Final = 60.0
"""Seconds of running after which a failure has nothing to do with the one before."""


async def keep_running(
    run: Callable[[], Awaitable[None]],
    failed: Callable[[BaseException], None],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    monotonic: Callable[[], float] = time.monotonic,
    jitter: Callable[[], float] = random.random,
) -> None:
    """Run a part until cancelled; start it again, after a wait, whenever it fails or ends.

    Args:
        run: runs the part.
        failed: told of each failure.
        sleep: waits some seconds.
        monotonic: seconds.
        jitter: a number from 0 to below 1, so that gateways do not fail in step.
    """
    backoff = Backoff(LONGEST_WAIT, jitter)
    while True:
        started = monotonic()
        try:
            await run()
            failed(RuntimeError("it has ended, which it must not"))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failed(error)  # of something that it waited for, and not of itself
        except Exception as error:  # noqa: BLE001 - it is told, and nothing is lost
            failed(error)
        if monotonic() - started >= RAN_WELL:
            backoff.reset()
        await sleep(backoff.next())
