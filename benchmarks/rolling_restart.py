"""A rolling restart under load: two gateways behind HAProxy are drained and restarted in turn.

Two thousand programs with the client library stream some contracts each, while states are published
all the time. A contract changes less often than a client needs to reconnect, so each client must
receive every single state of its contracts. ``python -m benchmarks.rolling_restart`` takes a
minute, and writes the figures into `docs/operations.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from ssl import SSLContext
from typing import Final, Self

from msgspec import Struct

import ime_live
from benchmarks.__main__ import register
from benchmarks.processes import ROOT, free_port
from benchmarks.publications import data_of, name_of
from benchmarks.report import machine, versions
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market import version_of
from ime_live.publisher import Publisher
from ime_live.timezones import TEHRAN, zone_of

CLIENTS: Final = 2_000
CONTRACTS: Final = 50
_OF_EACH: Final = 3
_INTERVAL: Final = 5.0  # seconds between two states of a contract
_NOTICED: Final = 2.5  # seconds; HAProxy asks once a second, and believes the second answer
_SETTLED: Final = 2.0  # seconds after the last restart; longer than the last client needs
_AT_ONCE: Final = 100  # clients that connect at a time, at the beginning
_TIMEOUT: Final = 60.0
_WHOLE: Final = 1.0  # seconds
_ZONE: Final = zone_of(TEHRAN)

_DOCUMENT: Final = ROOT / "docs" / "operations.md"
START: Final = "<!-- Figures: written by `python -m benchmarks.rolling_restart`; do not edit. -->"
END: Final = "<!-- End of figures. -->"


class GatewayProcess:
    """A gateway that can be drained, stopped and started again on its port.

    Attributes:
        port: where it listens.
    """

    def __init__(self, folder: Path, redis_url: str, *options: str) -> None:
        """Name its files and options; `start` starts it.

        Args:
            folder: takes its pid file and its log.
            redis_url: its Redis.
            options: further options of ``serve``.
        """
        self.port = free_port()
        self._pid_file = str(folder / f"{self.port}.pid")
        self._log = folder / f"{self.port}.log"
        self._command = (
            *("serve", "--auth", "none", "--port", str(self.port), "--redis-url", redis_url),
            *("--max-subject-connections", "0", "--pid-file", self._pid_file, *options),
        )
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        process = self._process = self._started()
        async with asyncio.timeout(_TIMEOUT):
            while await asyncio.to_thread(self._status) != 200:
                if process.poll() is not None:
                    raise RuntimeError(f"the gateway does not start:\n{self._log.read_text()}")
                await asyncio.sleep(0.1)

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "ime_live", *self._command], stdout=log, stderr=log
            )

    def _status(self) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    async def drain(self) -> None:
        """Run ``ime-live drain``.

        Raises:
            RuntimeError: it fails.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ime_live", "drain", "--pid-file", self._pid_file),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode != 0 or not said.endswith(b"drained: 0 streams open\n"):
            raise RuntimeError(f"drain ended with {process.returncode}:\n{said.decode()}")

    async def stop(self) -> None:
        """Stop it with SIGTERM.

        Raises:
            RuntimeError: its exit status is not 0.
        """
        if self._process is None:
            return
        self._process.terminate()
        status = await asyncio.to_thread(self._process.wait, _TIMEOUT)
        self._process = None
        if status != 0:
            raise RuntimeError(f"the gateway ended with {status}:\n{self._log.read_text()}")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class ResumingClient:
    """A program with the client library, and what it has received.

    Attributes:
        contracts: names of its contracts.
        received: versions of each contract in the order of their arrival.
        lost: times at which a connection ended, on the monotonic clock.
        made: times at which one was made, the first one included.
    """

    def __init__(self, contracts: Sequence[str]) -> None:
        """Take its contracts; `run` connects."""
        self.contracts = contracts
        self.received: dict[str, list[int]] = {name: [] for name in contracts}
        self.lost: list[float] = []
        self.made: list[float] = []
        self.began = asyncio.Event()

    async def run(self, url: str, ssl: SSLContext | None) -> None:
        """Receive until cancelled."""
        async with ime_live.connect(
            url,
            self.contracts,
            queue="block",
            proxy=None,
            ssl=ssl,
            compression=False,
            on_connection=self._note,
        ) as stream:
            async for message in stream:
                version = version_of(message.timestamp_text, _ZONE)
                self.received[message.contract_name or ""].append(version)
                self.began.set()

    def _note(self, event: ime_live.ConnectionEvent) -> None:
        if event.connected:
            self.made.append(time.monotonic())
        elif len(self.lost) < len(self.made):  # else an attempt has failed
            self.lost.append(time.monotonic())

    def faults(self, published: dict[str, list[int]]) -> tuple[int, int]:
        """Return how many states it has missed, and how many came twice or out of order."""
        missed = disordered = 0
        for name, received in self.received.items():
            first = received[0] if received else 0
            missed += len({each for each in published[name] if each >= first} - {*received})
            disordered += sum(later <= one for one, later in pairwise(received))
        return missed, disordered

    @property
    def gaps(self) -> list[float]:
        """Seconds without a connection, each time."""
        return [made - lost for lost, made in zip(self.lost, self.made[1:], strict=False)]


