"""Bar aggregator: compute one-minute bars of all contracts, and store them while it leads.

A standby reads the same streams but writes nothing. A new leader merges the stored bars with its
own.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import date
from typing import Final

import structlog

from ime_live.backoff import Backoff
from ime_live.bars.bar_writer import CHUNK, WRITE_INTERVAL, BarWriter
from ime_live.bars.contract_bars import MINUTE, ContractBars
from ime_live.bars.trade_state import TradeState, read_last, read_message
from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import (
    FencedError,
    IncompleteError,
    PayloadError,
    StoreError,
    StoreSettingsError,
)
from ime_live.feeds.pipeline.leadership import LEAVING, Leadership, holder_name
from ime_live.log_limiter import LogLimiter
from ime_live.settings import BarsSettings, StoreSettings
from ime_live.status import FeedState, FeedStatus
from ime_live.store.bar import Bar
from ime_live.store.bar_store import BarStore, BarWrite
from ime_live.store.lease import BARS, Lease
from ime_live.store.pubsub import PubSub
from ime_live.store.records import LastState
from ime_live.store.store import Store, check_settings
from ime_live.timezones import TEHRAN, zone_of

log = structlog.get_logger()

_MAX_DELAY: Final = 5.0
_DAY: Final = 86_400

# A connection that hangs is noticed after its silence and a timeout.
_MAY_HANG: Final = 2.0


class BarAggregator:
    """Reads the states of all contracts, and keeps their bars."""

    def __init__(self, settings: BarsSettings, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Create an aggregator. It connects when it runs.

        Args:
            settings: address of Redis, and how long bars are kept.
            clock: the machine's clock, or that of a recording that is played.
        """
        self._settings = settings
        self._clock = clock
        self._zone = zone_of(TEHRAN)
        self._store = Store(settings)
        connections = self._store.connections
        self._bar_store = BarStore(settings, connections=connections)
        self._limited = LogLimiter(log, clock=clock)
        self._contracts: dict[str, ContractBars] = {}
        self.writer = BarWriter(
            self._bar_store,
            self._contracts,
            keep=settings.bars_days * _DAY,
            limited=self._limited,
            clock=clock,
        )
        """Writes the bars while this aggregator leads."""
        self._lease = Lease(settings, holder_name(), program=BARS, connections=connections)
        self.leadership = Leadership(
            self._lease,
            self.status,
            on_lead=self.writer.begin,
            program="bar aggregator",
            clock=clock,
        )
        self._due = asyncio.Event()
        self._pubsub = PubSub(
            self._store,
            on_message=self._receive,
            on_contracts=lambda _: self._due.set(),
            on_connected=self._due.set,
            on_disconnected=self._on_disconnected,
        )
        self._early: dict[str, bytes] = {}
        """The newest message of each contract whose stored bars have not been read yet."""
        self._unread: dict[str, int] = {}
        """For each contract whose stream Redis refuses, the same as `_seen_until`."""
        self._seen_until: int | None = None
        """Minute since the epoch until which every state was seen; None while all are."""
        self._gaps: list[int] = []
        """Beginnings of the gaps in a played recording, in microseconds since the epoch."""
        self._started = False
        self._live = False
        self._since = clock.time_us()
        self.received = 0
        """Number of messages that were received."""
        self.refused = 0
        """Number of states that could not be read."""
        self.registry_read = 0.0
        """When the contracts were last read, in Unix seconds; 0 for never."""

    @property
    def contracts(self) -> int:
        """Number of contracts whose bars are kept."""
        return len(self._contracts)

    @property
    def unread(self) -> int:
        """Number of contracts whose stream Redis refuses."""
        return len(self._unread)

    @property
    def connected(self) -> bool:
        """Whether the streams can be read."""
        return self._pubsub.connected

    @property
    def follows(self) -> bool:
        """Whether the streams of all contracts are read."""
        following = self._pubsub.connected and not self._due.is_set() and self._seen_until is None
        return following and self._started

    def note_gap(self, begin: int) -> None:
        """Note a gap in the recording that is played.

        The next bar of each contract is marked with `gap`, as after states that this program has
        missed.

        Args:
            begin: last moment before the gap, in microseconds since the epoch.
        """
        self._gaps.append(begin)

    def status(self) -> FeedStatus:
        """Return the present status: live while all streams are read."""
        live = self.follows
        now = self._clock.time_us()
        if live != self._live:
            self._live, self._since = live, now
        return FeedStatus(
            FeedState.LIVE if live else FeedState.DOWN,
            self._since,
            source=BARS,
            error=None if live else "the streams cannot be read",
            refused=self.refused,
            written=now,
        )

    async def run(self) -> None:
        """Keep bars until cancelled.

        Raises:
            StoreSettingsError: Redis does not match the settings.
        """
        await check_bars(self._settings)
        works = (self._pubsub.run(), self._follow(), self._write_often(), self.leadership.run())
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # each ends only with an error
        finally:
            # The lease is released last, so that the next leader finds all bars in the store.
            for task in tasks[:3]:
                task.cancel()
            await asyncio.gather(*tasks[:3], return_exceptions=True)
            with suppress(TimeoutError):
                # Not `asyncio.timeout`, see `Leadership`.
                await asyncio.wait_for(self._write_if_leading(), LEAVING)
            tasks[3].cancel()
            await asyncio.gather(tasks[3], return_exceptions=True)
            await self._store.aclose()

    # Reading the streams

    def _receive(self, contract_id: str, message: bytes) -> None:
        self.received += 1
        self._on_message(contract_id, message)

    def _on_message(self, contract_id: str, message: bytes) -> None:
        contract = self._contracts.get(contract_id)
        if contract is None:
            self._early[contract_id] = message
            return
        try:
            state = read_message(message, self._clock.time_us(), self._zone)
        except PayloadError as error:
            self._refuse(contract_id, error)
            return
        day = contract.fold(state, self._seen_until_before(contract, state, self._seen_until))
        self.writer.note(day)

    def _on_disconnected(self, error: StoreError) -> None:
        del error
        if self._seen_until is None and self._started:
            hung = self._settings.redis_timeout + _MAY_HANG
            self._seen_until = int((self._clock.time() - hung) // 60)

    async def _follow(self) -> None:
        """Read missed states after every reconnection and every change of the contracts."""
        backoff = Backoff(_MAX_DELAY)
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._catch_up()
            except StoreError as error:
                self._limited.warning("bars cannot be read", key="read", error=str(error))
                await self._clock.sleep(backoff.next())
                self._due.set()
            else:
                backoff.reset()

    async def _catch_up(self) -> None:
        if not self._started:
            self._seen_until = await self._kept_until()
        ids = {contract.contract_id for contract in await self._store.contracts()}
        self.registry_read = self._clock.time()
        for contract_id in (self._contracts.keys() | self._unread.keys()) - ids:
            self._contracts.pop(contract_id, None)
            self._unread.pop(contract_id, None)
            self._pubsub.unsubscribe([contract_id])
        # Subscribed before the states are read, so that none falls in between.
        if not await self._pubsub.subscribe(ids):
            return  # `on_connected` follows
        refused = self._pubsub.refused.keys() & ids
        since = self._seen_until
        for contract_id in refused:
            self._contracts.pop(contract_id, None)
            minute = int(self._clock.time() // 60) if since is None else since
            self._unread.setdefault(contract_id, minute)
        ids -= refused
        incomplete: IncompleteError | None = None
        try:
            states = await self._store.states(ids)
        except IncompleteError as error:
            states, incomplete = dict(error.found), error
        seen_until = self._seen_until
        for contract_id in () if incomplete else ids - states.keys() - self._contracts.keys():
            self._adopt(contract_id, None, [])
        trade_states: dict[str, TradeState | None] = {
            contract_id: self._read(contract_id, last) for contract_id, last in states.items()
        }
        new = [i for i in trade_states if i not in self._contracts]
        for start in range(0, len(new), CHUNK):
            await self._load({i: trade_states[i] for i in new[start : start + CHUNK]})
        for contract_id, state in trade_states.items():
            contract = self._contracts.get(contract_id)
            if contract is not None and state is not None:
                unread = self._unread.pop(contract_id, seen_until)
                seen_until_before = self._seen_until_before(contract, state, unread)
                self.writer.note(contract.fold(state, seen_until_before, stored=True))
        for contract_id in [i for i in self._early if i in self._contracts]:
            self._on_message(contract_id, self._early.pop(contract_id))
        if incomplete is not None:
            raise incomplete
        if self._seen_until == seen_until and self._pubsub.connected:
            self._seen_until = None
            self._started = True

    async def _kept_until(self) -> int:
        """Return the minute up to which an earlier aggregator received every state."""
        status, _ = await self._lease.read()
        if status is None:
            return 0
        until = status.written if status.state is FeedState.LIVE else status.since
        return until // MINUTE

    async def _load(self, states: dict[str, TradeState | None]) -> None:
        days = [(i, state.day) for i, state in states.items() if state is not None]
        bars_by_day = dict(zip(days, await self._bar_store.read(days), strict=True))
        for contract_id, state in states.items():
            day = None if state is None else state.day
            bars = [] if day is None else bars_by_day[contract_id, day]
            self._adopt(contract_id, day, bars)

    def _adopt(self, contract_id: str, day: date | None, bars: list[Bar]) -> None:
        contract = self._contracts[contract_id] = ContractBars(contract_id)
        if day is not None:
            contract.adopt(day, bars)

    def _read(self, contract_id: str, last: LastState | PayloadError) -> TradeState | None:
        try:
            if isinstance(last, PayloadError):
                raise last
            return read_last(last.version, last.data, self._zone)
        except PayloadError as error:
            self._refuse(contract_id, error)
            return None

    def _seen_until_before(
        self, contract: ContractBars, state: TradeState, seen_until: int | None
    ) -> int | None:
        if not self._gaps:
            return seen_until
        missed = contract.missed_before(state.version, self._gaps)
        return min((minute for minute in (missed, seen_until) if minute is not None), default=None)

    def _refuse(self, contract_id: str, error: PayloadError) -> None:
        self.refused += 1
        self._limited.warning(
            "state left out of the bars",
            key=("refused", error.kind),
            contract_id=contract_id,
            error=str(error),
        )

    # Writing the bars

    async def _write_often(self) -> None:
        while True:
            await self._clock.sleep(WRITE_INTERVAL)
            await self._write_if_leading()

    async def _write_if_leading(self) -> None:
        if not self.leadership.leads:
            self.writer.stand_by()
            return
        if not self._started:
            return
        try:
            # While another process leads, `leadership.token` is its token.
            await self.writer.write(self.leadership.token)
        except FencedError as error:
            self._limited.warning(
                "this bar aggregator is no longer the leader", key="fenced", error=str(error)
            )
            self.leadership.note_fenced(error.token)
            self.writer.stand_by()
        except StoreError as error:
            self._limited.warning("bars cannot be written", key="write", error=str(error))
        else:
            self._limited.forget("write")


async def check_bars(settings: StoreSettings) -> None:
    """Check that Redis allows the commands that keeping bars needs, without changing anything.

    Raises:
        StoreSettingsError: Redis does not match the settings.
    """
    await check_settings(settings, writes=False)
    async with BarStore(settings) as bars:
        # The script refuses this write, because it names a length that no stored bars have.
        write = BarWrite("", date.min, 1, 1, b"")
        try:
            [result] = await bars.write([write], 0, 1)
        except StoreSettingsError:
            raise
        except StoreError:
            return  # `run` waits until Redis answers
    if isinstance(result, StoreSettingsError):
        raise result
