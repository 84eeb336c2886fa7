"""Commands that serve: the gateway, and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ime_live.cli.options import with_settings
from ime_live.settings import DemoSettings, GatewaySettings


@with_settings(GatewaySettings)
def serve(*, settings: GatewaySettings) -> None:
    """Run the gateway: stream from Redis to clients.

    It runs until Ctrl-C or SIGTERM. Tokens are asked for, so it needs --jwt-secret,
    --jwt-public-key or --jwks; for a try on this machine, --auth none.
    """
    from ime_live.gateway import server

    server.serve(settings)


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
