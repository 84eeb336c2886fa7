"""Readiness: whether a gateway can serve clients, and the reason if it cannot (``/ready``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ime_live.gateway.auth.revocations import Revocations
from ime_live.gateway.drain import Drain, DrainState
from ime_live.gateway.upstream.contract_cache import ContractCache
from ime_live.gateway.upstream.feed_monitor import FeedMonitor
from ime_live.status import FeedState

if TYPE_CHECKING:
    from ime_live.gateway.metrics import Metrics
    from ime_live.store.pubsub import PubSub


class Readiness(Struct, frozen=True):
    """Whether the process can serve clients, and the reason if it cannot.

    Attributes:
        ready: whether Redis is connected, the contracts are loaded, and the process does not drain.
        reason: reason why the process is not ready; None if it is ready.
        redis: whether Redis is connected.
        contracts: number of known contracts.
        connections: number of open streams.
        feed: the feed's state; None if there never was a feed.
    """

    ready: bool
    reason: str | None
    redis: bool
    contracts: int
    connections: int
    feed: FeedState | None


class ReadinessProbe:
    """Checks that the process serves clients, can reach Redis, and has loaded the contracts.

    The state of the feed does not matter, because no other gateway would have more data.
    """

    def __init__(
        self,
        *,
        drain: Drain,
        pubsub: PubSub,
        contract_cache: ContractCache,
        revocations: Revocations,
        feed: FeedMonitor,
        metrics: Metrics,
    ) -> None:
        """Make a probe.

        Args:
            drain: the drain of the process.
            pubsub: the Pub/Sub connection to Redis.
            contract_cache: the known contracts.
            revocations: the revoked tokens.
            feed: holds the status of the feed.
            metrics: holds the number of open streams.
        """
        self._drain = drain
        self._pubsub = pubsub
        self._contract_cache = contract_cache
        self._revocations = revocations
        self._feed = feed
        self._metrics = metrics

    def read(self) -> Readiness:
        """Return the present readiness."""
        reason = self._reason()
        return Readiness(
            ready=reason is None,
            reason=reason,
            redis=self._pubsub.connected,
            contracts=len(self._contract_cache),
            connections=self._metrics.connections,
            feed=self._feed.state,
        )

    def _reason(self) -> str | None:
        """Return the reason why the process is not ready; None if it is ready."""
        if self._drain.state is not DrainState.SERVING:
            return "draining"
        if self._pubsub.refusal is not None:
            # Only the first word, such as NOPERM, because the rest names users and channels.
            return f"Redis refuses to subscribe: {self._pubsub.refusal.partition(' ')[0]}"
        if not self._pubsub.connected:
            return "Redis cannot be reached"
        if not self._contract_cache.loaded:
            return "contracts are not loaded yet"
        return None if self._revocations.loaded else "revocations are not loaded yet"
