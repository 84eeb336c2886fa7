"""Readiness: the reasons why a process does not serve, the first of them if there are several."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ime_live.gateway.auth.revocations import Revocations
from ime_live.gateway.drain import DrainState
from ime_live.gateway.rest.readiness import Readiness, ReadinessProbe
from ime_live.status import FeedState


class Contracts:
    """A cache of three contracts."""

    loaded = True

    def __len__(self) -> int:
        return 3


class Parts:
    """The parts of a process that is ready."""

    def __init__(self) -> None:
        self.drain = SimpleNamespace(state=DrainState.SERVING)
        self.pubsub = SimpleNamespace(connected=True, refusal=None)
        self.contract_cache = Contracts()
        self.revocations = Revocations(loaded=True)
        self.feed = SimpleNamespace(state=FeedState.LIVE)
        self.metrics = SimpleNamespace(connections=7)

    def read(self) -> Readiness:
        parts: dict[str, Any] = vars(self)
        return ReadinessProbe(**parts).read()


def test_process_with_store_contracts_and_revocations_is_ready() -> None:
    assert Parts().read() == Readiness(
        ready=True, reason=None, redis=True, contracts=3, connections=7, feed=FeedState.LIVE
    )


def test_first_reason_is_given_while_there_are_several() -> None:
    parts = Parts()
    parts.revocations = Revocations()
    found = [parts.read().reason]
    parts.contract_cache.loaded = False
    found.append(parts.read().reason)
    parts.pubsub.connected = False
    found.append(parts.read().reason)
    parts.pubsub.refusal = "NOPERM user gateway may not use ime:live:7"
    found.append(parts.read().reason)
    parts.drain.state = DrainState.DRAINING
    found.append(parts.read().reason)
    assert found == [
        "revocations are not loaded yet",
        "contracts are not loaded yet",
        "Redis cannot be reached",
        "Redis refuses to subscribe: NOPERM",
        "draining",
    ]


@pytest.mark.parametrize("state", [None, FeedState.DOWN])
def test_state_of_the_feed_does_not_matter(state: FeedState | None) -> None:
    parts = Parts()
    parts.feed.state = state
    assert parts.read().ready
    assert parts.read().feed == state
