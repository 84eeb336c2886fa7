"""Fixtures of the client library's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .rest import Rest, rest_service


@pytest.fixture
def rest() -> Iterator[Rest]:
    """A stand-in for the REST calls, on a free port."""
    with rest_service() as made:
        yield made
