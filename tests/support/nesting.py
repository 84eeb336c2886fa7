"""JSON that is nested too deeply, and how Python says so."""

from __future__ import annotations

from typing import Final

NESTED: Final = "[" * 1_000_000
"""Deeper than the stack of any process here."""

TOO_DEEP: Final = r"(maximum recursion depth exceeded|Stack overflow \(used \d+ kB\))"
"""Pattern of the reason: Python measures the stack since 3.14, and counts calls before."""
