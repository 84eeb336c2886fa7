"""Loads: the requests to a server, the publications, and the measured results."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

_PARTS: Final = 10
"""Writes to which a burst that takes a while is divided."""


@dataclass(frozen=True)
class Load:
    """Streams.

    Attributes:
        clients: connections.
        contracts: that exist.
        of_each: contracts that each client takes, chosen at random; 0 takes all of them.
        burst: updates published at once, of contracts chosen at random; each contract once if
            there are as many updates as contracts.
        spread: seconds within which a burst is published, evenly; 0 publishes it at once.
        per_second: bursts a second.
        seconds: how long.
        slow: one more client reads no more than so many bytes a second; 0 for none.
        own_tokens: whether each connection has a token of its own; else all have the same.
    """

    clients: int
    contracts: int = 1
    of_each: int = 1
    burst: int = 1
    spread: float = 0.0
    per_second: float = 20.0
    seconds: float = 6.0
    slow: int = 0
    own_tokens: bool = False

    def selection(self, rng: random.Random) -> Sequence[int]:
        """A client's contracts."""
        if self.of_each == 0:
            return range(self.contracts)
        return rng.sample(range(self.contracts), self.of_each)

    def schedule(self, rng: random.Random) -> Iterator[tuple[float, Sequence[int]]]:
        """Seconds since the beginning, and the contracts to publish at once by then."""
        parts = _PARTS if self.spread else 1
        for number in range(max(1, int(self.seconds * self.per_second))):
            if self.burst == self.contracts:
                chosen = rng.sample(range(self.contracts), self.contracts)
            else:
                chosen = [rng.randrange(self.contracts) for _ in range(self.burst)]
            for part in range(parts):
                due = number / self.per_second + part * self.spread / parts
                yield due, chosen[part * self.burst // parts : (part + 1) * self.burst // parts]


@dataclass(frozen=True)
class Requesting:
    """Requests of REST; each client's next one follows the last one's answer.

    Attributes:
        clients: connections.
        contracts: that exist.
        of_each: contracts that a request names, chosen at random.
        seconds: how long.
    """

    clients: int
    contracts: int = 500
    of_each: int = 1
    seconds: float = 5.0


@dataclass(frozen=True)
class JoinStorm:
    """Connections that open as fast as they can, beside clients that are streaming.

    Attributes:
        clients: that stream one contract.
        joining: connections that are opened for another contract, which does not change.
        per_second: updates a second.
        seconds: how long the clients stream before the storm.
    """

    clients: int
    joining: int
    per_second: float = 10.0
    seconds: float = 4.0


@dataclass(frozen=True)
class Handshakes:
    """Connections of one contract and of a whole market in turn, to one server.

    Attributes:
        clients: connections of each kind, each with a token of its own.
        contracts: of the market.
        of_each: connections of a kind that are opened in a row.
    """

    clients: int = 4000
    contracts: int = 500
    of_each: int = 100


@dataclass(frozen=True)
class FirstByte:
    """One client, one update at a time on an idle machine.

    Attributes:
        clients: always one.
        per_second: updates a second.
        seconds: how long.
    """

    clients: int = 1
    per_second: float = 100.0
    seconds: float = 4.0


@dataclass(frozen=True)
class Bars:
    """Trades of contracts whose bars are kept.

    Attributes:
        contracts: that trade, one after the other.
        per_second: trades a second.
        seconds: how long, before a kill.
    """

    contracts: int = 500
    per_second: float = 500.0
    seconds: float = 15.0


AnyLoad = Load | Requesting | JoinStorm | Handshakes | FirstByte | Bars


@dataclass
class Result:
    """A result. Times in microseconds, sizes in bytes; None where it does not apply."""

    offered: int = 0
    delivered: int = 0
    cpu_per_delivery: float | None = None
    cpu_per_handshake: float | None = None
    cpu_of_one_contract: float | None = None
    """Per handshake of one contract, where `cpu_per_handshake` is that of a whole market."""
    memory_per_connection: float | None = None
    bytes_per_message: float | None = None
    p50: int | None = None
    p99: int | None = None
    longest: int | None = None
    p99_before: int | None = None
    handshakes_per_second: float | None = None
    slow_age: int | None = None
    memory_growth: int | None = None
    requests_per_second: float | None = None
    cpu_per_request: float | None = None
    cores: float | None = None
    memory_of_day: int | None = None
    load_share: float | None = None
    """The share of its own core that the load has used meanwhile."""

    @property
    def share(self) -> float:
        """Delivered of offered."""
        return self.delivered / self.offered if self.offered else 1.0

    def take_latencies(self, latencies: Sequence[int]) -> None:
        """Set the percentiles, if there are any latencies."""
        ordered = sorted(latencies)
        if ordered:
            self.p50 = ordered[len(ordered) // 2]
            self.p99 = ordered[len(ordered) * 99 // 100]
            self.longest = ordered[-1]

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {**asdict(self), "share": self.share}

    @classmethod
    def median(cls, results: Sequence[Self]) -> Self:
        """Each figure's median, so that one bad second of a neighbour's does not count."""
        figures: dict[str, Any] = {}
        for name in cls.__dataclass_fields__:
            values = sorted(value for one in results if (value := getattr(one, name)) is not None)
            figures[name] = values[len(values) // 2] if values else None
        return cls(**figures)
