"""Fixtures: a real Valkey, clients of it, and market data to put into it."""

from __future__ import annotations

import asyncio
import copy
import gc
import importlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis as redis_sync
import structlog
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.store.store import Store
from tests.support import servers
from tests.support.ids import readable_id

# How long an example takes says more of the machine's other guests than of the code. A test that
# wants more examples, or fewer, than others takes a multiple of the profile's.
for _name, _examples in (("quick", 10), ("thorough", 100)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )
settings.load_profile("quick")  # continuous integration gives --hypothesis-profile=thorough

# Hundreds of processes are started, which would each compile our modules again: 0.2 s of CPU. Each
# of pytest's own would rewrite the assertions of all tests again: 10 s.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell without job control starts background processes with SIGINT ignored, which those of the
# tests would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# structlog's own tracebacks have colours, and the variables of each frame: 0.5 s of CPU for each.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

_BESIDE_THE_PACKAGE = ("tests/benchmarks/", "tests/chaos/", "tests/deploy/", "tests/fuzz/")

# Tests that run whole processes come first: else a worker that got the last of them would go on
# alone for minutes. (pytest-xdist would put files with few tests last: those are the slow ones.)
_FIRST = (
    *("/stream/", "/cli/", "/chaos/", "/store/", "/client/"),
    *("/test_documents.py", "/test_schemas.py", "/test_exported_members.py"),
    *("/test_signals.py", "/test_up.py"),
)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect tests without garbage collections, which find nothing: 4 s of CPU per process.

    Later ones need not search the tests and modules: each full one would take 0.4 s.
    """
    gc.disable()
    try:
        _import_tests(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _import_tests(config: pytest.Config) -> None:
    """Import all tests, in each worker from another one on.

    In a fresh clone the assertions of all tests are rewritten, which takes 10 s of CPU. Workers
    that import in the same order do the same work at the same time; these find most of it done.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args_source != config.ArgsSource.TESTPATHS:
        return
    folder = Path(__file__).parent
    files = sorted(folder.rglob("test_*.py"))
    start = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for file in files[start:] + files[:start]:
        # If one cannot be imported, the collection says so.
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(file.relative_to(folder.parent).with_suffix("").parts))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave browsers, and what is not in the package, to a thorough run."""
    uses_browser = "browser" in getattr(item, "fixturenames", ())
    if uses_browser or item.nodeid.startswith(_BESIDE_THE_PACKAGE):
        item.add_marker(pytest.mark.thorough)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the slow tests to the beginning."""
    items.sort(key=lambda item: not any(part in str(item.path) for part in _FIRST))


_LEVEL = {"buy_quantity": 0, "buy_price": 0, "sell_quantity": 0, "sell_price": 0}

_PAYLOAD: dict[str, Any] = {
    "BestLimit": {
        "1": {"buy_quantity": 8, "buy_price": 1163000, "sell_quantity": 3, "sell_price": 1163500},
        "2": {"buy_quantity": 5, "buy_price": 1162500, "sell_quantity": 0, "sell_price": 0},
        "3": _LEVEL,
    },
    "Aggregate": {
        "date": "2026-05-23",
        "time": "15:10:00",
        "trade_count": 12,
        "total_volume": 40,
        "total_value": 46524000,
        "closing_price": 1163100,
        "last_price": 1163500,
        "low_price": 1162000,
        "high_price": 1164000,
        "open_price": 1162500,
        "previous_close": 1160000,
    },
    "AllowedPriceRange": {"minAllowedPrice": 1, "maxAllowedPrice": 9999999999},
    "ContractInfo": {"open_interest": 350, "open_interest_changes": -4},
}


def _merged(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        whole[key] = _merged(whole[key], value) if isinstance(value, dict) else value
    return whole


@pytest.fixture(scope="session")
def payload() -> Callable[..., dict[str, Any]]:
    """Make a whole payload: ``payload(Aggregate={"last_price": 5})``."""

    def make(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON, also bad one
        return _merged(copy.deepcopy(_PAYLOAD), changes)

    return make


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Awaitable[None]]:
    """Wait until a condition holds that another process or the kernel brings about."""

    async def wait(condition: Callable[[], object], timeout: float = 20.0) -> None:  # noqa: ASYNC109
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110 - nothing of ours could set an event
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def valkey(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[EmbeddedValkey | servers.Server]:
    """One Valkey for all tests, emptied before each; for its ``url``. Not to be stopped."""
    other = "IME_LIVE_TEST_SERVER" in os.environ
    with servers.Server(tmp_path_factory.mktemp("server")) if other else EmbeddedValkey() as server:
        yield server


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """A running demo's host and port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ime_live", "demo", "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if "ws://" in line)
        yield re.findall(r"ws://([^/]+)/", said)[0]
        process.terminate()
        process.stdout.read()


class OwnValkey(EmbeddedValkey):
    """An embedded Valkey that we run without its keeper process, whose start costs 0.4 s of CPU."""

    def __init__(self, folder: Path) -> None:
        super().__init__(tcp=True)
        self._folder = folder
        self._server: servers.Server | None = None

    def start(self) -> None:
        """Start it; nothing if it runs already."""
        if self._server is None:
            self._server = servers.Valkey(self._folder, "--save", "", port=self._port)

    def stop(self) -> None:
        """Stop it; nothing if it does not run."""
        server, self._server = self._server, None
        if server is not None:
            server.kill()


@pytest.fixture
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A Valkey on a TCP port for one test, which may stop, kill and start it."""
    with OwnValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(autouse=True)
def _emptied(request: pytest.FixtureRequest) -> None:
    if "valkey" in request.fixturenames:
        with redis_sync.Redis.from_url(request.getfixturevalue("valkey").url) as client:
            client.flushall()
            client.script_flush()


@pytest.fixture
async def redis(valkey: EmbeddedValkey) -> AsyncIterator[Any]:
    """redis-py itself, to look at what is stored; any, as its commands are loosely typed."""
    async with Redis.from_url(valkey.url, protocol=2) as client:
        yield client


@pytest.fixture
async def store(valkey: EmbeddedValkey) -> AsyncIterator[Store]:
    """A store with the default prefix."""
    async with Store(StoreSettings(redis_url=valkey.url)) as made:
        yield made


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name parameters by their values, so that ``-k`` and reports show them."""
    return readable_id(val)
