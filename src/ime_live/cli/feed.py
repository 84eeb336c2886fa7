"""Commands that publish, record and replay the exchange's market data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.lines import reason_of
from ime_live.cli.running import progress, run, run_until_stopped, write_stderr
from ime_live.errors import SettingsError
from ime_live.settings import FeedSettings, RecorderSettings, StoreSettings

app = typer.Typer(
    help="Publish market data of the exchange, live or recorded.", no_args_is_help=True
)


@app.callback()
def main() -> None:
    """Publish market data of the exchange, live or recorded."""


@app.command()
@with_settings(FeedSettings)
def ime(*, settings: FeedSettings, reread: Callable[[], FeedSettings]) -> None:
    """Publish live market data from the exchange's SignalR hub.

    The feed registers the contracts of the boards and publishes changes until Ctrl-C or SIGTERM. A
    second feed stands by, and takes over if the first one fails. The exchange only answers requests
    from Iran; use --proxy elsewhere.
    """
    from ime_live.feeds import exchange
    from ime_live.logs import configure_logging
    from ime_live.process.reload import Reloader

    configure_logging(settings)
    run_until_stopped(exchange.feed(settings), Reloader(settings, reread).reload)


@app.command()
@with_settings(RecorderSettings)
def record(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write; compressed if it ends in .gz.")
    ],
    *,
    settings: RecorderSettings,
    reread: Callable[[], RecorderSettings],
) -> None:
    """Record the frames of the exchange's SignalR hub until Ctrl-C or SIGTERM.

    At midnight in Tehran, and after --record-size bytes, FILE is renamed by the time of its first
    frame, and a new file begins. `feed replay` publishes the recorded data.
    """
    from ime_live.feeds import exchange
    from ime_live.logs import configure_logging
    from ime_live.process.reload import Reloader

    configure_logging(settings)
    run_until_stopped(exchange.record(settings, file), Reloader(settings, reread).reload)


@app.command()
@with_settings(StoreSettings)
def replay(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Recordings: one frame per line, compressed if the name ends in .gz.",
        ),
    ],
    speed: Annotated[
        float,
        typer.Option(
            "--speed", metavar="NUMBER", help="Speed factor: 2 is twice as fast; 0 never waits."
        ),
    ] = 1.0,
    loop: Annotated[
        bool, typer.Option("--loop", help="Repeat the recordings until Ctrl-C.")
    ] = False,
    *,
    settings: StoreSettings,
) -> None:
    """Publish market data from recorded frames of the exchange.

    Contracts and updates are published as by the live feed. Frames, rows and fields that cannot be
    read are reported and skipped, and the exit status is 1.
    """
    if not 0 <= speed < float("inf"):
        raise SettingsError(f"--speed must be a number of 0 or more, got {speed}")
    for file in files:
        try:
            file.open("rb").close()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{file} cannot be read: {reason_of(error)}") from error

    from ime_live.feeds.pipeline.ingest import Totals
    from ime_live.feeds.pipeline.registrar import Registrar
    from ime_live.feeds.recording.replay import replay as replay_frames
    from ime_live.publisher import Publisher
    from ime_live.store.store import Store, check_settings

    async def work() -> None:
        await check_settings(settings, writes=True)
        publisher = Publisher(
            settings.redis_url, key_prefix=settings.key_prefix, redis_timeout=settings.redis_timeout
        )
        rounds: list[Totals] = []

        def line() -> str:
            return f"replaying: {rounds[-1]}" if rounds else "replaying"

        async with (
            publisher,
            Store(settings) as store,
            progress(line, lambda: write_stderr(line())),
        ):
            totals = await replay_frames(
                files,
                publisher,
                Registrar(store).register,
                speed=speed,
                loop=loop,
                report=write_stderr,
                count=rounds.append,
            )
        write_stderr(f"replayed {totals}")
        if totals.bad_lines or totals.refused:
            raise typer.Exit(1)

    run(work())
