"""A hub with a state table and fake timers for each test."""

from __future__ import annotations

import pytest

from tests.support.hub_world import World


@pytest.fixture
def world() -> World:
    return World()
