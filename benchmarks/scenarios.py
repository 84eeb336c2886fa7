"""The scenarios: what is put on which servers, and what of it the report tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks.contenders import (
    BROADCAST,
    FASTAPI,
    FASTAPI_REST,
    FLOOR,
    IME_LIVE,
    IME_LIVE_DEFLATE,
    IME_LIVE_TWO,
    NCHAN,
    PICOWS,
    STARLETTE,
    Contender,
)
from benchmarks.measure import Asking, Load, Result, measure

_ALL: Final = (FLOOR, IME_LIVE, IME_LIVE_DEFLATE, NCHAN, PICOWS, BROADCAST, STARLETTE)
# A quick run leaves out the other servers.
_OURS: Final = (FLOOR, IME_LIVE, IME_LIVE_DEFLATE)
_QUICK_CLIENTS: Final = 300

SLOW_RATE: Final = 50_000
"""Bytes a second that the slow reader reads."""


@dataclass(frozen=True)
class Measured:
    """A scenario's results by contender, and why some are missing."""

    scenario: Scenario
    results: Mapping[str, Result]
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Scenario:
    """A load for several servers."""

    name: str
    title: str
    load: Load | Asking
    contenders: Sequence[Contender]
    rounds: int = 1
    """Of all contenders in turn; the medians count, since neighbours are noisy."""

    def run(self, redis: int, *, quick: bool, say: Callable[[str], None]) -> Measured:
        """Measure every contender that can run here, one after the other."""
        load = self.load
        if quick:
            load = replace(
                load,
                seconds=1.0,
                clients=min(load.clients, _QUICK_CLIENTS),
            )
        contenders = [one for one in self.contenders if not quick or one in _OURS]
        missing = {one.name: one.missing for one in contenders if one.missing}
        taken: dict[str, list[Result]] = {}
        for _ in range(1 if quick else self.rounds):
            for contender in contenders:
                if contender.name in missing:
                    continue
                try:
                    result = measure(contender, load, redis)
                except (RuntimeError, OSError) as error:
                    # A server that falls over under a load is a result too.
                    missing[contender.name] = f"failed: {error}"
                    continue
                taken.setdefault(contender.name, []).append(result)
                say(contender.name)
        return Measured(self, {name: _median(results) for name, results in taken.items()}, missing)


def _median(results: Sequence[Result]) -> Result:
    """Each figure's median, so that one bad second of a neighbour's does not count."""
    if len(results) == 1:
        return results[0]
    figures: dict[str, Any] = {}
    for name in Result.__dataclass_fields__:
        values = sorted(value for one in results if (value := getattr(one, name)) is not None)
        figures[name] = values[len(values) // 2] if values else None
    return Result(**figures)


SCENARIOS: Final = (
    Scenario(
        "single",
        "one contract, 1,000 clients, 20 updates/s one at a time",
        Load(1000, seconds=3),
        (*_ALL, FASTAPI),
        rounds=3,
    ),
    Scenario(
        "burst8", "one contract, 1,000 clients, bursts of 8, 20 a second", Load(1000, burst=8), _ALL
    ),
    Scenario(
        "burst20",
        "one contract, 1,000 clients, bursts of 20, 8 a second",
        Load(1000, burst=20, per_second=8),
        _ALL,
    ),
    Scenario(
        "random50",
        "500 contracts, 1,000 clients of 50 random ones each, 200 updates/s",
        Load(1000, contracts=500, of_each=50, per_second=200, seconds=3),
        (FLOOR, IME_LIVE, PICOWS),
        rounds=3,
    ),
    Scenario(
        "all500",
        "500 contracts, 1,000 clients of all, bursts of 20, 8 a second",
        Load(1000, contracts=500, of_each=0, burst=20, per_second=8),
        (FLOOR, IME_LIVE, PICOWS),
    ),
    Scenario(
        "many10k",
        "one contract, 10,000 clients, 4 updates/s",
        Load(10_000, per_second=4),
        (FLOOR, IME_LIVE, NCHAN, PICOWS),
    ),
    Scenario(
        "many18k",
        "one contract, 18,000 clients, 4 updates/s",
        Load(18_000, per_second=4, seconds=4),
        (IME_LIVE,),
    ),
    Scenario(
        "storm",
        "10,000 connections with tokens, as fast as they come",
        Load(10_000, per_second=1, seconds=2),
        (IME_LIVE, IME_LIVE_DEFLATE, NCHAN),
    ),
    Scenario(
        "steady",
        "one contract, 1,000 clients, bursts of 5, 20 a second",
        Load(1000, burst=5, seconds=4),
        (IME_LIVE,),
        rounds=3,
    ),
    Scenario(
        "slow",
        "the same, and one more client that reads 50 kB/s of the 74 kB/s",
        Load(1000, burst=5, seconds=4, slow=SLOW_RATE),
        (IME_LIVE,),
        rounds=3,
    ),
    Scenario(
        "workers",
        "one contract, 2,000 clients, bursts of 8, 20 a second; one worker, and two on two cores",
        Load(2000, burst=8),
        (IME_LIVE, IME_LIVE_TWO),
    ),
    Scenario(
        "rest",
        "overview of one contract by plain HTTP, 32 connections, each asking again at once",
        Asking(32),
        (IME_LIVE, FASTAPI_REST),
        rounds=3,
    ),
    Scenario(
        "rest20",
        "the same, of 20 contracts a request",
        Asking(32, of_each=20),
        (IME_LIVE, FASTAPI_REST),
        rounds=3,
    ),
)
