"""Commands that serve clients: the gateway, the whole service on one machine, and the demo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.running import run_until_stopped
from ime_live.settings import DemoSettings, GatewaySettings, UpSettings, options

# It brings its own Valkey.
_UP_OPTIONS = {option.name: "" for option in options(UpSettings) if option.name != "redis_url"}


@with_settings(GatewaySettings)
def serve(
    check: Annotated[
        bool,
        typer.Option("--check", help="Check the settings, the keys and Redis, then exit."),
    ] = False,
    *,
    settings: GatewaySettings,
    reread: Callable[[], GatewaySettings],
) -> None:
    """Run the gateway: stream from Redis to clients.

    It runs until Ctrl-C or SIGTERM, and reloads limits, keys and the log's level on SIGHUP. Tokens
    are verified by --jwt-secret, --jwt-public-key or --jwks; use --auth none to try the gateway on
    this machine only.
    """
    from ime_live.gateway import server

    if check:
        server.check(settings)
        typer.echo("a gateway can start with these settings")
    else:
        server.serve(settings, reread)


@with_settings(UpSettings, only=_UP_OPTIONS)
def up(*, settings: UpSettings, reread: Callable[[], UpSettings]) -> None:
    """Run the whole service: Valkey, feed, bars and gateway.

    The feed reads the exchange. Data is stored in --data. A process that dies is restarted; Ctrl-C
    or SIGTERM stops all of them, and SIGHUP reloads limits, keys and the log's level. If no key for
    tokens is given, a secret is generated once and stored in --data.
    """
    from ime_live.local import up as service
    from ime_live.logs import configure_logging

    configure_logging(settings)
    run_until_stopped(service.up(settings, reread))


@with_settings(DemoSettings)
def demo(
    frames: Annotated[
        list[Path] | None,
        typer.Option(
            "--frames",
            metavar="FILE",
            help="Recording for --source replay; may be repeated.",
        ),
    ] = None,
    *,
    settings: DemoSettings,
) -> None:
    """Run the whole service with a synthetic or recorded market.

    The demo starts its own Valkey, and runs until Ctrl-C. It keeps no data. On a loopback address,
    clients need no token; on other addresses, they need the token that it prints.
    """
    from ime_live.local import demo as demonstration

    demonstration.run(settings, frames or ())
