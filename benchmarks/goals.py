"""Goals: limits of figures, and whether the rounds of a run keep them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.bars import IME_LIVE_BARS
from benchmarks.contenders import (
    BROADCAST,
    BUN,
    CENTRIFUGO,
    FASTAPI_REST,
    FLOOR,
    IME_LIVE,
    IME_LIVE_DEFLATE,
    IME_LIVE_MARKET,
    IME_LIVE_PYTHON,
    NCHAN,
    PICOWS,
)
from benchmarks.loads import Result
from benchmarks.measure import SLOW_BUFFER
from benchmarks.processes import Contender
from benchmarks.scenarios import SLOW_RATE, Measured
from ime_live.settings import GatewaySettings

Figure = Callable[[Result], float | None]

HOLDS = "holds"
HOLDS_WITHIN = "holds within the spread"
OPEN = "open: median above, within the spread"
MISSED = "MISSED"


@dataclass(frozen=True)
class Goal:
    """A limit of one figure.

    Attributes:
        what: the figure.
        limit: it must be at most so much.
        unit: of both, or "× " and the other server, for a ratio.
        figures: that were measured, one for each round.
    """

    what: str
    limit: float
    unit: str
    figures: Sequence[float]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return sorted(self.figures)[len(self.figures) // 2]

    @property
    def verdict(self) -> str:
        """Whether it holds in every round, by the median, not by the median, or in no round."""
        if max(self.figures) <= self.limit:
            return HOLDS
        if min(self.figures) > self.limit:
            return MISSED
        return HOLDS_WITHIN if self.median <= self.limit else OPEN

    @property
    def at_most(self) -> str:
        """The limit, for the table."""
        return f"{self.limit:.4g} {self.unit}"

    @property
    def measured(self) -> str:
        """The median and the spread, for the table."""
        unit = self.unit.partition(" ")[0]
        text = f"{_short(self.median)} {unit}"
        if len(self.figures) == 1:
            return f"{text} (one round)"
        return f"{text} ({_short(min(self.figures))}–{_short(max(self.figures))})"


def _short(figure: float) -> str:
    return (
        f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"
    )


def goals(measured: Sequence[Measured], update: Sequence[float]) -> list[Goal]:
    """The goals of these scenarios, and that of the cost of an update [microseconds per round]."""
    rounds = _Rounds({one.scenario.name: one.rounds for one in measured})
    found = [*_deliveries(rounds), *_connections(rounds), *_requests(rounds), *_others(rounds)]
    return [*found, Goal("CPU of an update before fan-out", 25, "µs", update)]


class _Rounds:
    """Results by scenario, contender and round."""

    def __init__(self, by_name: Mapping[str, Mapping[str, Sequence[Result]]]) -> None:
        self._by_name = by_name

    def figures(self, scenario: str, contender: Contender, figure: Figure) -> list[float]:
        """The figures of all rounds that have one."""
        results = self._by_name.get(scenario, {}).get(contender.name, ())
        return [value for one in results if (value := figure(one)) is not None]

    def absolute(
        self,
        what: str,
        limit: float,
        unit: str,
        scenario: str,
        figure: Figure,
        contender: Contender = IME_LIVE,
    ) -> Iterator[Goal]:
        """A goal that limits the figure itself."""
        if figures := self.figures(scenario, contender, figure):
            yield Goal(what, limit, unit, figures)

    def ratio(
        self,
        what: str,
        limit: float,
        scenario: str,
        figure: Figure,
        other: Contender,
        ours: Contender = IME_LIVE,
        before: str = "",
        named: str = "",
    ) -> Iterator[Goal]:
        """A goal beside another's figure of the same round, or of another scenario's."""
        above = self.figures(scenario, ours, figure)
        below = self.figures(before or scenario, other, figure)
        ratios = [one / two for one, two in zip(above, below, strict=False) if two]
        if ratios:
            yield Goal(what, limit, f"× {named or other.name}", ratios)


def _cpu(result: Result) -> float | None:
    return result.cpu_per_delivery


def _p99(result: Result) -> float | None:
    return result.p99


def _handshake(result: Result) -> float | None:
    return result.cpu_per_handshake


def _kilobytes(result: Result) -> float | None:
    memory = result.memory_per_connection
    return None if memory is None else memory / 1000


def _request(result: Result) -> float | None:
    return result.cpu_per_request


_CPU_LIMITS = (
    ("single", 1.05, ((BUN, 1.1), (NCHAN, 1.0), (PICOWS, 1.0), (CENTRIFUGO, 1.0))),
    ("burst8", 1.2, ((BUN, 1.0), (NCHAN, 0.25), (BROADCAST, 0.25))),
    ("burst20", 1.2, ((BUN, 1.0), (NCHAN, 0.25), (BROADCAST, 0.25))),
    ("many10k", 1.2, ()),
    ("random50", 1.2, ((PICOWS, 1.0),)),
    ("random50at500", 1.2, ((PICOWS, 1.0),)),
    ("random50at2000", 1.2, ((PICOWS, 1.0),)),
)
# Of the version that had no extension.
_PYTHON_LIMITS = (("single", 1.3), ("burst8", 1.5), ("burst20", 1.5), ("random50", 2.0))


def _deliveries(rounds: _Rounds) -> Iterator[Goal]:
    for scenario, limit, others in _CPU_LIMITS:
        what = f"CPU per delivery, {scenario}"
        for other, times in ((FLOOR, limit), *others):
            yield from rounds.ratio(what, times, scenario, _cpu, other)
    for scenario, limit in _PYTHON_LIMITS:
        what = f"CPU per delivery, {scenario}, pure Python"
        yield from rounds.ratio(what, limit, scenario, _cpu, FLOOR, IME_LIVE_PYTHON)
    for other in (NCHAN, PICOWS, BUN):
        yield from rounds.ratio("p99 latency, many10k", 1.0, "many10k", _p99, other)
    yield from rounds.ratio("p99 latency, single", 1.0, "single", _p99, NCHAN)
    what = "CPU per delivery, deflate"
    yield from rounds.ratio(what, 1.2, "single", _cpu, IME_LIVE, IME_LIVE_DEFLATE)
    yield from rounds.ratio(
        "bytes per message, deflate",
        0.55,
        "single",
        lambda result: result.bytes_per_message,
        IME_LIVE,
        IME_LIVE_DEFLATE,
        named="plain",
    )


def _of_market(result: Result) -> float | None:
    one, market = result.cpu_of_one_contract, result.cpu_per_handshake
    return market / one if one and market else None


def _connections(rounds: _Rounds) -> Iterator[Goal]:
    what = "CPU of a handshake with an HS256 token"
    yield from rounds.absolute(what, 150, "µs", "storm", _handshake)
    what = "CPU of a handshake with a token seen before"
    yield from rounds.absolute(what, 110, "µs", "sametoken", _handshake)
    for contender in (IME_LIVE, IME_LIVE_DEFLATE):
        what = f"memory of an idle connection, {contender.name}"
        yield from rounds.absolute(what, 4, "kB", "storm", _kilobytes, contender)
    what = "memory of a connection with 50 random contracts"
    yield from rounds.absolute(what, 12, "kB", "random50", _kilobytes)
    what = "memory of a connection with 500 named contracts"
    yield from rounds.absolute(what, 40, "kB", "all500", _kilobytes)
    what = "memory of a connection with a whole market of 500"
    yield from rounds.absolute(what, 6, "kB", "market", _kilobytes, IME_LIVE_MARKET)
    what = "CPU of a handshake for a whole market"
    yield from rounds.absolute(
        what, 1.2, "× one contract", "handshakes", _of_market, IME_LIVE_MARKET
    )
    what = "CPU per delivery, market"
    yield from rounds.ratio(
        what, 1.05, "market", _cpu, IME_LIVE, IME_LIVE_MARKET, "all500", "by 500 names"
    )
    yield from rounds.absolute(
        "p99 of 2,000 streaming clients in a join storm",
        2,
        "× before it",
        "joinstorm",
        lambda result: result.p99 / result.p99_before if result.p99 and result.p99_before else None,
    )


def _requests(rounds: _Rounds) -> Iterator[Goal]:
    what = "CPU of an overview of one contract"
    yield from rounds.absolute(what, 60, "µs", "rest", _request)
    yield from rounds.ratio(what, 2, "rest", _request, BUN)
    yield from rounds.ratio(what, 0.5, "rest", _request, FASTAPI_REST)
    yield from rounds.absolute("CPU of an overview of 20", 300, "µs", "rest20", _request)


def _others(rounds: _Rounds) -> Iterator[Goal]:
    what = "p99 of the others beside a slow reader"
    yield from rounds.ratio(what, 1.1, "slow", _p99, IME_LIVE, before="steady", named="without")
    # Its receive buffer, and what the kernel may hold unsent before the client is paused.
    yield from rounds.absolute(
        "age of the slow reader's messages",
        (SLOW_BUFFER + GatewaySettings.unsent_limit) / SLOW_RATE,
        "s in buffers",
        "slow",
        lambda result: None if result.slow_age is None else result.slow_age / 1e6,
    )
    yield from rounds.absolute(
        "memory that it takes",
        1,
        "MB",
        "slow",
        lambda result: None if result.memory_growth is None else result.memory_growth / 1e6,
    )
    what = "CPU of bars of 500 contracts at 500 changes/s"
    yield from rounds.absolute(what, 0.1, "cores", "bars", lambda r: r.cores, IME_LIVE_BARS)
    yield from rounds.absolute(
        "trades that are not in the bar of their minute after a kill",
        0,
        "%",
        "bars",
        lambda result: 100 * (1 - result.share),
        IME_LIVE_BARS,
    )
