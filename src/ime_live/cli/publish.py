"""The command that publishes market data from a file or a pipe."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer
from msgspec import Raw, Struct

from ime_live.cli.lines import LineReport, batches
from ime_live.cli.options import with_settings
from ime_live.contracts import Registry
from ime_live.errors import ContractError, UnknownContractError
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.store import Store


class _Line(Struct, rename="camel"):
    data: Raw
    contract_id: str | int | None = None
    contract_name: str | None = None


_read_line = msgspec.json.Decoder(_Line).decode


@with_settings(StoreSettings)
def publish(
    source: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON lines; - reads a pipe.")],
    *,
    settings: StoreSettings,
) -> None:
    """Publish lines of {"contractId": "12345", "data": {…}} (or "contractName").

    A bad line is reported and skipped; the exit status is 1 then.
    """
    asyncio.run(_publish(source, settings))


async def _publish(source: str, settings: StoreSettings) -> None:
    report = LineReport(source)
    published = unchanged = 0
    publisher = Publisher(
        settings.redis_url, key_prefix=settings.key_prefix, redis_timeout=settings.redis_timeout
    )
    async with publisher, Store(settings) as store:
        registry = await _read_registry(store)
        async for lines in batches(source):
            numbers, payloads = [], []
            for number, line in lines:
                try:
                    entry = _read_line(line)
                    try:
                        contract_id = _find(registry, entry)
                    except UnknownContractError:
                        # It may have been registered since.
                        registry = await _read_registry(store)
                        contract_id = _find(registry, entry)
                except (msgspec.MsgspecError, UnknownContractError, ContractError) as error:
                    report.refuse(number, error)
                    continue
                numbers.append(number)
                payloads.append((contract_id, bytes(entry.data)))
            outcomes = await publisher.publish_many(payloads)
            for number, outcome in zip(numbers, outcomes, strict=True):
                if outcome.error is not None:
                    report.refuse(number, outcome.error)
                elif outcome.published:
                    published += 1
                else:
                    unchanged += 1
    report.close(published=published, unchanged=unchanged)


async def _read_registry(store: Store) -> Registry:
    return Registry(await store.contracts(), conflicts=[])


def _find(registry: Registry, line: _Line) -> str:
    if line.contract_id is not None:
        return registry.by_id(str(line.contract_id)).contract_id
    if line.contract_name is not None:
        return registry.by_name(line.contract_name).contract_id
    raise ContractError("neither contractId nor contractName is given")
