"""Commands that feed market data in, record it and replay it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.lines import reason_of
from ime_live.cli.running import progress, run, run_until_stopped, tell
from ime_live.errors import SettingsError
from ime_live.settings import FeedSettings, RecorderSettings, StoreSettings

app = typer.Typer(help="Feed market data in.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Feed market data in."""


@app.command()
@with_settings(FeedSettings)
def ime(*, settings: FeedSettings) -> None:
    """Feed from the exchange's live hub.

    It registers the contracts of the boards and publishes changes until Ctrl-C or SIGTERM. A
    second feed stands by and takes over when the first is gone. The exchange answers Iranian
    addresses only; from elsewhere, use --proxy.
    """
    from ime_live.feeds import market
    from ime_live.logs import configure_logging

    configure_logging(settings)
    run_until_stopped(market.feed(settings))


@app.command()
@with_settings(RecorderSettings)
def record(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write; compressed if it ends in .gz.")
    ],
    *,
    settings: RecorderSettings,
) -> None:
    """Record the frames of the exchange's SignalR hub until Ctrl-C or SIGTERM.

    At midnight in Tehran, and after --record-size bytes, FILE is renamed with the time of its
    first frame, and a new one begins. `feed replay` plays them.
    """
    from ime_live.feeds import market
    from ime_live.logs import configure_logging

    configure_logging(settings)
    run_until_stopped(market.record(settings, file))


@app.command()
@with_settings(StoreSettings)
def replay(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Recordings, one frame per line, or .gz."),
    ],
    speed: Annotated[
        float,
        typer.Option(
            "--speed", metavar="NUMBER", help="Speed factor: 2 is twice as fast, 0 without waits."
        ),
    ] = 1.0,
    loop: Annotated[
        bool, typer.Option("--loop", help="Start again at the end, until Ctrl-C.")
    ] = False,
    *,
    settings: StoreSettings,
) -> None:
    """Replay recorded frames of the exchange's hub.

    They become contracts and updates, as a live feed would make them. Frames, rows and fields that
    cannot be read are reported and skipped; the exit status is 1 then.
    """
    if not 0 <= speed < float("inf"):
        raise SettingsError(f"--speed must be a number of 0 or more, got {speed}")
    for file in files:
        try:
            file.open("rb").close()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{file}: {reason_of(error)}") from error

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

        async with publisher, Store(settings) as store, progress(line, lambda: tell(line())):
            totals = await replay_frames(
                files,
                publisher,
                Registrar(store).register,
                speed=speed,
                loop=loop,
                report=tell,
                count=rounds.append,
            )
        tell(f"replayed {totals}")
        if totals.bad_lines or totals.refused:
            raise typer.Exit(1)

    run(work())
