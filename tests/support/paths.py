"""Paths: where the repository is, and what lies in it or beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
"""The repository."""

ROWS: Final = ROOT / "tests" / "feeds" / "rows"
"""Rows of the exchange's boards, as JSON."""

SHARED: Final = ROOT.parent / "shared"
"""Material beside the repository; tests of it are skipped where it is missing."""

CAPTURE: Final = SHARED / "ime-capture"
"""Recorded frames."""
