"""Settings of the log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ime_live.settings.option import Checked, option


class LogFormat(StrEnum):
    """Format of the log lines."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """Least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class LogSettings(Checked):
    """Level and format of the log."""

    log_level: LogLevel = option(LogLevel.INFO, "Lowest level that is logged.", reloadable=True)
    log_format: LogFormat = option(LogFormat.TEXT, "Format of the log lines.")
