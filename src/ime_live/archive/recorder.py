"""Stream recorder: a client that writes every state of its contracts to an archive.

It has one stream for all contracts, and resumes it where the archive ends. Each message has the
number of states that the gateway has left out before it (``skipped``). A gap of the recorder's own,
between two connections or two runs, is written as a line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog

from ime_live.archive.listing import RecordingSelection, read_listing
from ime_live.archive.writer import ArchiveWriter
from ime_live.client.connecting import connect
from ime_live.client.network.credentials import Token
from ime_live.client.protocol.message import ConnectionEvent
from ime_live.client.rest.async_client import AsyncClient
from ime_live.client.stream.receiver import first_of
from ime_live.client.stream.stream import Stream
from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.contracts import Contract
from ime_live.errors import ImeLiveError, SettingsError, UnknownContractError
from ime_live.log_limiter import LogLimiter
from ime_live.market import Payload, timestamp_of
from ime_live.timezones import zone_of_tehran

log = structlog.get_logger()

FLUSH_INTERVAL: Final = 1.0
"""Seconds between two writes; a crash of the recorder loses at most the states of this time."""

LISTING_INTERVAL: Final = 15.0
"""Seconds between two searches for new contracts and changed static data, each with a REST call per
market."""

_MAX_WAITING: Final = 8 * 1024 * 1024
"""Bytes of lines that wait for a slow disk; then the recorder reads no more."""

_NOT_RUNNING: Final = "the recorder was not running"


class StreamRecorder:
    """Records until it is cancelled, or until an error that is permanent.

    Attributes:
        connected: whether there is a connection.
        contracts: the recorded contracts by id.
    """

    def __init__(
        self,
        writer: ArchiveWriter,
        selection: RecordingSelection,
        *,
        url: str | None = None,
        token: Token = None,
        clock: Clock = SYSTEM_CLOCK,
        listing_interval: float = LISTING_INTERVAL,
    ) -> None:
        """Create a recorder; `run` does the work.

        Args:
            writer: the archive.
            selection: the contracts to record.
            url: address of the service; None reads ``IME_LIVE_URL``.
            token: see `ime_live.connect`.
            clock: the machine's clock, for the times of gaps.
            listing_interval: seconds between two searches for new contracts.
        """
        self.connected = False
        self.contracts: Mapping[str, Contract] = {}
        self._writer = writer
        self._selection = selection
        self._url = url
        self._token = token
        self._clock = clock
        self._listing_interval = listing_interval
        self._limited = LogLimiter(log)
        self._zone = zone_of_tehran()
        self._newest = ""
        """Timestamp of the newest state that has arrived."""
        self._certain = ""
        """Time up to which no state is missing, apart from the gaps that were written."""
        self._gap: tuple[str, str] | None = None
        """Beginning of and reason for the gap that the next connection will end."""
        if writer.last_time:
            self._gap = writer.last_time, _NOT_RUNNING
        self._writing = asyncio.Lock()
        self._unlisted: set[str] = set()
        """Ids in messages that were in no listing, so that they are looked up once."""

    @property
    def progress(self) -> dict[str, object]:
        """The state of the recording so far, as fields of a log line."""
        return {
            "states": self._writer.states,
            "contracts": len(self.contracts),
            "kilobytes": self._writer.size // 1000,
            "newest": self._newest[:19] or None,
            "connected": self.connected,
        }

    async def run(self) -> None:
        """Record.

        Raises:
            UnknownContractError: a contract is not known.
            AuthenticationError: the token is missing or not accepted, even after it was renewed.
            RefusedError: the gateway refuses to serve this client.
            ServiceError: the service cannot be reached at the start, or its answers cannot be used.
            SettingsError: the address or the token cannot be used.
            FeedError: the archive cannot be written.
        """
        async with AsyncClient(self._url, token=self._token) as client:
            self.contracts = await self._list(client)
            try:
                while True:
                    try:
                        await self._stream(client)
                    except UnknownContractError as error:
                        # The contract was removed from the service after it was listed.
                        listing = await self._list(client, known_ids=self.contracts)
                        if not listing or listing.keys() == self.contracts.keys():
                            raise
                        log.warning("continuing without a contract", error=str(error))
                        self.contracts = listing
            finally:
                # Later states may have been on their way.
                self._writer.note("end", self._certain or self._now())

    async def _stream(self, client: AsyncClient) -> None:
        last, ids, selection = self._writer.last, set(self.contracts), self._selection
        # From the oldest one, so that nothing is missed; a contract without any needs its state.
        since = min(last[i] for i in ids) if last.keys() >= ids else None
        named = {i for i, contract in self.contracts.items() if selection.is_named(contract)}
        connecting = connect(
            self._url,
            contract_ids=[*named, *(selection.filter.patterns if selection.filter else ())],
            markets=selection.markets,
            underlying=selection.underlyings,
            token=self._token,
            queue="block",
            since=since,
            skipped=True,
            on_connection=self._note_connection,
        )
        async with connecting as stream:
            try:
                await first_of(
                    self._take(stream, client),
                    self._keep_writing(),
                    self._keep_listing(client, stream, named),
                )
            except asyncio.CancelledError:
                await stream.aclose()
                await self._take(stream, client)  # the messages that have arrived
                raise

    async def _take(self, stream: Stream[Payload], client: AsyncClient) -> None:
        take = self._writer.take
        async for message in stream:
            contract_id, timestamp = message.key[1], message.timestamp_text
            if contract_id not in self.contracts and contract_id not in self._unlisted:
                self._unlisted.add(contract_id)
                await self._relist(client)
            # JSON has line ends between its tokens only.
            line = message.raw.replace(b"\n", b" ") if b"\n" in message.raw else message.raw
            take(contract_id, timestamp, line)
            self._newest = max(self._newest, timestamp)
            self._certain = max(self._certain, timestamp)
            if self._writer.waiting > _MAX_WAITING:
                await self._write()

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL)
            await self._write()

    async def _write(self) -> None:
        async with self._writing:
            batch = self._writer.swap()
            if batch:
                await _finished(asyncio.to_thread(self._writer.write, batch))

    async def _keep_listing(
        self, client: AsyncClient, stream: Stream[Payload], named: set[str]
    ) -> None:
        while True:
            await asyncio.sleep(self._listing_interval)
            await self._relist(client)
            # A name may belong to another contract now. Matching contracts join automatically.
            more = {
                i for i, contract in self.contracts.items() if self._selection.is_named(contract)
            } - named
            if more:
                try:
                    await stream.add(contract_ids=more)
                    named |= more
                except ImeLiveError as error:
                    self._limited.warning("contracts cannot be added", key="add", error=str(error))

    async def _relist(self, client: AsyncClient) -> None:
        """Add new contracts, and note changes of known ones."""
        try:
            listing = await self._list(client, known_ids=self.contracts)
            new = listing.keys() - self.contracts.keys()
            if new:
                log.info("new contracts are recorded", ids=sorted(new))
                self.contracts = {**self.contracts, **listing}
        except SettingsError:
            raise
        except ImeLiveError as error:
            # The stream itself fails if the fault persists.
            self._limited.warning("new contracts cannot be read", key="", error=str(error))

    async def _list(
        self, client: AsyncClient, known_ids: Iterable[str] = ()
    ) -> Mapping[str, Contract]:
        listing = await read_listing(client, self._selection, known_ids)
        for contract in listing.values():
            self._writer.note_contract(contract)
        return listing

    def _note_connection(self, event: ConnectionEvent) -> None:
        if event.connected:
            self.connected = True
            now = self._now()
            self._certain = max(self._certain, now)
            if self._gap is not None:
                since, reason = self._gap
                self._gap = None
                now = max(now, since)
                self._writer.note("gap", now, **{"from": since, "reason": reason})
        elif self.connected:
            self.connected = False
            # A break is noticed late; the states up to the last message are certain.
            self._gap = min(self._certain, self._now()), event.reason

    def _now(self) -> str:
        return timestamp_of(self._clock.time_us(), self._zone)


async def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work in a thread even if cancelled, so that no other write begins before its end."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(task)
        raise
