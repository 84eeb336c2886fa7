"""Commands that serve: the gateway, everything on one machine, and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.running import run_until_stopped
from ime_live.settings import DemoSettings, GatewaySettings, UpSettings, options

# It brings its own Valkey.
_UP_OPTIONS = {each.name: "" for each in options(UpSettings) if each.name != "redis_url"}


@with_settings(GatewaySettings)
def serve(
    check: Annotated[
        bool,
        typer.Option("--check", help="Check the settings, the keys and Redis, and exit."),
    ] = False,
    *,
    settings: GatewaySettings,
) -> None:
    """Run the gateway: stream from Redis to clients.

    It runs until Ctrl-C or SIGTERM. Tokens are asked for, so it needs --jwt-secret,
    --jwt-public-key or --jwks; for a try on this machine, --auth none.
    """
    from ime_live.gateway import server

    if check:
        server.check(settings)
        typer.echo("a gateway can start with these settings")
    else:
        server.serve(settings)


@with_settings(UpSettings, only=_UP_OPTIONS)
def up(*, settings: UpSettings) -> None:
    """Run everything on this machine: Valkey, the exchange's feed, the bars and the gateway.

    The data is kept in --data. A process that dies is started again; Ctrl-C or SIGTERM
    ends all of them. Without a key of your own, a secret for tokens is made once and kept there.
    """
    from ime_live.local import up as service
    from ime_live.logs import configure_logging

    configure_logging(settings)
    run_until_stopped(service.up(settings))


@with_settings(DemoSettings)
def demo(
    frames: Annotated[
        list[Path] | None,
        typer.Option(
            "--frames",
            metavar="FILE",
            help="Frames for --source replay; may be given several times.",
        ),
    ] = None,
    *,
    settings: DemoSettings,
) -> None:
    """Run everything on this machine, with an invented or a recorded market.

    It brings its own Valkey, asks for no token, and runs until Ctrl-C. Nothing is kept.
    """
    from ime_live.local import demo as demonstration

    demonstration.run(settings, frames or ())
