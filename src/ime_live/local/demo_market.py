"""Markets of the demo: a synthetic one, a recording in a loop, or a recording played once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Final, Protocol

import structlog

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.contracts import Contract
from ime_live.errors import FeedError, SettingsError, StoreError
from ime_live.feeds.pipeline.registrar import Registrar
from ime_live.feeds.recording.replay import contracts_in, replay
from ime_live.feeds.synthetic.simulator import SyntheticMarket
from ime_live.local.playback import OnGap, open_recording
from ime_live.local.played_clock import PlayedClock
from ime_live.log_limiter import LogLimiter
from ime_live.market import timestamp_of
from ime_live.publisher import Publisher
from ime_live.settings import DemoSettings, DemoSource, StoreSettings
from ime_live.status import FeedState
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of

log = structlog.get_logger()
_limited: Final = LogLimiter(log)

_NOT_PUBLISHED: Final = "market data cannot be published"
_STEP: Final = 0.2  # seconds of the market's clock, which is the wall clock


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

    async def trade(self, settings: StoreSettings, on_gap: OnGap) -> None:
        """Publish changes, until cancelled.

        Args:
            settings: address of the store.
            on_gap: see `ime_live.local.playback.Playback.play`.
        """


class Synthetic:
    """A synthetic market; see `DemoMarket`."""

    name = DemoSource.SYNTHETIC.value
    about = "of a synthetic market. All data is made up."
    clock = SYSTEM_CLOCK
    state = FeedState.LIVE

    def __init__(self, seed: int) -> None:
        self._market = SyntheticMarket(seed, self.clock.local(UTC))

    @property
    def contracts(self) -> Sequence[Contract]:
        return self._market.contracts

    async def open(self, settings: StoreSettings) -> None:
        async with Store(settings) as store, Publisher(settings.redis_url) as publisher:
            await store.import_contracts(self._market.contracts)
            await publisher.publish_many(self._market.states())

    async def trade(self, settings: StoreSettings, on_gap: OnGap) -> None:
        del on_gap  # a synthetic market has no gaps
        registered = self.contracts
        async with Store(settings) as store, Publisher(settings.redis_url) as publisher:
            while True:
                await asyncio.sleep(_STEP)
                try:
                    await publisher.publish_many(self._market.step(self.clock.local(UTC)))
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
            speed: 2 is twice as fast as recorded; 0 never waits.

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

    async def trade(self, settings: StoreSettings, on_gap: OnGap) -> None:
        del on_gap  # frames have no information about gaps
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
            speed: 2 is twice as fast as recorded; 0 never waits.
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

    async def trade(self, settings: StoreSettings, on_gap: OnGap) -> None:
        self.clock.start()
        async with Store(settings) as store:
            await self._playback.play(store, self.clock, on_gap)
        # Clients keep the last states; the feed's state shows that no others will arrive.
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
