"""Settings of the whole service on one machine: `up` and `demo`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

from ime_live.errors import SettingsError
from ime_live.settings.bars import BarsSettings
from ime_live.settings.feed import FeedSettings
from ime_live.settings.gateway import GatewaySettings
from ime_live.settings.log import LogSettings
from ime_live.settings.option import option, options

_HELP = {setting.name: setting.metadata["help"] for setting in options(GatewaySettings)}


@dataclass(frozen=True, kw_only=True)
class UpSettings(GatewaySettings, FeedSettings, BarsSettings):
    """Everything on one machine: Valkey, feed, bars and gateway."""

    _keys_needed = False  # a secret is created and kept with the data

    data: str = option(
        "ime-live-data", "Folder for the data; it is created if necessary.", metavar="DIR"
    )
    # Clients could not move to another gateway during a longer time.
    shutdown_grace: float = option(0.0, _HELP["shutdown_grace"], minimum=0)
    shutdown_spread: float = option(3.0, _HELP["shutdown_spread"], minimum=0, former="drain")


@dataclass(frozen=True, kw_only=True)
class DoctorSettings(UpSettings):
    """An installation to be checked; invalid values are reported instead of refused."""

    def faults(self) -> Iterator[str]:
        """Yield nothing: the checks report invalid values."""
        yield from ()

    def problems(self) -> list[str]:
        """Return the errors with which a gateway would refuse these values."""
        values = {setting.name: getattr(self, setting.name) for setting in fields(GatewaySettings)}
        try:
            GatewaySettings(**values)
        except SettingsError as error:
            return str(error).split("; ")
        return []


class DemoSource(StrEnum):
    """Sources of the demo's market, besides the path of a recording."""

    SYNTHETIC = "synthetic"
    REPLAY = "replay"


@dataclass(frozen=True, kw_only=True)
class DemoSettings(LogSettings):
    """The demo: a synthetic or a recorded market, for this machine or with a token."""

    source: str = option(
        DemoSource.SYNTHETIC.value,
        "Source of market data: synthetic generates it, replay repeats --frames with the present "
        "time, and the path of a recording is played with its original timestamps.",
        metavar="synthetic|replay|PATH",
    )
    speed: float = option(
        1.0, "Speed of the playback: 2 is twice as fast; 0 never waits.", minimum=0
    )
    wait: bool = option(
        False, "Begin the playback when the first client connects, so that it misses nothing."
    )
    host: str = option(
        "127.0.0.1",
        "Address to listen on. An address other than loopback, such as 0.0.0.0, requires the token "
        "that the demo prints.",
    )
    port: int = option(8000, "Port to listen on; 0 takes a free one.", minimum=0, maximum=65_535)
    seed: int = option(1, "Seed of the synthetic market; equal seeds generate equal markets.")
