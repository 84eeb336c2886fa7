"""Playback: publish a recording with the original versions of its states.

A recording is an archive, which `ime-live record` has written, or frames of the exchange. Its
states keep their versions, and a clock shows the time of the recording, so that streams, REST and
status agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec
import structlog

from ime_live.archive.day_file import Cut, read_members
from ime_live.archive.line import FORMAT, ArchiveLine, read_line
from ime_live.clock import SYSTEM_CLOCK
from ime_live.contracts import Contract
from ime_live.errors import FeedError, PayloadError, SettingsError, system_reason
from ime_live.feeds.pipeline.ingest import Ingest
from ime_live.feeds.pipeline.registrar import Registrar
from ime_live.feeds.recording.recording import read_recording
from ime_live.feeds.recording.replay import contracts_in, frames_of
from ime_live.local.played_clock import PlayedClock
from ime_live.log_limiter import LogLimiter
from ime_live.market import Payload, version_of
from ime_live.market_json import MAX_AHEAD, read_stored, stored_json
from ime_live.publisher import PublishResult
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of

log = structlog.get_logger()

_BATCH: Final = 500  # states published at once; less than a hundredth of a second of the store

_SUFFIXES: Final = (".ndjson", ".ndjson.gz")

_FRAME: Final = frozenset("CMSTIREHDGL")
"""Keys that a message of the SignalR hub may have."""

_NOT_A_RECORDING: Final = (
    "must be a file that `ime-live record` or `ime-live feed record` has written"
)


OnGap: TypeAlias = Callable[[int], None]
"""Takes the beginning of a gap in a recording, in microseconds since the Unix epoch."""


class Playback(Protocol):
    """A recording that can be played once.

    Attributes:
        begin: time of the first state, in microseconds since the Unix epoch.
        contracts: its contracts, as they are known at the beginning.
    """

    @property
    def begin(self) -> int: ...
    @property
    def contracts(self) -> Sequence[Contract]: ...

    async def open(self, store: Store) -> None:
        """Register the first contracts, and publish their states from before the beginning."""

    async def play(self, store: Store, clock: PlayedClock, on_gap: OnGap = lambda _: None) -> None:
        """Publish the other states when the clock reaches them.

        Args:
            store: the store.
            clock: the clock of the recording.
            on_gap: called at a gap, with its beginning in microseconds since the epoch, after the
                states before it were stored.
        """


def open_recording(source: Path) -> Playback:
    """Open a file or a folder of recordings.

    Raises:
        SettingsError: there is no recording, it cannot be read, or it has no state.
    """
    kinds = {file: _is_archive(file) for file in _files_of(source)}
    files = [file for file, is_archive in kinds.items() if is_archive is not None]
    kinds_found = {kinds[file] for file in files}
    if not kinds_found:
        raise SettingsError(f"--source {source} must have a recording, got empty files")
    if len(kinds_found) > 1:
        raise SettingsError(
            f"--source {source} must have recordings of one kind, got states and frames"
        )
    try:
        return ArchivePlayback(files) if kinds_found == {True} else FramePlayback(files)
    except FeedError as error:
        raise SettingsError(f"--source {source} cannot be used: {error}") from error


def _files_of(source: Path) -> list[Path]:
    try:
        if source.is_dir():
            files = sorted(file for file in source.iterdir() if file.name.endswith(_SUFFIXES))
            if not files:
                raise SettingsError(
                    f"--source {source} must have recordings (*.ndjson.gz or *.ndjson), got none"
                )
            return files
        source.open("rb").close()
    except (OSError, ValueError) as error:
        raise SettingsError(
            "--source must be synthetic, replay, or a folder or file of a recording, "
            f"got {str(source)!r}: {system_reason(error)}"
        ) from error
    return [source]


def _is_archive(file: Path) -> bool | None:
    """Return whether a file belongs to an archive or else has frames; None without a line."""
    try:
        first = next(iter(read_recording(file)), None)
    except FeedError as error:
        raise SettingsError(str(error)) from error
    if first is None:
        return None
    try:
        keys = set(msgspec.json.decode(first.frame, type=dict[str, msgspec.Raw]))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        keys = {""}
    if "channel" not in keys and first.received is None and not keys <= _FRAME:
        raise SettingsError(f"{file} {_NOT_A_RECORDING}, got {first.frame[:40]!r}")
    if "channel" in keys:
        _check_format(file, first.frame)
    return "channel" in keys


def _check_format(file: Path, header: bytes) -> None:
    with suppress(FeedError):  # a line that cannot be read is left out later
        line = read_line(header)
        if line.format > FORMAT:
            raise SettingsError(
                f"recording {file} must have format {FORMAT}, got {line.format}; update ime-live"
            )


class ArchivePlayback:
    """The files of an archive; see `Playback`."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read the files up to the first state.

        Raises:
            FeedError: there is none, or a file cannot be read.
        """
        self._files = files
        self._zone = zone_of(TEHRAN)
        self._limited = LogLimiter(log)
        self._last: dict[str, int] = {}
        self._lines = self._read()
        self._first: list[ArchiveLine] = []
        contracts: dict[str, Contract] = {}
        for line in self._lines:
            self._first.append(line)
            if line.contract is not None:
                contracts[line.contract.contract_id] = line.contract
            if line.is_state:
                break
        else:
            raise FeedError(f"no state in {', '.join(map(str, files))}")
        self.begin = self._version(self._first[-1])
        self.contracts = tuple(contracts.values())
        if not self.contracts:
            raise FeedError(f"no contract before the first state in {files[0]}")
        if self.begin > SYSTEM_CLOCK.time_us() + MAX_AHEAD:
            raise FeedError(f"{files[0]} begins in the future, at {self._first[-1].timestamp}")

    async def open(self, store: Store) -> None:
        """See `Playback`."""
        before, self._first = self._first[:-1], self._first[-1:]
        await Registrar(store).register(self.contracts)
        await store.place(list(self._states(before)))

    async def play(self, store: Store, clock: PlayedClock, on_gap: OnGap = lambda _: None) -> None:
        """See `Playback`."""
        register = Registrar(store).register
        batch: list[tuple[str, bytes, int]] = []
        for line in chain(self._first, self._lines):
            if line.event == "gap":
                log.info("gap in the recording", begin=line.since, end=line.timestamp)
                await store.place(batch)
                batch = []
                self._report_gap(line, on_gap)
            if line.contract is not None:
                await store.place(batch)
                batch = []
                await register([line.contract])
            for state in self._states([line]):
                if len(batch) >= _BATCH or not clock.is_due(state[2]):
                    await store.place(batch)
                    batch = []
                await clock.reach(state[2])
                batch.append(state)
        await store.place(batch)

    def _states(self, lines: Iterable[ArchiveLine]) -> Iterator[tuple[str, bytes, int]]:
        """Yield the states that are newer than earlier ones of their contracts."""
        for line in lines:
            try:
                message = read_line(bytes(line.state)) if line.event == "opening" else line
                if not message.is_state:
                    continue
                version = self._version(message)
                if version <= self._last.get(message.contract_id, 0):
                    continue
                data = stored_json(read_stored(bytes(message.data)))
            except (FeedError, PayloadError) as error:
                self._limited.warning("a line is left out", key=str(error), error=str(error))
                continue
            self._last[message.contract_id] = version
            yield message.contract_id, data, version

    def _report_gap(self, gap: ArchiveLine, on_gap: OnGap) -> None:
        try:
            on_gap(self._moment(gap.since))
        except FeedError as error:
            self._limited.warning("a gap is left out", key=str(error), error=str(error))

    def _version(self, line: ArchiveLine) -> int:
        return self._moment(line.timestamp)

    def _moment(self, timestamp: str) -> int:
        try:
            return version_of(timestamp, self._zone)
        except (ValueError, OverflowError) as error:
            raise FeedError(f"not a timestamp: {timestamp!r}") from error

    def _read(self) -> Iterator[ArchiveLine]:
        for file in self._files:
            cuts: list[Cut] = []
            for texts in _texts(file, cuts.append):
                for text in texts:
                    try:
                        yield read_line(text)
                    except FeedError as error:
                        place = f"{file}: {error}"
                        self._limited.warning("a line is left out", key=str(file), error=place)
            for cut in cuts:
                if cut.damaged:
                    raise FeedError(f"{file} is damaged after byte {cut.offset}: {cut.reason}")
                log.warning("the end of a file is not finished", file=str(file), byte=cut.offset)


def _texts(file: Path, cut: Callable[[Cut], None]) -> Iterator[list[bytes]]:
    if file.name.endswith(".gz"):
        for member in read_members(file, cut=cut):
            yield member.lines
    else:
        for line in read_recording(file):
            yield [line.frame]


class FramePlayback:
    """Frames of the exchange in files; see `Playback`."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read the contracts.

        Raises:
            FeedError: there is none, or a file cannot be read.
        """
        self._zone = zone_of(TEHRAN)
        self.contracts = contracts_in(files)
        if not self.contracts:
            raise FeedError(f"no contract in {', '.join(map(str, files))}")
        begins = {file: self._begin_of(file) for file in files}
        self._files = sorted(files, key=lambda file: begins[file] or 0)
        self.begin = min((begin for begin in begins.values() if begin), default=0)
        if not self.begin:
            raise FeedError(f"no frame with a time in {', '.join(map(str, files))}")

    def _begin_of(self, file: Path) -> int:
        moments = (
            self._moment(received or frame.clock) for _, frame, received in frames_of([file])
        )
        return next((moment for moment in moments if moment), 0)

    def _moment(self, clock: datetime | None) -> int:
        return 0 if clock is None else version_of(clock.isoformat(), self._zone)

    async def open(self, store: Store) -> None:
        """See `Playback`."""
        await Registrar(store).register(self.contracts)

    async def play(self, store: Store, clock: PlayedClock, on_gap: OnGap = lambda _: None) -> None:
        """See `Playback`."""
        del on_gap  # frames have no information about gaps
        publisher = _PlayedPublisher(store, clock)
        ingest = Ingest(publisher, Registrar(store).register)
        limited = LogLimiter(log)
        for place, frame, received in frames_of(
            self._files, totals=ingest.totals, report=log.warning
        ):
            await clock.reach(self._moment(received or frame.clock))
            refusal = await ingest.take(frame)
            if refusal:
                limited.warning("rows are left out", key=place, place=place, error=str(refusal))
        log.info("frames played", totals=str(ingest.totals))


class _PlayedPublisher:
    """Publishes with versions of a clock; see `ime_live.feeds.pipeline.ingest.StatePublisher`."""

    def __init__(self, store: Store, clock: PlayedClock) -> None:
        self._store = store
        self._clock = clock
        self._last: dict[str, int] = {}

    async def publish_many(self, payloads: Iterable[tuple[str, Payload]], /) -> list[PublishResult]:
        now = self._clock.time_us()
        items: list[tuple[str, bytes, int]] = []
        for contract_id, payload in payloads:
            version = max(now, self._last.get(contract_id, 0) + 1)
            self._last[contract_id] = version
            items.append((contract_id, stored_json(payload), version))
        await self._store.place(items)
        return [PublishResult(i, version, published=True) for i, _, version in items]
