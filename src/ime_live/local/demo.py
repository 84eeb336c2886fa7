"""Demo: an embedded Valkey, a market and the gateway, in one command.

The market is synthetic, a recording in a loop, or a recording that is played once with its own
times. It needs no set-up and keeps no data. It serves this machine only, so it requires no token.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

import structlog

from ime_live.bars.aggregator import BarAggregator
from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.contracts import Contract
from ime_live.errors import FeedError, SettingsError, StoreError
from ime_live.feeds.pipeline.leadership import Leadership, holder_name
from ime_live.feeds.pipeline.registrar import Registrar
from ime_live.feeds.recording.replay import contracts_in, replay
from ime_live.feeds.synthetic.simulator import SyntheticMarket
from ime_live.gateway.server import GatewayConfig, GatewayServer, bind, limit_connections
from ime_live.gateway.stream.http_protocol import CONTEXT
from ime_live.local.embedded import EmbeddedValkey
from ime_live.local.playback import open_recording
from ime_live.local.played_clock import PlayedClock
from ime_live.log_limiter import LogLimiter
from ime_live.logs import configure_logging
from ime_live.market import timestamp_of
from ime_live.publisher import Publisher
from ime_live.settings import (
    LOOPBACK,
    AuthMode,
    BarsSettings,
    DemoSettings,
    DemoSource,
    GatewaySettings,
    StoreSettings,
    is_loopback,
)
from ime_live.status import FeedState, FeedStatus, MarketStatus, TradingSession
from ime_live.store.lease import Lease
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of

log = structlog.get_logger()
_limited: Final = LogLimiter(log)

_NOT_PUBLISHED: Final = "market data cannot be published"
_LOOK: Final = 0.01  # seconds between two looks at what the gateway is doing
_STEP: Final = 0.2  # seconds of the market's clock, which is the wall clock
_SHUTDOWN_SPREAD: Final = 0.2  # seconds: whoever ends a demo does not want to wait
_ALWAYS: Final = dict.fromkeys(
    ("sat", "sun", "mon", "tue", "wed", "thu", "fri"), (TradingSession("00:00", "24:00"),)
)
"""The hours of a market that never closes."""
_SHOWN: Final = 3  # contracts of each market named in the greeting


class DemoMarket(Protocol):
    """Interface of the demo's markets.

    Attributes:
        name: name in the feed's status.
        about: description for people.
        contracts: contracts of the market.
        clock: the time of the market.
        state: whether it trades.
    """

    @property
    def name(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def contracts(self) -> Sequence[Contract]: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def state(self) -> FeedState: ...

    async def open(self, settings: StoreSettings) -> None:
        """Register the contracts and publish their first states."""

    async def trade(self, settings: StoreSettings) -> None:
        """Publish changes, until cancelled."""


class Synthetic:
    """An invented market; see `DemoMarket`."""

    name = DemoSource.SYNTHETIC.value
    about = "of a synthetic market. All data is made up."
    clock = SYSTEM_CLOCK
    state = FeedState.LIVE

    def __init__(self, seed: int) -> None:
        self._market = SyntheticMarket(seed, datetime.now(UTC))

    @property
    def contracts(self) -> Sequence[Contract]:
        return self._market.contracts

    async def open(self, settings: StoreSettings) -> None:
        async with Store(settings) as store, Publisher(settings.redis_url) as publisher:
            await store.import_contracts(self._market.contracts)
            await publisher.publish_many(self._market.states())

    async def trade(self, settings: StoreSettings) -> None:
        registered = self.contracts
        async with Store(settings) as store, Publisher(settings.redis_url) as publisher:
            while True:
                await asyncio.sleep(_STEP)
                try:
                    await publisher.publish_many(self._market.step(datetime.now(UTC)))
                    if registered is not self.contracts:  # another day
                        await store.import_contracts(self.contracts)
                        registered = self.contracts
                except StoreError as error:
                    _limited.warning(_NOT_PUBLISHED, key=_NOT_PUBLISHED, error=str(error))


class Replayed:
    """A recording in a loop; see `DemoMarket`."""

    name = DemoSource.REPLAY.value
    about = "of a recording, which is replayed in a loop."
    clock = SYSTEM_CLOCK
    state = FeedState.LIVE

    def __init__(self, files: Sequence[Path], speed: float) -> None:
        """Read the contracts in the files.

        Args:
            files: recordings of frames.
            speed: 2 is twice as fast as recorded, 0 without waits.

        Raises:
            SettingsError: there are no contracts, or a file cannot be read.
        """
        if not files:
            raise SettingsError(
                "--source replay must have a recording, got none; add --frames FILE"
            )
        self._files = files
        self._speed = speed
        try:
            self.contracts = contracts_in(files)
        except FeedError as error:
            raise SettingsError(str(error)) from error
        if not self.contracts:
            raise SettingsError(
                f"a recording must have contracts, got none in {', '.join(map(str, files))}"
            )

    async def open(self, settings: StoreSettings) -> None:
        async with Store(settings) as store:
            await Registrar(store).register(self.contracts)

    async def trade(self, settings: StoreSettings) -> None:
        async with Store(settings) as store, Publisher(settings.redis_url) as publisher:
            while True:
                try:
                    await replay(
                        self._files,
                        publisher,
                        Registrar(store).register,
                        speed=self._speed,
                        loop=True,
                        report=log.debug,
                    )
                except StoreError as error:
                    _limited.warning(_NOT_PUBLISHED, key=_NOT_PUBLISHED, error=str(error))
                    await asyncio.sleep(1)


class Played:
    """A recording that is played once, with its own times; see `DemoMarket`."""

    name = "recording"

    def __init__(self, source: Path, speed: float, *, wait: bool) -> None:
        """Open the recording.

        Args:
            source: a file, or a folder of files.
            speed: 2 is twice as fast as recorded, 0 without waits.
            wait: whether it begins with the first stream.

        Raises:
            SettingsError: it cannot be played; the text says why.
        """
        self._playback = open_recording(source)
        self.clock = PlayedClock(self._playback.begin, speed)
        self.state = FeedState.LIVE
        begin = timestamp_of(self._playback.begin, zone_of(TEHRAN))[:19].replace("T", " ")
        how = f"{speed:g} times as fast" if speed else "as fast as possible"
        self.about = f"of a recording from {begin} in Tehran, which is played {how}."
        if wait:
            self.about += " It begins with the first stream."

    @property
    def contracts(self) -> Sequence[Contract]:
        return self._playback.contracts

    async def open(self, settings: StoreSettings) -> None:
        async with Store(settings) as store:
            await self._playback.open(store)

    async def trade(self, settings: StoreSettings) -> None:
        self.clock.start()
        async with Store(settings) as store:
            await self._playback.play(store, self.clock)
        # Clients keep the last states; the feed's state tells them that no other one comes.
        self.state = FeedState.CLOSED
        log.info("the recording has ended; its last states are served until Ctrl-C")


def market_of(settings: DemoSettings, frames: Sequence[Path]) -> DemoMarket:
    """Return the market that the settings name.

    Raises:
        SettingsError: the recording cannot be played; the text says why.
    """
    match settings.source.lower():
        case DemoSource.SYNTHETIC:
            return Synthetic(settings.seed)
        case DemoSource.REPLAY:
            return Replayed(frames, settings.speed)
    if frames:
        raise SettingsError("--frames must be given with --source replay only; leave it out")
    return Played(Path(settings.source), settings.speed, wait=settings.wait)


def run(settings: DemoSettings, frames: Sequence[Path] = ()) -> None:
    """Run the demo until Ctrl-C.

    Args:
        settings: address to listen on, and source of the market.
        frames: recordings to replay, with the source ``replay``.

    Raises:
        FeedError: a recording is damaged where it is played.
        SettingsError: the port is in use, the host is not a loopback address, a recording cannot
            be read, or the package was installed without the demo's parts.
    """
    if not is_loopback(settings.host):
        raise SettingsError(
            f"--host must be a loopback address, because the demo requires no token, "
            f"got {settings.host!r}"
        )
    configure_logging(settings)
    market = market_of(settings, frames)
    with bind(settings.host, settings.port) as listener, EmbeddedValkey() as valkey:
        host, port = listener.getsockname()[:2]
        gateway = GatewaySettings(
            redis_url=valkey.url,
            host=settings.host,
            port=port,
            auth=AuthMode.NONE,
            # Pages that somebody develops on this machine.
            cors_origins=LOOPBACK,
            shutdown_spread=_SHUTDOWN_SPREAD,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
        limit_connections(listener, gateway)
        config = GatewayConfig(gateway, market.clock)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

        async def work() -> None:
            await market.open(gateway)
            server = GatewayServer(config)
            aggregator = BarAggregator(BarsSettings(redis_url=valkey.url), clock=market.clock)
            keeping = asyncio.create_task(_keep_bars(aggregator))

            async def trade() -> None:
                # A bar of a played minute cannot be made later.
                while not (aggregator.follows or keeping.done()):  # noqa: ASYNC110 - looks at two things
                    await asyncio.sleep(_LOOK)
                await _trade(gateway, market, server, wait=settings.wait)

            tasks = [
                keeping,
                asyncio.create_task(trade()),
                asyncio.create_task(_attend(gateway, market)),
                asyncio.create_task(_announce(server, market, address)),
            ]
            try:
                await server.serve([listener])
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, FeedError):
                    raise result

        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(work())


async def _trade(
    settings: StoreSettings, market: DemoMarket, server: GatewayServer, *, wait: bool
) -> None:
    try:
        await _listening(server)
        while wait and not server.lifespan.state[CONTEXT].metrics.connections:  # noqa: ASYNC110 - the gateway has no event for it
            await asyncio.sleep(_LOOK)
        await market.trade(settings)
    except FeedError:
        server.stop()
        raise
    except Exception:
        log.exception("the demo's market has failed; stopping")
        server.stop()


async def _attend(settings: StoreSettings, market: DemoMarket) -> None:
    """Say that the market is open, so that clients of the demo can ask for the feed's state."""
    since: dict[FeedState, int] = {}
    listed = Counter(each.market for each in market.contracts if each.market is not None)

    def status() -> FeedStatus:
        now, state = market.clock.time_us(), market.state
        markets = {
            name: MarketStatus(state, last_board=now, contracts=count, hours=_ALWAYS)
            for name, count in listed.items()
        }
        return FeedStatus(
            state,
            since.setdefault(state, now),
            last_board=now,
            markets=markets,
            source=market.name,
            written=now,
            holidays=(),
        )

    try:
        async with Lease(settings, holder_name()) as lease:
            await Leadership(lease, status, on_lead=lambda: None).run()
    except Exception:
        log.exception("the demo's feed has no state any more; all else goes on")


