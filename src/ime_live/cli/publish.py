"""The command that publishes market data from a file or a pipe."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
import typer
from msgspec import Raw, Struct

from ime_live.backoff import Backoff
from ime_live.cli.arguments.options import with_settings
from ime_live.cli.lines import (
    MAX_LINE,
    STANDARD_INPUT,
    Line,
    LineReport,
    batches,
    open_input,
    reason_of,
)
from ime_live.cli.running import progress, run, write_stderr, write_stderr_nowait
from ime_live.clock import SYSTEM_CLOCK
from ime_live.contracts import Contract
from ime_live.errors import ContractError, StoreError, StoreSettingsError, UnknownContractError
from ime_live.log_limiter import LogLimiter, PlainLines
from ime_live.registry import Registry
from ime_live.settings import StoreSettings

if TYPE_CHECKING:
    from ime_live.store.store import Store

# Seconds after which the registry is read again for the same unknown contract.
_LOOK_AGAIN: Final = 1.0

# Readings of the registry in that time, so that lines of unknown contracts do not hold up the rest.
_MAX_READINGS: Final = 10

_MAX_WAIT: Final = 5.0  # seconds between two attempts to reach the store

_T = TypeVar("_T")


class _Entry(Struct, rename="camel"):
    data: Raw
    contract_id: str | int | None = None
    contract_name: str | None = None


_read_entry = msgspec.json.Decoder(_Entry).decode


@with_settings(StoreSettings)
def publish(
    source: Annotated[
        str, typer.Argument(metavar="FILE|-", help="Lines of JSON; - reads standard input.")
    ],
    *,
    settings: StoreSettings,
) -> None:
    """Publish market data, one contract's state per line.

    A line is {"contractId": "12345", "data": {…}}, or has "contractName" instead. It is published
    as soon as it arrives. A bad line is reported with its number and skipped. Lines that Redis
    refuses, for example because its memory is full, are counted, and reported once per minute and
    reason. In both cases the exit status is 1. If Redis cannot be reached, standard input waits;
    a file ends with an error.
    """
    run(_publish(source, settings))


async def _publish(source: str, settings: StoreSettings) -> None:
    from ime_live.publisher import Publisher
    from ime_live.store.store import Store, check_settings

    report = LineReport(source, write_stderr_nowait if source == STANDARD_INPUT else write_stderr)
    published = unchanged = 0
    store = Store(settings)  # before the publisher, whose errors name arguments, not options
    publisher = Publisher(
        settings.redis_url, key_prefix=settings.key_prefix, redis_timeout=settings.redis_timeout
    )
    file = open_input(source)
    # The program that writes the pipe cannot repeat its lines; a file can be read again.
    patience = _Patience() if source == STANDARD_INPUT else None
    async with publisher, store:
        lookup = _RegistryLookup(store, patience)
        with ExitStack() as until_read:
            until_read.callback(file.close)
            await check_settings(settings, writes=True)
            await lookup.read()
            until_read.pop_all()  # from here on `batches` closes it

        def line() -> str:
            return f"{published} published, {unchanged} unchanged, {report.bad} bad lines"

        # A pipe has no end to which progress could be shown.
        showing: AbstractAsyncContextManager[None] = nullcontext()
        if patience is None:
            showing = progress(line, lambda: write_stderr(line()))
        try:
            async with showing:
                async for lines in batches(file, report.source):
                    states, refused = await _read(lines, lookup)
                    # Repeating it is safe: a state that was published already is not a change.
                    outcomes = await _reaching(
                        patience,
                        lambda: publisher.publish_many(states.values()),  # noqa: B023 - now
                    )
                    for number, outcome in zip(states, outcomes, strict=True):
                        if isinstance(outcome.error, StoreError):
                            report.refuse_in_store(number, outcome.error)
                        elif outcome.error is not None:
                            refused[number] = reason_of(outcome.error)
                        elif outcome.published:
                            published += 1
                        else:
                            unchanged += 1
                    for number, reason in sorted(refused.items()):
                        report.refuse(number, reason)
        finally:
            report.close(published=published, unchanged=unchanged)
    if report.bad or report.refused:
        raise typer.Exit(1)


async def _read(
    lines: Sequence[Line], lookup: _RegistryLookup
) -> tuple[dict[int, tuple[str, bytes]], dict[int, str]]:
    """Return the states in the lines, and the errors of the other lines, by line number."""
    states, refused = {}, {}
    for number, line in lines:
        if line is None:
            refused[number] = f"a line must be at most {MAX_LINE} bytes long, got more"
            continue
        try:
            entry = _read_entry(line)
            states[number] = (await lookup.find(entry), bytes(entry.data))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            refused[number] = reason_of(error)
        except (ContractError, UnknownContractError) as error:
            refused[number] = str(error)
    return states, refused


class _Patience:
    """Waits during an outage of the store, and reports it at once and then every minute."""

    def __init__(self) -> None:
        self.reached = False
        """Whether the store has ever answered."""
        self._backoff = Backoff(_MAX_WAIT)
        self._limited = LogLimiter(PlainLines(write_stderr_nowait))

    async def wait(self, error: StoreError) -> None:
        """Wait before the next attempt."""
        self._limited.warning(f"{error}; waiting until Redis answers", key="away")
        await asyncio.sleep(self._backoff.next())

    def over(self) -> None:
        """Note that the store answers."""
        self.reached = True
        if self._backoff.failures:
            write_stderr_nowait("Redis is back")
            self._backoff.reset()
            self._limited.forget("away")


async def _reaching(patience: _Patience | None, work: Callable[[], Awaitable[_T]]) -> _T:
    """Run work on the store; with ``patience``, repeat it until the store answers.

    Raises:
        StoreError: the store cannot be reached, without ``patience``; or it refuses the settings,
            and has never accepted them.
    """
    while True:
        try:
            done = await work()
        except StoreError as error:
            final = isinstance(error, StoreSettingsError)
            if patience is None or (final and not patience.reached):
                raise
            await patience.wait(error)
        else:
            if patience is not None:
                patience.over()
            return done


class _RegistryLookup:
    """The registry, read again when it does not have a contract."""

    def __init__(self, store: Store, patience: _Patience | None) -> None:
        self._store = store
        self._patience = patience
        self._registry = Registry()
        self._looked_up: set[object] = set()
        """Unknown contracts for which it was read since `_begin`."""
        self._begin = 0.0

    async def read(self) -> None:
        records = await _reaching(self._patience, self._store.contracts)
        self._registry = Registry(records, conflicts=[])

    async def find(self, entry: _Entry) -> str:
        try:
            return self._find(entry)
        except UnknownContractError:
            now = SYSTEM_CLOCK.monotonic()
            if now - self._begin >= _LOOK_AGAIN:
                self._begin = now
                self._looked_up.clear()
            names = entry.contract_id, entry.contract_name
            if names in self._looked_up or len(self._looked_up) == _MAX_READINGS:
                raise
            self._looked_up.add(names)
            await self.read()
            return self._find(entry)

    def _find(self, entry: _Entry) -> str:
        if entry.contract_id is None and entry.contract_name is None:
            raise ContractError("contractId or contractName must be given, got neither")
        if entry.contract_id is None:
            return self._registry.by_name(entry.contract_name or "").contract_id
        contract = self._by_id(str(entry.contract_id))
        if entry.contract_name is not None:
            self._compare(contract.contract_id, entry.contract_name)
        return contract.contract_id

    def _by_id(self, contract_id: str) -> Contract:
        try:
            return self._registry.by_id(contract_id)
        except UnknownContractError as unknown:
            try:
                found_id = self._registry.by_name(contract_id).contract_id
            except UnknownContractError:
                raise unknown from None
            raise UnknownContractError(
                f"{unknown} is the name of contract {found_id}; give it as contractName, or give "
                "the id"
            ) from None

    def _compare(self, contract_id: str, name: str) -> None:
        # An unknown name is accepted: the id decides, and contracts are renamed.
        try:
            other = self._registry.by_name(name).contract_id
        except UnknownContractError:
            return
        if other != contract_id:
            raise ContractError(f"{name} is contract {other}, not {contract_id}")
