"""Commands that register contracts."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated

import msgspec
import typer

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.records import read_contracts
from ime_live.cli.running import run, write_stderr
from ime_live.contracts import Contract
from ime_live.errors import UnknownContractError
from ime_live.registry import Registry
from ime_live.settings import StoreSettings

app = typer.Typer(help="Register, list and remove contracts.", no_args_is_help=True)

_Names = Annotated[list[str], typer.Argument(metavar="ID|NAME", help="Contracts by id or name.")]


@app.command("import")
@with_settings(StoreSettings)
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-",
            help="A JSON array, JSON lines, or CSV with a header; - reads standard input.",
        ),
    ],
    *,
    settings: StoreSettings,
) -> None:
    """Add or change contracts; if one is refused, none is changed.

    A contract is {"contractId": "12345", "contractName": "ContractA"}, and "market", "title",
    "aliases" and static fields where they are known. In CSV the first line names the fields, and
    aliases are separated by |. An ExpirationDate is YYYY-MM-DD; a Jalali one is converted.
    Contracts that are not in the file stay. A renamed contract is also found by its old name.
    """
    contracts = read_contracts(source)

    from ime_live.store.store import Store

    async def work() -> None:
        async with Store(settings) as store:
            result = await store.import_contracts(contracts)
        write_stderr(
            f"{len(result.added)} added, {len(result.changed)} changed, "
            f"{len(result.unchanged)} unchanged"
        )

    run(work())


@app.command("list")
@with_settings(StoreSettings)
def list_(*, settings: StoreSettings) -> None:
    """List all contracts, as a table on a terminal or as lines of JSON in a pipe."""
    contracts = sorted(run(_read_contracts(settings)), key=_sort_key)
    # Not by Rich, which takes a pipe for a terminal if FORCE_COLOR is set.
    if not sys.stdout.isatty():
        for contract in contracts:
            typer.echo(contract.to_json())
    elif contracts:
        _print_table(contracts)
    else:
        write_stderr("no contracts are registered")


def _print_table(contracts: Iterable[Contract]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("id", "name", "market", "title", box=None)
    for contract in contracts:
        table.add_row(contract.contract_id, contract.contract_name, contract.market, contract.title)
    # A title is plain text: brackets in it are no markup.
    Console(markup=False, emoji=False, highlight=False).print(table)


def _sort_key(contract: Contract) -> tuple[str, str]:
    return (contract.market or "", contract.contract_name)


@app.command()
@with_settings(StoreSettings)
def show(names: _Names, *, settings: StoreSettings) -> None:
    """Show all fields of contracts as JSON, in a pipe one contract per line."""
    registry = Registry(run(_read_contracts(settings)), conflicts=[])
    records = [find(registry, name).to_json() for name in names]
    for record in records:
        typer.echo(msgspec.json.format(record, indent=2) if sys.stdout.isatty() else record)


@app.command()
@with_settings(StoreSettings)
def remove(names: _Names, *, settings: StoreSettings) -> None:
    """Remove contracts; if one is unknown, none is removed.

    New clients cannot subscribe to them. Present subscribers stay connected, and the last states
    are kept.
    """

    from ime_live.store.store import Store

    async def work() -> list[Contract]:
        async with Store(settings) as store:
            registry = Registry(await store.contracts(), conflicts=[])
            # A contract may be given twice, by its id and by its name.
            removed = {c.contract_id: c for c in (find(registry, name) for name in names)}
            await store.remove_contracts(removed)
            return list(removed.values())

    for contract in run(work()):
        write_stderr(f"removed {contract.contract_id} {contract.contract_name}")


async def _read_contracts(settings: StoreSettings) -> list[Contract]:
    from ime_live.store.store import Store

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