async def _keep_bars(aggregator: BarAggregator) -> None:
    try:
        await aggregator.run()
    except Exception:
        log.exception("the demo has no candles any more; all else goes on")


async def _announce(server: GatewayServer, market: DemoMarket, address: str) -> None:
    # The contracts must be there when somebody copies a URL from the greeting.
    await _listening(server)
    print(greeting(market, address), flush=True)


async def _listening(server: GatewayServer) -> None:
    while not (server.started and server.lifespan.state[CONTEXT].contract_cache.loaded):  # noqa: ASYNC110 - uvicorn has no event
        await asyncio.sleep(_LOOK)


def _python() -> str:
    """This Python, as one would type it here: it has the library that the line needs."""
    path = Path(sys.executable)
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))


def greeting(market: DemoMarket, address: str) -> str:
    """Return the text that the demo prints when it is up.

    Args:
        market: market with the contracts.
        address: host and port.
    """
    examples = []
    for each in dict.fromkeys(contract.market for contract in market.contracts):
        codes = [c.contract_name for c in market.contracts if c.market == each]
        examples.append(f"    {', '.join(codes[:_SHOWN])}, … ({len(codes)} {each})")
    # The names of the documentation, if they are there; else one that can be typed.
    ordered = sorted(
        market.contracts,
        key=lambda c: (c.contract_name != "ContractA", not c.contract_name.isascii()),
    )
    name, contract_id = quote(ordered[0].contract_name), ordered[0].contract_id
    stream = f"ws://{address}/live/data/websocket/contract"
    return f"""
ime-live demo: {len(market.contracts)} contracts {market.about}

  market   http://{address}/
  by name  {stream}/name?contract_names={name}
  by id    {stream}/id?contract_id={contract_id}
  events   http://{address}/live/data/sse/contract/name?contract_names={name}
  all      http://{address}/docs
  state    http://{address}/ready   http://{address}/metrics

Contracts:
{chr(10).join(examples)}

Try it in another terminal (no token is asked for, since only this machine can connect):

  {_python()} -m websockets "{stream}/name?contract_names={name}&snapshot=true"

Stop with Ctrl-C.
"""
