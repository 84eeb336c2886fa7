"""Settings of the log: its levels are those of the standard library."""

from __future__ import annotations

import logging

from ime_live.settings import LogFormat, LogLevel, LogSettings
from tests.support.rows import each_row


@each_row("level", LogLevel)
def test_level_is_one_of_the_standard_library(level: LogLevel) -> None:
    assert getattr(logging, level.upper()) == logging.getLevelNamesMapping()[level.upper()]


def test_log_is_text_from_info_by_default() -> None:
    settings = LogSettings()
    assert (settings.log_level, settings.log_format) == (LogLevel.INFO, LogFormat.TEXT)
