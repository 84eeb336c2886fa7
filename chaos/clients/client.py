"""A client of two gateways with a `ClientChecker`.

It connects to a random gateway, stays connected, and reconnects to any of them.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from websockets.exceptions import InvalidHandshake

from chaos.checker import ClientChecker
from chaos.market import now
from chaos.states import NAMES
from ime_live.market import timestamp_of, version_of
from ime_live.messages import STATUS, STREAM
from ime_live.timezones import TEHRAN, zone_of

_RECONNECT_DELAY: Final = (0.05, 0.4)  # seconds
ZONE: Final = zone_of(TEHRAN)
"""Of the timestamps."""

BY_NAME: Final = {name: contract_id for contract_id, name in NAMES.items()}
"""Contract name → id."""

OPEN_TIMEOUT: Final = 10.0
"""Seconds in which a connection must open."""

TRY_LATER: Final = (1013, 503)
"""The codes and statuses by which a gateway refuses temporarily."""

decode = msgspec.json.Decoder().decode
"""Read a message."""


class Frontend:
    """Where clients connect.

    Attributes:
        ports: of the gateways, by name.
        balancer: port of a proxy that spreads connections over the gateways.
        excused: gateways that were killed or stopped during the present fault, and may end
            connections.
        faulty: whether a fault is going on, so that gateways may refuse to serve for now.
        refused: how often they have, since somebody set it to 0.
        starts: how often each gateway was started again.
        event_overlap: microseconds before a ``Last-Event-ID`` from which states may come again.
    """

    def __init__(self, ports: Mapping[str, int], balancer: int, *, event_overlap: int = 0) -> None:
        self.ports = ports
        self.balancer = balancer
        self.excused: set[str] = set()
        self.faulty = True
        self.refused = 0
        self.event_overlap = event_overlap
        self.starts = dict.fromkeys(ports, 0)


class RefusedError(Exception):
    """A gateway refuses a client temporarily (1013, or 503 over HTTP); the text is its reason."""


class Client(ABC):
    """A client.

    Attributes:
        checker: of its history.
        parameters: further query parameters.
        quick: set while a slow client should read at full speed.
    """

    def __init__(self, checker: ClientChecker, frontend: Frontend, chance: random.Random) -> None:
        self.checker = checker
        self.parameters: Mapping[str, str] = {}
        self.quick = asyncio.Event()
        self._frontend = frontend
        self._random = chance
        self._by_name = chance.random() < 0.5

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            gateway = self._random.choice(list(self._frontend.ports))
            try:
                reason = await self._connect(gateway)
            except RefusedError as error:
                self._frontend.refused += 1
                self.checker.refused(now(), f"{error}", expected=self._frontend.faulty)
                reason = ""
            except (OSError, TimeoutError, InvalidHandshake) as error:
                reason = f"{type(error).__name__}: {error}"
            if self.checker.connected:
                expected = self._excused(gateway)
                self.checker.closed(now(), reason, expected=expected)
            await asyncio.sleep(self._random.uniform(*_RECONNECT_DELAY))

    def _excused(self, gateway: str) -> bool:
        return gateway in self._frontend.excused

    @abstractmethod
    async def _connect(self, gateway: str) -> str:
        """Connect, and receive to the end of the connection; returns the reason of the end."""

    def _opened(self, gateway: str, since: int | None) -> None:
        name = f"{gateway}, start {self._frontend.starts[gateway]}"
        self.checker.opened(now(), name, since)

    def _path(self, protocol: str) -> str:
        contracts = self.checker.options.contracts
        pairs = [
            ("contract_names", NAMES[i]) if self._by_name else ("contract_id", i) for i in contracts
        ]
        pairs += self.parameters.items()
        if self.checker.options.max_rate:
            pairs.append(("max_rate", f"{self.checker.options.max_rate:g}"))
        if self.checker.options.sections:
            pairs.append(("sections", ",".join(self.checker.options.sections)))
        pairs += self._start_of_stream().items()
        kind = "name" if self._by_name else "id"
        return f"/live/data/{protocol}/contract/{kind}?{urlencode(pairs)}"

    def _since(self) -> int | None:
        """The oldest of the states that a client which resumes holds, if it holds all."""
        options, held = self.checker.options, self.checker.held
        if options.resumes and held.keys() >= set(options.contracts):
            return min(held[i].version for i in options.contracts)
        return None

    def _start_of_stream(self) -> Mapping[str, str]:
        options, since = self.checker.options, self._since()
        if since is not None:
            return {"since": timestamp_of(since, ZONE)}
        return {"snapshot": "true"} if options.snapshot or options.resumes else {}

    def _receive(self, text: bytes | str) -> None:
        message: dict[str, Any] = decode(text)
        if message["channel"] == STREAM:
            name = message.get("contractName")
            contract_id = message["ContractId"] if name is None else BY_NAME[name]
            version = version_of(message["timestamp"], ZONE)
            self.checker.state(now(), contract_id, version, message["data"])
        elif message["channel"] == STATUS:
            data = message["data"]
            named = {
                BY_NAME.get(key, key): None if said is None else version_of(said, ZONE)
                for key, said in data["contracts"].items()
            }
            said = version_of(message["timestamp"], ZONE)
            self.checker.status(now(), said, named, current=data["current"])
