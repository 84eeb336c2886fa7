"""Programs that log, each in a process of its own, and the lines that it writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.servers import PATIENCE

SET_UP: Final = """
import logging, os, sys, warnings
import structlog
from ime_live.logs import configure_logging, lines_dropped
from ime_live.settings import LogFormat, LogSettings
configure_logging(LogSettings(log_format=LogFormat(sys.argv[1] if sys.argv[1:] else "text")))
log = structlog.get_logger()
"""
"""Begins each program: it sets up the log, and imports what a program needs."""


def run(folder: Path, program: str) -> list[str]:
    """The lines that a program writes to its standard error."""
    output = folder / "log"
    with output.open("wb") as log:
        done = subprocess.run(  # noqa: S603 - ours
            [sys.executable, "-W", "error", "-c", program],
            stderr=log,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, output.read_text()
    return output.read_text().splitlines()
