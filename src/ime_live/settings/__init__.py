"""Declare each option of the commands once: name, default, unit and help.

The fields of the classes in this package are the table from which the flags of the command line,
the variables of the environment (`IME_LIVE_` and the field in capitals) and `docs/settings.md` are
made. A program that embeds the gateway creates the classes itself. Nothing here reads the
environment.
"""

from __future__ import annotations

from ime_live.settings.auth import MIN_SECRET_BYTES, AuthMode, AuthSettings, JwtSettings
from ime_live.settings.bars import BarsSettings
from ime_live.settings.feed import (
    FeedSettings,
    HoursSettings,
    RecorderSettings,
    RecordSettings,
    SignalRHubSettings,
)
from ime_live.settings.gateway import (
    DrainSettings,
    GatewaySettings,
    bare_host,
    is_loopback,
    local_address,
    url_host,
)
from ime_live.settings.limits import LOOPBACK, LimitSettings
from ime_live.settings.local import DemoSettings, DemoSource, DoctorSettings, UpSettings
from ime_live.settings.log import LogFormat, LogLevel, LogSettings
from ime_live.settings.metrics import MetricsSettings
from ime_live.settings.option import ENVIRONMENT_PREFIX, flag, option, options, variable
from ime_live.settings.store import StoreSettings

__all__ = [
    "ENVIRONMENT_PREFIX",
    "LOOPBACK",
    "MIN_SECRET_BYTES",
    "AuthMode",
    "AuthSettings",
    "BarsSettings",
    "DemoSettings",
    "DemoSource",
    "DoctorSettings",
    "DrainSettings",
    "FeedSettings",
    "GatewaySettings",
    "HoursSettings",
    "JwtSettings",
    "LimitSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "MetricsSettings",
    "RecordSettings",
    "RecorderSettings",
    "SignalRHubSettings",
    "StoreSettings",
    "UpSettings",
    "bare_host",
    "flag",
    "is_loopback",
    "local_address",
    "option",
    "options",
    "url_host",
    "variable",
]
