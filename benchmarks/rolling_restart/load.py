"""A rolling restart under load: gateways behind a proxy are drained and restarted in turn.

Programs with the client library stream some contracts each, while states are published all the
time. A contract changes less often than a client needs to reconnect, so each client must receive
every single state of its contracts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ssl import SSLContext
from typing import Final, Self

from benchmarks.publications import data_of, name_of
from benchmarks.rolling_restart.gateway_process import GatewayProcess
from benchmarks.rolling_restart.outcome import Outcome
from benchmarks.rolling_restart.resuming_client import ResumingClient
from ime_live.publisher import Publisher

CONTRACTS: Final = 50
NOTICED: Final = 2.5
"""Seconds; HAProxy asks once a second, and believes the second answer."""

_OF_EACH: Final = 3
_INTERVAL: Final = 5.0  # seconds between two states of a contract
_SETTLED: Final = 2.0  # seconds after the last restart; longer than the last client needs
_AT_ONCE: Final = 100  # clients that connect at a time, at the beginning
_TIMEOUT: Final = 60.0
_WHOLE: Final = 1.0  # seconds


class RollingRestart:
    """Clients on a proxy in front of gateways, and a publisher; use as ``async with``."""

    def __init__(
        self,
        gateways: Sequence[GatewayProcess],
        redis_url: str,
        *,
        url: str,
        clients: int,
        ssl: SSLContext | None = None,
    ) -> None:
        """Take the parts, of which the gateways and the proxy are running.

        Args:
            gateways: restarted in this order.
            redis_url: their Redis, which has the benchmarks' contracts.
            url: the proxy's.
            clients: their number.
            ssl: how clients verify the proxy.
        """
        self._gateways = gateways
        self._redis_url = redis_url
        self._url, self._ssl = url, ssl
        names = [name_of(n) for n in range(CONTRACTS)]
        self._published: dict[str, list[int]] = {name: [] for name in names}
        self.clients = [
            ResumingClient([names[(n + k * 7) % CONTRACTS] for k in range(_OF_EACH)])
            for n in range(clients)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for begin in range(0, len(self.clients), _AT_ONCE):
            some = self.clients[begin : begin + _AT_ONCE]
            self._tasks += [asyncio.create_task(one.run(self._url, self._ssl)) for one in some]
            async with asyncio.timeout(_TIMEOUT):
                await asyncio.gather(*(one.began.wait() for one in some))
        self._publishing = asyncio.create_task(self._publish())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._publishing, *self._tasks):
            task.cancel()
        await asyncio.gather(self._publishing, *self._tasks, return_exceptions=True)

    async def _publish(self) -> None:
        number = 200_000
        due = time.monotonic()
        async with Publisher(self._redis_url) as publisher:
            while True:
                for contract in range(CONTRACTS):
                    number += 1
                    result = await publisher.publish(str(contract), data_of(number))
                    self._published[name_of(contract)].append(result.version)
                    due += _INTERVAL / CONTRACTS
                    await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def run(self, *, within: float = _WHOLE) -> Outcome:
        """Restart all gateways, one after the other.

        Args:
            within: seconds in which connections are counted; less than one for a shorter drain.
        """
        drains: list[float] = []
        for gateway in self._gateways:
            if drains:
                await asyncio.sleep(NOTICED)
            begin = time.monotonic()
            await gateway.drain()
            drains.append(time.monotonic() - begin)
            await gateway.stop()
            await gateway.start()
        await asyncio.sleep(_SETTLED)
        self._publishing.cancel()
        with suppress(asyncio.CancelledError):
            await self._publishing
        await asyncio.sleep(_WHOLE)  # the last states arrive
        for task in self._tasks:
            if task.done():
                task.result()
        faults = [one.faults(self._published) for one in self.clients]
        gaps = [gap for one in self.clients for gap in one.gaps]
        return Outcome(
            clients=len(self.clients),
            states=sum(map(len, self._published.values())),
            received=sum(len(each) for one in self.clients for each in one.received.values()),
            missed=sum(missed for missed, _ in faults),
            disordered=sum(disordered for _, disordered in faults),
            away=sum(len(one.lost) == len(one.made) for one in self.clients),
            reconnections=len(gaps),
            most_lost=most_within(within, (at for one in self.clients for at in one.lost)),
            most_made=most_within(within, (at for one in self.clients for at in one.made[1:])),
            longest_gap=max(gaps, default=0.0),
            drains=drains,
        )


def most_within(seconds: float, times: Iterable[float]) -> int:
    """Return how many of these times lie within any span of so many seconds.

    >>> most_within(1.0, [5.2, 0.0, 0.7, 0.9, 1.5])
    3
    """
    most = 0
    span: deque[float] = deque()
    for each in sorted(times):
        span.append(each)
        while each - span[0] >= seconds:
            span.popleft()
        most = max(most, len(span))
    return most
