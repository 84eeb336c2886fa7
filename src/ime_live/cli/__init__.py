"""The command line: one module a group of commands, each a thin layer over the library."""

from __future__ import annotations

import sys
from importlib.metadata import version

import typer

from ime_live.cli import contracts, feed, publish, serve, token
from ime_live.errors import ImeLiveError

app = typer.Typer(
    name="ime-live",
    help="Live market data of the Iran Mercantile Exchange over WebSocket.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(serve.serve)
app.command()(serve.demo)
app.command()(publish.publish)
app.add_typer(contracts.app, name="contracts")
app.add_typer(feed.app, name="feed")
app.add_typer(token.app, name="token")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ime-live {version('ime-live')}")
        raise typer.Exit


@app.callback()
def main(
    show_version: bool = typer.Option(
        False, "--version", help="Show the version.", callback=_show_version, is_eager=True
    ),
) -> None:
    """Live market data of the Iran Mercantile Exchange over WebSocket."""
    del show_version


def run() -> None:
    """Run the command line; an error that names what is wrong is a line, not a traceback."""
    try:
        app()
    except ImeLiveError as error:
        sys.exit(f"ime-live: {error}")
