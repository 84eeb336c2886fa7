"""Fixtures: a Valkey with contracts, gateways on it, and ways to publish."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from redis.asyncio import Redis

from ime_live.contracts import Contract
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.store.store import Store
from tests.support.chromium import chromium, tab
from tests.support.gateways import Gateway

SECRET = "a secret of the tests, long enough for HS256"

# As many as the tests together draw, and the thousand that one of them asks for at once.
_CONTRACTS = 2000

PERSIAN = Contract(contract_id="900001", contract_name="سكه0312پ01", title="سکه طلا")


class Market:
    """Contracts that are registered before any gateway starts; each test draws its own."""

    def __init__(self, contracts: list[Contract]) -> None:
        self.contracts = contracts
        self._fresh = iter(contracts)

    def take(self, count: int) -> list[Contract]:
        """Contracts that no other test uses."""
        taken = list(itertools.islice(self._fresh, count))
        assert len(taken) == count, "the tests draw more contracts than there are"
        return taken

    def one(self) -> Contract:
        """A contract that no other test uses."""
        return self.take(1)[0]


class Serve(Protocol):
    """Starts gateways; they end with the fixture."""

    def __call__(self, redis_url: str = "", *, ready: bool = True, **settings: Any) -> Gateway:  # noqa: ANN401
        """Start one, by default on the common Valkey and until it is ready."""


@pytest.fixture(scope="session")
def backend() -> Iterator[EmbeddedValkey]:
    """The Valkey of all gateways here that do not need one of their own. Never emptied."""
    with EmbeddedValkey() as server:
        yield server


async def register(redis_url: str, *contracts: Contract) -> None:
    """Register contracts."""
    async with Store(StoreSettings(redis_url=redis_url)) as store:
        await store.import_contracts(contracts)


@pytest.fixture(scope="session")
def market(backend: EmbeddedValkey) -> Market:
    """The contracts of the common Valkey."""
    contracts = [
        Contract(contract_id=str(10_000 + n), contract_name=f"KASH{n:04}")
        for n in range(_CONTRACTS)
    ]
    asyncio.run(register(backend.url, *contracts, PERSIAN))
    return Market(contracts)


def _server(backend: EmbeddedValkey, folders: Callable[[], Path]) -> Iterator[Serve]:
    gateways: list[Gateway] = []

    def serve(redis_url: str = "", *, ready: bool = True, **settings: Any) -> Gateway:  # noqa: ANN401
        gateway = Gateway(folders(), redis_url or backend.url, **settings)
        gateways.append(gateway)
        return gateway.when_ready() if ready else gateway

    yield serve
    for gateway in gateways:
        gateway.process.terminate()  # all at once: each takes a moment
    for gateway in gateways:
        gateway.end()
    for gateway in gateways:
        assert "Traceback" not in gateway.output, gateway.output


@pytest.fixture(scope="session")
def _serve_all(
    backend: EmbeddedValkey, market: Market, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serve]:
    yield from _server(backend, lambda: tmp_path_factory.mktemp("gateway"))


@pytest.fixture
def serve(
    backend: EmbeddedValkey, market: Market, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serve]:
    """Start gateways for one test."""
    yield from _server(backend, lambda: tmp_path_factory.mktemp("gateway"))


@pytest.fixture(scope="session")
def gateway(_serve_all: Serve) -> Gateway:
    """A gateway with the default settings, that asks for no token."""
    return _serve_all()


@pytest.fixture(scope="session")
def guarded(_serve_all: Serve) -> Gateway:
    """A gateway that asks for tokens of `SECRET` and says all it has to say."""
    return _serve_all(
        auth="jwt", log_level="debug", ping_interval=0.4, variables={"IME_LIVE_JWT_SECRET": SECRET}
    )


@pytest.fixture(scope="session")
def hasty(_serve_all: Serve) -> Gateway:
    """A gateway behind a root path, with no compression and no patience."""
    return _serve_all(
        root_path="/data-engine/ime",
        compression=False,
        ping_interval=0.2,
        ping_timeout=0.4,
        handshake_timeout=0.5,
        slow_client_timeout=0.8,
        max_request=8192,
    )


class Wire:
    """Publishes as somebody does who does not know our Publisher."""

    def __init__(self, redis: Any) -> None:  # noqa: ANN401 - redis-py's commands are loosely typed
        self.redis = redis

    async def send(self, contract: Contract, data: Any, version: int | None = None) -> None:  # noqa: ANN401
        """Publish a payload on a contract's channel, as it is, and nothing else."""
        message = {"data": data} if version is None else {"version": version, "data": data}
        await self.send_raw(contract, msgspec.json.encode(message))

    async def send_raw(self, contract: Contract, message: bytes) -> None:
        """Publish bytes on a contract's channel."""
        await self.redis.publish(self.channel(contract), message)

    async def audience(self, contract: Contract) -> int:
        """How many listen to a contract's channel."""
        [(_, count)] = await self.redis.pubsub_numsub(self.channel(contract))
        return int(count)

    @staticmethod
    def channel(contract: Contract) -> str:
        """The dedicated channel of a contract."""
        return f"ime:live:{{{contract.contract_id}}}"


@pytest.fixture
async def wire(backend: EmbeddedValkey) -> AsyncIterator[Wire]:
    """A foreign publisher."""
    async with Redis.from_url(backend.url, protocol=2) as client:
        yield Wire(client)


@pytest.fixture
async def publisher(backend: EmbeddedValkey) -> AsyncIterator[Publisher]:
    """Our publisher."""
    async with Publisher(backend.url) as made:
        yield made


@pytest.fixture
async def store(backend: EmbeddedValkey) -> AsyncIterator[Store]:
    """The store of the common Valkey."""
    async with Store(StoreSettings(redis_url=backend.url)) as made:
        yield made


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    yield from chromium(tmp_path_factory.mktemp("chromium"))


@pytest.fixture
def browser(_chromium: int) -> Iterator[str]:
    """A tab of a headless Chromium; the address of its page."""
    yield from tab(_chromium)
