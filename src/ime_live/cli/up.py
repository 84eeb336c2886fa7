"""The command that runs everything on one machine."""

from __future__ import annotations

from ime_live.cli.options import with_settings
from ime_live.cli.running import run_until_stopped
from ime_live.settings import UpSettings, options

# It brings its own Valkey.
_OPTIONS = {each.name: "" for each in options(UpSettings) if each.name != "redis_url"}


@with_settings(UpSettings, only=_OPTIONS)
def up(*, settings: UpSettings) -> None:
    """Run everything on this machine: Valkey, the exchange's feed, the bars and the gateway.

    The data is kept in --data. A process that dies is started again; Ctrl-C or SIGTERM
    ends all of them. Without a key of your own, a secret for tokens is made once and kept there.
    """
    from ime_live.local import up as service
    from ime_live.logs import configure_logging

    configure_logging(settings)
    run_until_stopped(service.up(settings))
