"""Marks: which values of a parametrized test wait for a thorough run."""

from __future__ import annotations

from typing import Any

import pytest


def thorough(*values: object) -> Any:  # noqa: ANN401 - pytest keeps the type to itself
    """Values that only `make test-thorough` takes: others show the same, as a rule."""
    return pytest.param(*values, marks=pytest.mark.thorough)
