"""Fixtures: the commands as a user runs them, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.store.lease import Lease
from tests.cli.feeding import Feeds
from tests.support.fork_server import ForkedProcess
from tests.support.signalr.hub import Hub

Database = Any  # a client of redis-py, whose commands are loosely typed
Result = subprocess.CompletedProcess[str]


def environment(**given: str) -> dict[str, str]:
    """This process's, without options of ours, and with ``given``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("IME_LIVE_")}
    # Gateways stop at once: no load balancer has to notice first.
    ours = {"COLUMNS": "100", "PYTHONWARNINGS": "error", "IME_LIVE_SHUTDOWN_GRACE": "0"}
    return kept | ours | given


def line_of(stream: Any, words: str) -> str:  # noqa: ANN401 - a pipe
    """The first line with these words; all lines before it are read."""
    seen = []
    for line in stream:
        seen.append(line)
        if words in line:
            return str(line)
    raise AssertionError("".join(seen))


@pytest.fixture
def env(valkey: EmbeddedValkey) -> dict[str, str]:
    """The commands' environment: it names the tests' Valkey. A test may add to it."""
    return environment(IME_LIVE_REDIS_URL=valkey.url)


@pytest.fixture
def ime_live(env: dict[str, str], tmp_path: Path) -> Callable[..., Result]:
    """Run a command to its end: ``ime_live("publish", "-", stdin="…")``."""

    def run(*arguments: str | Path, stdin: str | bytes = b"", **variables: str) -> Result:
        with ForkedProcess[bytes](
            "ime_live",
            [*map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**env, **variables},
            cwd=tmp_path,
        ) as process:
            given = stdin.encode() if isinstance(stdin, str) else stdin
            try:
                out, err = (said.decode() for said in process.communicate(given, timeout=60))
            except BaseException:
                process.kill()
                raise
        assert "Traceback" not in err, err
        return Result(process.args, process.returncode, out, err)

    return run


@pytest.fixture
def start(env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command with pipes; it is killed at the end of the test if it still runs."""
    with ExitStack() as stack:

        def run(*arguments: str | Path, **variables: str) -> subprocess.Popen[str]:
            process = ForkedProcess[str](
                "ime_live",
                [*map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**env, **variables},
                cwd=tmp_path,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield run


@pytest.fixture
def serve(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., str]:
    """Run ``ime-live serve --auth none`` on a free port; gives its host and port."""

    def run(*arguments: str) -> str:
        process = start(
            "serve", "--auth", "none", "--port", "0", "--shutdown-spread", "0", *arguments
        )
        assert process.stderr is not None
        address = ""
        for line in process.stderr:
            if found := re.search(r"listening .*port=(\d+)", line):
                address = f"127.0.0.1:{found[1]}"
            if "contracts loaded" in line:
                return address
        raise AssertionError("the gateway did not start")

    return run


@pytest.fixture
def database(valkey: EmbeddedValkey) -> Iterator[Any]:
    """The store through redis-py; ``Any``, as its commands are loosely typed."""
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def register(database: Database) -> Callable[..., None]:
    """Register contracts: ``register(("12345", "ContractA"))``."""

    def run(*contracts: tuple[str, str]) -> None:
        for contract_id, name in contracts:
            record = {"contractId": contract_id, "contractName": name}
            database.hset("ime:contracts", contract_id, json.dumps(record))

    return run


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """The exchange's SignalR hub, for one feed."""
    async with Hub() as made:
        made.negotiation = {"KeepAliveTimeout": 2.0, "DisconnectTimeout": 10.0}
        yield made
        assert made.violations == []


@pytest.fixture
async def lease(valkey: EmbeddedValkey) -> AsyncIterator[Lease]:
    """A look at which feed leads, and at what it says of itself."""
    async with Lease(StoreSettings(redis_url=valkey.url)) as made:
        yield made


@pytest.fixture
async def feeds(tmp_path: Path, hub: Hub, valkey: EmbeddedValkey) -> AsyncIterator[Feeds]:
    """Start feeds of `hub`; they end with the test."""
    made = Feeds(tmp_path, hub, valkey)
    yield made
    running = [each for each in made.made if each.process.poll() is None]
    for each in running:
        each.signal(signal.SIGTERM)
    with suppress(TimeoutError):
        for each in running:
            await each.ended(10)  # the hub answers meanwhile: a feed says goodbye to it
    for each in made.made:
        each.end()
