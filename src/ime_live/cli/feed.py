"""The commands that feed market data in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ime_live.cli.options import with_settings
from ime_live.contracts import Contract
from ime_live.feeds.replay import replay as replay_frames
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.store import Store

app = typer.Typer(help="Feed market data in.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Feed market data in."""


@app.command()
@with_settings(StoreSettings)
def replay(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Recorded hub frames, one a line.")
    ],
    speed: Annotated[
        float, typer.Option("--speed", help="2 is twice as fast; 0 as fast as it goes.")
    ] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Begin anew at the end.")] = False,
    *,
    settings: StoreSettings,
) -> None:
    """Turn recorded frames of the exchange's hub into contracts and updates."""

    async def work() -> None:
        publisher = Publisher(
            settings.redis_url, key_prefix=settings.key_prefix, redis_timeout=settings.redis_timeout
        )
        async with publisher, Store(settings) as store:

            async def register(contracts: Sequence[Contract]) -> None:
                await store.import_contracts(contracts)

            totals = await replay_frames(
                files, publisher, register, speed=speed, loop=loop, report=_report
            )
        _report(f"replayed {totals}")
        if totals.bad_lines or totals.refused:
            raise typer.Exit(1)

    asyncio.run(work())


def _report(line: str) -> None:
    typer.echo(line, err=True)
