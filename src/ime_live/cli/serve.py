"""The commands that serve: the gateway, and the demo."""

from __future__ import annotations

from ime_live.cli.options import with_settings
from ime_live.settings import DemoSettings, GatewaySettings


@with_settings(GatewaySettings)
def serve(*, settings: GatewaySettings) -> None:
    """Run the gateway: stream from Redis to WebSocket clients."""
    from ime_live.gateway import server

    server.serve(settings)


@with_settings(DemoSettings)
def demo(*, settings: DemoSettings) -> None:
    """Run everything on this machine, with a synthetic market. Needs nothing else."""
    from ime_live import demo as demonstration

    demonstration.run(settings)