class Outcome(Struct, frozen=True):
    """The result of a rolling restart.

    Attributes:
        clients: their number.
        states: states that were published.
        received: messages that the clients received.
        missed: states that a client did not receive, all clients together.
        disordered: states that a client received twice or in the wrong order.
        away: clients that were without a connection at the end.
        reconnections: all of them.
        most_lost: connections that were lost in any one second.
        most_made: connections that were made again in any one second.
        longest_gap: seconds without a connection.
        drains: seconds that each drain took.
    """

    clients: int
    states: int
    received: int
    missed: int
    disordered: int
    away: int
    reconnections: int
    most_lost: int
    most_made: int
    longest_gap: float
    drains: Sequence[float]


class RollingRestart:
    """Clients on a proxy in front of gateways, and a publisher; use as ``async with``."""

    def __init__(
        self,
        gateways: Sequence[GatewayProcess],
        redis_url: str,
        *,
        url: str,
        clients: int = CLIENTS,
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
                await asyncio.sleep(_NOTICED)
            begin = time.monotonic()
            await gateway.drain()
            drains.append(time.monotonic() - begin)
            await gateway.stop()
            await gateway.start()
        await asyncio.sleep(_SETTLED)
        self._publishing.cancel()
        with suppress(asyncio.CancelledError):
            await self._publishing
        await asyncio.sleep(_WHOLE)  # what was published last arrives
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


def haproxy_without_tls(port: int, gateways: Sequence[int]) -> str:
    """The configuration of `deploy/haproxy` for clients without TLS.

    Args:
        port: where it listens.
        gateways: ports of the two gateways.
    """
    text = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
    text = re.sub(r"\n +bind :443.*", "", text)
    text = re.sub(r"\n +http-request redirect.*", "", text)
    text = text.replace("bind :80", f"bind 127.0.0.1:{port}")
    text = text.replace("maxconn 60000", "maxconn 5000")
    for number, gateway in enumerate(gateways, 1):
        text = text.replace(f"127.0.0.1:800{number}", f"127.0.0.1:{gateway}")
    return text


def _start_haproxy(folder: Path, port: int, gateways: Sequence[int]) -> subprocess.Popen[bytes]:
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("HAProxy is needed (Debian: apt install haproxy)")
    config = folder / "haproxy.cfg"
    config.write_text(haproxy_without_tls(port, gateways))
    with (folder / "haproxy.log").open("wb") as log:
        return subprocess.Popen([program, "-db", "-f", str(config)], stdout=log, stderr=log)  # noqa: S603


async def measure(clients: int) -> Outcome:
    """Run everything, with the defaults of a gateway."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A line per client and connection tells nothing here.
    logging.getLogger("ime_live.client").setLevel(logging.ERROR)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey = stack.enter_context(EmbeddedValkey())
        await register(valkey.url)
        gateways = [GatewayProcess(folder, valkey.url) for _ in range(2)]
        for gateway in gateways:
            stack.callback(gateway.kill)
            await gateway.start()
        port = free_port()
        proxy = _start_haproxy(folder, port, [gateway.port for gateway in gateways])
        stack.enter_context(proxy)
        stack.callback(proxy.kill)
        await asyncio.sleep(_NOTICED)
        load = RollingRestart(gateways, valkey.url, url=f"ws://127.0.0.1:{port}", clients=clients)
        async with load:
            # A collection among the objects of all clients takes 0.8 s, after which those that
            # have waited for it would all reconnect together.
            gc.freeze()
            gc.disable()
            return await load.run()


def table(outcome: Outcome) -> str:
    """The figures in Markdown."""
    one = outcome
    tenth = one.clients / 10
    rows = (
        ("clients", f"{one.clients:,}"),
        ("states published", f"{one.states:,}"),
        ("messages received", f"{one.received:,}"),
        ("states missed by a client", f"{one.missed:,}"),
        ("states received twice or out of order", f"{one.disordered:,}"),
        ("reconnections", f"{one.reconnections:,}"),
        ("most reconnections in any second", f"{one.most_made:,} (a tenth is {tenth:,.0f})"),
        ("longest time without a connection", f"{one.longest_gap:.1f} s"),
        ("drains", " and ".join(f"{seconds:.0f} s" for seconds in one.drains)),
    )
    lines = ["| what | measured |", "|---|---|", *(f"| {name} | {cell} |" for name, cell in rows)]
    return "\n".join(lines)


def with_figures(document: str, outcome: Outcome, measured_on: str) -> str:
    """Return a document with the figures between its two comments."""
    before, start, rest = document.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the document must have the comments {START} and {END}")
    return f"{before}{start}\n\n{measured_on}\n\n{table(outcome)}\n\n{end}{after}"


def main() -> None:
    """Run a rolling restart, and write its figures into docs/operations.md."""
    parser = argparse.ArgumentParser(prog="rolling_restart", description=main.__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    clients: int = parser.parse_args().clients
    outcome = asyncio.run(measure(clients))
    print(table(outcome))
    if clients >= CLIENTS:
        measured_on = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}. {versions()}."
        text = _DOCUMENT.read_text(encoding="utf-8")
        _DOCUMENT.write_text(with_figures(text, outcome, measured_on), encoding="utf-8")
    if outcome.missed or outcome.disordered or outcome.away or outcome.most_made > clients / 10:
        sys.exit("a state was missed, or more than a tenth of the clients reconnected in a second")


if __name__ == "__main__":
    main()
