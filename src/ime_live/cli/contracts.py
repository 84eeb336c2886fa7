"""The commands that register contracts."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from ime_live.cli.lines import open_input
from ime_live.cli.options import with_settings
from ime_live.contracts import Contract, Registry, read_contract
from ime_live.errors import ContractError, UnknownContractError
from ime_live.settings import StoreSettings
from ime_live.store import Store

app = typer.Typer(help="Register contracts, and look them up.", no_args_is_help=True)

_Names = Annotated[list[str], typer.Argument(metavar="ID|NAME…", help="Ids or names.")]


@app.command("import")
@with_settings(StoreSettings)
def import_(
    source: Annotated[
        str, typer.Argument(metavar="FILE|-", help="A JSON array, or one contract a line.")
    ],
    *,
    settings: StoreSettings,
) -> None:
    """Add contracts, or change those that are there; all of them or none."""
    contracts = read_contracts(source)

    async def work() -> None:
        async with Store(settings) as store:
            result = await store.import_contracts(contracts)
        typer.echo(
            f"{len(result.added)} added, {len(result.changed)} changed, "
            f"{len(result.unchanged)} unchanged"
        )

    asyncio.run(work())


def read_contracts(source: str) -> list[Contract]:
    """Read a JSON array of contracts, or one a line.

    Raises:
        ContractError: one of them cannot be read; the text says which.
    """
    with open_input(source) as file:
        text = file.read()
    if text.lstrip().startswith("["):
        try:
            records = [(f"item {n}", raw) for n, raw in enumerate(_read_array(text), 1)]
        except msgspec.MsgspecError as error:
            raise ContractError(f"{source}: {error}") from error
    else:
        records = [
            (f"line {number}", msgspec.Raw(line.encode()))
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip()
        ]
    contracts = []
    for place, raw in records:
        try:
            contracts.append(read_contract(bytes(raw)))
        except ContractError as error:
            raise ContractError(f"{source}, {place}: {error}") from error
    return contracts


_read_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


@app.command("list")
@with_settings(StoreSettings)
def list_(*, settings: StoreSettings) -> None:
    """List all contracts."""
    contracts = sorted(asyncio.run(_all(settings)), key=_order)
    console = Console()
    if not console.is_terminal:
        for contract in contracts:
            typer.echo(contract.to_json().decode())
        return
    table = Table("id", "name", "market", "title", box=None)
    for contract in contracts:
        table.add_row(contract.contract_id, contract.contract_name, contract.market, contract.title)
    console.print(table)


def _order(contract: Contract) -> tuple[str, str]:
    return (contract.market or "", contract.contract_name)


@app.command()
@with_settings(StoreSettings)
def show(names: _Names, *, settings: StoreSettings) -> None:
    """Show contracts whole, as JSON."""
    registry = Registry(asyncio.run(_all(settings)), conflicts=[])
    for name in names:
        record = msgspec.json.format(find(registry, name).to_json(), indent=2)
        typer.echo(record.decode())


@app.command()
@with_settings(StoreSettings)
def remove(names: _Names, *, settings: StoreSettings) -> None:
    """Remove contracts: they take no new clients; those who stream them stay."""

    async def work() -> None:
        async with Store(settings) as store:
            registry = Registry(await store.contracts(), conflicts=[])
            ids = [find(registry, name).contract_id for name in names]
            await store.remove_contracts(ids)
        typer.echo(f"{len(ids)} removed")

    asyncio.run(work())


async def _all(settings: StoreSettings) -> list[Contract]:
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
