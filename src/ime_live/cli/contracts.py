"""The commands that register contracts."""

from __future__ import annotations

import asyncio
import codecs
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
import typer

from ime_live.cli.lines import name_of, open_input, reason_of
from ime_live.cli.options import with_settings
from ime_live.contracts import Contract, Registry, read_contract
from ime_live.errors import ContractError, SettingsError, UnknownContractError
from ime_live.settings import StoreSettings

app = typer.Typer(help="Register contracts, and look them up.", no_args_is_help=True)

_Names = Annotated[list[str], typer.Argument(metavar="ID|NAME", help="Ids or names.")]

_FIELDS: Final = frozenset(each.encode_name for each in msgspec.structs.fields(Contract))
_IDS: Final = ("contractId", "UnderlyingAssets_symbolIsin_or_contractId")

# The REST calls give it beside the static fields, worked out for the day of the answer.
_WORKED_OUT: Final = frozenset({"DaysToExpiration"})

_read_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_object = msgspec.json.Decoder(dict[str, Any]).decode


@app.command("import")
@with_settings(StoreSettings)
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-", help="A JSON array, or a contract a line; - reads standard input."
        ),
    ],
    *,
    settings: StoreSettings,
) -> None:
    """Add contracts, or change them; all or none.

    A contract is {"contractId": "12345", "contractName": "ContractA"}, and "market", "title",
    "aliases" and static fields where they are known. Contracts that are not named stay. A
    contract whose name changed answers to its old one as well.
    """
    contracts = read_contracts(source)

    from ime_live.store import Store

    async def work() -> None:
        async with Store(settings) as store:
            result = await store.import_contracts(contracts)
        typer.echo(
            f"{len(result.added)} added, {len(result.changed)} changed, "
            f"{len(result.unchanged)} unchanged",
            err=True,
        )

    asyncio.run(work())


def read_contracts(source: str) -> list[Contract]:
    """Read a JSON array of contracts, one a line, or a single one over several lines.

    Raises:
        ContractError: one of them cannot be read; the text says which.
        SettingsError: the input cannot be read.
    """
    contracts = []
    unknown: dict[str, None] = {}
    for place, raw in _records(source):
        try:
            record = _read_object(raw)
            unknown |= dict.fromkeys(record.keys() - _FIELDS - _WORKED_OUT)
            contracts.append(read_contract(msgspec.json.encode(_with_text_ids(record))))
        except (msgspec.MsgspecError, ValueError, RecursionError, ContractError) as error:
            raise ContractError(f"{place}: {reason_of(error)}") from error
    if unknown:
        typer.echo(
            f"{name_of(source)}: no such fields, left out: {', '.join(sorted(unknown))}", err=True
        )
    return contracts


def _records(source: str) -> Iterator[tuple[str, bytes]]:
    """The contracts' JSON, each with its place."""
    name = name_of(source)
    try:
        with open_input(source) as file:
            text = file.read().removeprefix(codecs.BOM_UTF8).strip()
    except OSError as error:
        raise SettingsError(f"{name}: {reason_of(error)}") from error
    if not text:
        raise ContractError(f"{name} is empty")
    if text.startswith(b"["):
        try:
            items = _read_array(text)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ContractError(f"{name}: {reason_of(error)}") from error
        for number, item in enumerate(items, 1):
            yield f"{name}, item {number}", bytes(item)
    elif _is_object(text):
        yield name, text
    else:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield f"{name}, line {number}", line


def _is_object(text: bytes) -> bool:
    try:
        _read_object(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _with_text_ids(record: dict[str, Any]) -> dict[str, Any]:
    """Without what is null, and with ids as texts: sources give them as numbers, too."""
    given = {key: value for key, value in record.items() if value is not None}
    for key in _IDS:
        if type(given.get(key)) is int:
            given[key] = str(given[key])
    return given


@app.command("list")
@with_settings(StoreSettings)
def list_(*, settings: StoreSettings) -> None:
    """List all contracts: a table on a terminal, lines of JSON in a pipe."""
    contracts = sorted(asyncio.run(_all(settings)), key=_order)
    # Asked of the stream itself: Rich takes a pipe for a terminal where FORCE_COLOR is set.
    if not sys.stdout.isatty():
        for contract in contracts:
            typer.echo(contract.to_json())
    elif contracts:
        _print_table(contracts)
    else:
        typer.echo("no contracts are registered", err=True)


def _print_table(contracts: Iterable[Contract]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("id", "name", "market", "title", box=None)
    for contract in contracts:
        table.add_row(contract.contract_id, contract.contract_name, contract.market, contract.title)
    # A title is a text, whatever is in it.
    Console(markup=False, emoji=False, highlight=False).print(table)


def _order(contract: Contract) -> tuple[str, str]:
    return (contract.market or "", contract.contract_name)


@app.command()
@with_settings(StoreSettings)
def show(names: _Names, *, settings: StoreSettings) -> None:
    """Show contracts whole, as JSON; in a pipe one a line."""
    registry = Registry(asyncio.run(_all(settings)), conflicts=[])
    records = [find(registry, name).to_json() for name in names]
    for record in records:
        typer.echo(msgspec.json.format(record, indent=2) if sys.stdout.isatty() else record)


@app.command()
@with_settings(StoreSettings)
def remove(names: _Names, *, settings: StoreSettings) -> None:
    """Remove contracts; all or none.

    They take no new clients then. Those who stream them stay, and their last states are kept.
    """

    from ime_live.store import Store

    async def work() -> list[Contract]:
        async with Store(settings) as store:
            registry = Registry(await store.contracts(), conflicts=[])
            # One that is named twice, by its id and by its name, is one.
            removed = {c.contract_id: c for c in (find(registry, name) for name in names)}
            await store.remove_contracts(removed)
            return list(removed.values())

    for contract in asyncio.run(work()):
        typer.echo(f"removed {contract.contract_id} {contract.contract_name}", err=True)


async def _all(settings: StoreSettings) -> list[Contract]:
    from ime_live.store import Store

    async with Store(settings) as store:
        return await store.contracts()


def find(registry: Registry, name: str) -> Contract:
    """Find a contract by its id, else by its name.

    Raises:
        UnknownContractError: there is none.
    """
    try:
        return registry.by_id(name)
    except UnknownContractError:
        return registry.by_name(name)
