"""Fixtures of the client library's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.rest_service import Rest, rest_service


@pytest.fixture
def rest() -> Iterator[Rest]:
    """A stand-in for the REST calls, on a free port."""
    with rest_service() as made:
        yield made


@pytest.fixture(autouse=True)
def _no_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IME_LIVE_URL", "IME_LIVE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
