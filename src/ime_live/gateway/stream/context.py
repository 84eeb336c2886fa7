"""The gateway context: the parts of the process that a stream uses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final
from zoneinfo import ZoneInfo

from structlog.typing import FilteringBoundLogger

from ime_live.clock import Clock
from ime_live.gateway.auth.authenticator import Authenticator
from ime_live.gateway.auth.cors import Cors, Origins
from ime_live.gateway.drain import Drain
from ime_live.gateway.http.lingering import SlowReader
from ime_live.gateway.hub.hub import Hub
from ime_live.gateway.hub.state_table import StateTable
from ime_live.gateway.limits.client_address import ClientAddresses
from ime_live.gateway.limits.request_memory import RequestMemory
from ime_live.gateway.limits.stream_limits import StreamLimits
from ime_live.gateway.limits.work_queue import WorkQueue
from ime_live.gateway.metrics import Metrics
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.stream.handshake import Negotiator
from ime_live.gateway.stream.heartbeat import Heartbeat
from ime_live.gateway.stream.live_selections import LiveSelections
from ime_live.gateway.stream.open_streams import OpenStreams
from ime_live.gateway.upstream.contract_cache import ContractCache
from ime_live.gateway.upstream.status_loop import StatusLoop
from ime_live.gateway.upstream.status_messages import StatusMessages
from ime_live.gateway.upstream.upstream import Upstream
from ime_live.log_limiter import LogLimiter
from ime_live.market import MICROSECONDS
from ime_live.rate import Rate
from ime_live.settings import GatewaySettings
from ime_live.settings.limits import split_list

EVENT_OVERLAP: Final = MICROSECONDS
"""Microseconds by which versions of different contracts may be out of order if several servers
assign them. Their clocks may differ by milliseconds, more on a badly kept machine."""


@dataclass
class GatewayContext:
    """The parts of the process that streams use, made once per process.

    `apply` replaces the parts that depend on settings.

    Attributes:
        handshake: negotiates the handshakes of all connections.
        message_rate: the permitted rate of messages from each client.
        cors: the pages that may read server-sent events.
        stream_origins: the pages that may open streams.
        addresses: finds the addresses of clients.
        limits: limits the number of streams.
        request_memory: limits the size of incomplete requests.
        work: requests and frames of all clients that wait for their turn.
        slow_reader: limits the rate at which discarded data is read.
        open_streams: the open streams, with their identities.
        drain: the drain of the process.
        event_overlap: time before a ``Last-Event-ID`` from which states are sent [microseconds].
        limited: logs failures that any client may cause repeatedly, at a limited rate.
        log: logs the beginning and the end of streams; bound once, not for each line.
        clock: the machine's clock, for durations and the expiry of tokens.
        market_clock: the clock of timestamps; that of a recording while it is played.
    """

    settings: GatewaySettings
    zone: ZoneInfo
    authenticator: Authenticator
    contract_cache: ContractCache
    diagnostics: Diagnostics
    upstream: Upstream
    live_selections: LiveSelections
    states: StateTable
    hub: Hub
    status_messages: StatusMessages
    status_loop: StatusLoop
    heartbeat: Heartbeat
    metrics: Metrics
    loop: asyncio.AbstractEventLoop
    handshake: Negotiator
    limits: StreamLimits
    request_memory: RequestMemory
    work: WorkQueue
    slow_reader: SlowReader
    open_streams: OpenStreams
    drain: Drain
    event_overlap: int
    limited: LogLimiter
    log: FilteringBoundLogger
    clock: Clock
    market_clock: Clock
    message_rate: Rate = field(init=False)
    cors: Cors = field(init=False)
    stream_origins: Origins = field(init=False)
    addresses: ClientAddresses = field(init=False)

    def __post_init__(self) -> None:
        """Make the parts that the settings alone describe."""
        self.apply(self.settings)

    def apply(self, settings: GatewaySettings) -> None:
        """Use these settings from now on; streams stay open."""
        self.settings = settings
        self.message_rate = Rate(settings.client_rate)
        self.cors = Cors(settings.origins)
        self.stream_origins = Origins(split_list(settings.stream_origins))
        self.addresses = ClientAddresses.from_settings(settings)
        self.limits.change(settings)
        self.request_memory.limit = settings.max_waiting
        self.live_selections.limit = settings.max_contracts
