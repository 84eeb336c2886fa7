"""Scenarios: which load is put on which servers, and what the report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from benchmarks.bars import IME_LIVE_BARS
from benchmarks.contenders import (
    BROADCAST,
    BUN,
    CENTRIFUGO,
    FASTAPI,
    FASTAPI_REST,
    FLOOR,
    IME_LIVE,
    IME_LIVE_DEFLATE,
    IME_LIVE_MARKET,
    IME_LIVE_PYTHON,
    IME_LIVE_TLS,
    IME_LIVE_TWO,
    NCHAN,
    PICOWS,
    STARLETTE,
    Contender,
)
from benchmarks.first_byte import BARE_SUBSCRIBER
from benchmarks.loads import (
    AnyLoad,
    Bars,
    FirstByte,
    Handshakes,
    JoinStorm,
    Load,
    Requesting,
    Result,
)
from benchmarks.measure import measure

# A quick run leaves out the other servers.
_OURS: Final = (
    *(FLOOR, IME_LIVE, IME_LIVE_DEFLATE, IME_LIVE_MARKET, IME_LIVE_PYTHON, IME_LIVE_TLS),
    *(IME_LIVE_BARS, BARE_SUBSCRIBER),
)
_QUICK_CLIENTS: Final = 300
_ROUNDS: Final = 3

SLOW_RATE: Final = 50_000
"""Bytes a second that the slow reader reads."""


@dataclass(frozen=True)
class Measured:
    """A scenario's results of each round by contender, and why some are missing."""

    scenario: Scenario
    rounds: Mapping[str, Sequence[Result]]
    missing: Mapping[str, str]

    @property
    def results(self) -> Mapping[str, Result]:
        """The medians of each contender's rounds."""
        return {name: Result.median(results) for name, results in self.rounds.items()}


@dataclass(frozen=True)
class Scenario:
    """A load for several servers.

    Attributes:
        name: by which it is asked for.
        title: what the load is.
        load: the same for all.
        contenders: those that a goal compares; measured in three rounds, in turn.
        once: those that are measured in the first round only, for comparison.
    """

    name: str
    title: str
    load: AnyLoad
    contenders: Sequence[Contender] = ()
    once: Sequence[Contender] = field(default=())

    def run(self, redis: int, *, quick: bool, say: Callable[[str], None]) -> Measured:
        """Measure every contender that can run here, one after the other."""
        load = _quick(self.load) if quick else self.load
        all_of_them = (*self.contenders, *self.once)
        if quick:
            all_of_them = tuple(one for one in all_of_them if one in _OURS) or all_of_them
        missing = {one.name: one.missing for one in all_of_them if one.missing}
        taken: dict[str, list[Result]] = {}
        for number in range(1 if quick or not self.contenders else _ROUNDS):
            for contender in all_of_them:
                if contender.name in missing or (number and contender in self.once):
                    continue
                try:
                    result = measure(contender, load, redis, seed=number + 1)
                except (RuntimeError, OSError) as error:
                    # A server that fails under a load is a result too.
                    missing[contender.name] = f"failed: {error}"
                    continue
                taken.setdefault(contender.name, []).append(result)
                say(contender.name)
        return Measured(self, taken, missing)


def _quick(load: AnyLoad) -> AnyLoad:
    """A load of the same kind that takes a second or so."""
    if isinstance(load, Bars):
        return replace(load, seconds=1.0)
    if isinstance(load, Handshakes):
        return replace(load, clients=_QUICK_CLIENTS)
    load = replace(load, seconds=1.0, clients=min(load.clients, _QUICK_CLIENTS))
    return replace(load, joining=_QUICK_CLIENTS) if isinstance(load, JoinStorm) else load


_RANDOM50: Final = Load(1000, contracts=500, of_each=50, per_second=200, seconds=3)
_BURST_CONTENDERS: Final = (
    FLOOR,
    IME_LIVE,
    IME_LIVE_PYTHON,
    IME_LIVE_DEFLATE,
    NCHAN,
    BUN,
    BROADCAST,
)

SCENARIOS: Final = (
    Scenario(
        "single",
        "one contract, 1,000 clients, 20 updates/s one at a time",
        Load(1000, seconds=3),
        (
            FLOOR,
            IME_LIVE,
            IME_LIVE_PYTHON,
            IME_LIVE_DEFLATE,
            NCHAN,
            PICOWS,
            BUN,
            CENTRIFUGO,
        ),
        once=(BROADCAST, STARLETTE, FASTAPI),
    ),
    Scenario(
        "burst8",
        "one contract, 1,000 clients, bursts of 8, 20 a second",
        Load(1000, burst=8, seconds=3),
        _BURST_CONTENDERS,
        once=(PICOWS, CENTRIFUGO, STARLETTE),
    ),
    Scenario(
        "burst20",
        "one contract, 1,000 clients, bursts of 20, 8 a second",
        Load(1000, burst=20, per_second=8, seconds=3),
        _BURST_CONTENDERS,
        once=(PICOWS, CENTRIFUGO, STARLETTE),
    ),
    Scenario(
        "random50",
        "500 contracts, 1,000 clients of 50 random ones each, 200 updates/s",
        _RANDOM50,
        (FLOOR, IME_LIVE, IME_LIVE_PYTHON, PICOWS),
        once=(BUN, CENTRIFUGO),
    ),
    Scenario(
        "random50at500",
        "the same, 500 updates/s",
        replace(_RANDOM50, per_second=500),
        (FLOOR, IME_LIVE, PICOWS),
        once=(BUN,),
    ),
    Scenario(
        "random50at2000",
        "the same, 2,000 updates/s: more than a core can send one at a time",
        replace(_RANDOM50, per_second=2000),
        (FLOOR, IME_LIVE, PICOWS),
        once=(BUN,),
    ),
    Scenario(
        "all500",
        "500 contracts, 1,000 clients of all, bursts of 20, 8 a second",
        Load(1000, contracts=500, of_each=0, burst=20, per_second=8, seconds=3),
        (IME_LIVE,),
        once=(FLOOR, PICOWS, BUN),
    ),
    Scenario(
        "market",
        "the same, by `market=` instead of 500 names",
        Load(1000, contracts=500, of_each=0, burst=20, per_second=8, seconds=3),
        (IME_LIVE_MARKET,),
    ),
    Scenario(
        "handshakes",
        "4,000 handshakes for one contract, 4,000 for a market of 500, in turns of 100",
        Handshakes(),
        (IME_LIVE_MARKET,),
    ),
    Scenario(
        "opening",
        "a market's opening: 500 contracts change within 100 ms, 5,000 clients of 30 random ones",
        Load(5000, contracts=500, of_each=30, burst=500, spread=0.1, per_second=0.5, seconds=6),
        once=(FLOOR, IME_LIVE, PICOWS, BUN),
    ),
    Scenario(
        "many10k",
        "one contract, 10,000 clients, 4 updates/s",
        Load(10_000, per_second=4, seconds=4),
        (FLOOR, IME_LIVE, NCHAN, PICOWS, BUN),
        once=(CENTRIFUGO,),
    ),
    Scenario(
        "many10k20",
        "500 contracts, 10,000 clients of 20 random ones each, 20 updates/s",
        Load(10_000, contracts=500, of_each=20, seconds=4),
        once=(FLOOR, IME_LIVE, PICOWS, BUN),
    ),
    Scenario(
        "many18k",
        "one contract, 18,000 clients, 4 updates/s",
        Load(18_000, per_second=4, seconds=4),
        once=(FLOOR, IME_LIVE),
    ),
    Scenario(
        "storm",
        "10,000 connections as fast as they come, each with a token of its own",
        Load(10_000, per_second=1, seconds=2, own_tokens=True),
        (IME_LIVE, IME_LIVE_DEFLATE),
        once=(NCHAN, BUN, CENTRIFUGO),
    ),
    Scenario(
        "sametoken",
        "the same, all with one token",
        Load(10_000, per_second=1, seconds=2),
        (IME_LIVE,),
        once=(CENTRIFUGO,),
    ),
    Scenario(
        "joinstorm",
        "5,000 connections as fast as they come, beside 2,000 clients of 10 updates/s",
        JoinStorm(2000, joining=5000),
        (IME_LIVE,),
        once=(FLOOR, NCHAN, BUN, CENTRIFUGO),
    ),
    Scenario(
        "steady",
        "one contract, 1,000 clients, bursts of 5, 20 a second",
        Load(1000, burst=5, seconds=4),
        (IME_LIVE,),
    ),
    Scenario(
        "slow",
        "the same, and one more client that reads 50 kB/s of the 74 kB/s",
        Load(1000, burst=5, seconds=4, slow=SLOW_RATE),
        (IME_LIVE,),
    ),
    Scenario(
        "workers",
        "one contract, 2,000 clients, bursts of 8, 20 a second; one worker, and two on two cores",
        Load(2000, burst=8, seconds=4),
        once=(IME_LIVE, IME_LIVE_TWO),
    ),
    Scenario(
        "tls",
        "one contract, 1,000 clients, 20 updates/s, and the same through nginx with TLS, "
        "whose CPU and memory count too",
        Load(1000, seconds=3),
        once=(IME_LIVE, IME_LIVE_TLS),
    ),
    Scenario(
        "firstbyte",
        "one client, one update at a time, nothing else: from its publication to its receipt",
        FirstByte(),
        once=(BARE_SUBSCRIBER, FLOOR, IME_LIVE, IME_LIVE_PYTHON, IME_LIVE_TLS, NCHAN, PICOWS, BUN),
    ),
    Scenario(
        "rest",
        "overview of one contract by plain HTTP, 32 connections, each asking again at once",
        Requesting(32),
        (IME_LIVE, BUN, FASTAPI_REST),
    ),
    Scenario(
        "rest20",
        "the same, of 20 contracts a request",
        Requesting(32, of_each=20),
        (IME_LIVE, BUN, FASTAPI_REST),
    ),
    Scenario(
        "bars",
        "`ime-live bars` of 500 contracts, one trade of each a second; a kill, and its standby",
        Bars(),
        (IME_LIVE_BARS,),
    ),
)
