"""A run: faults one after the other, each until the testbed has converged, and the checks.

The seed of the run, the kind of store and the number of a fault decide what is injected. The
timing of the machine is not repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import count, groupby
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

import ime_live
from chaos.fault import Fault
from chaos.invariants import Invariant, Violation
from chaos.market import now
from chaos.outcome import LIMIT, START, Outcome
from chaos.plan import Plan
from chaos.states import IDS
from chaos.testbed import Testbed, UnsettledError

_PAUSE: Final = (0.2, 0.5)  # seconds of normal operation between two faults
_POLL_INTERVAL: Final = 0.05
_BEFORE: Final = 3_000_000  # microseconds before a fault that a report shows
_LINES: Final = 60


async def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> AsyncGenerator[Outcome]:
    """Inject the faults of a plan.

    A testbed that does not converge is replaced by a new one for the rest of the faults.

    Args:
        plan: which faults.
        folder: takes all files.
        say: called with each step.
    """
    schedule = plan.schedule()
    fault = next(schedule, None)
    for n in count():
        place = folder / f"{plan.store}{n}"
        place.mkdir()
        say(f"{plan.store}: starting")
        first = plan.first if fault is None else fault[0]
        seed = f"{plan.seed}:{plan.store}:{first}"
        async with Testbed(plan.store, seed, place, clients=plan.clients) as testbed:
            start = await _start(testbed, plan, first)
            if start.violations or fault is None:
                yield start
            while fault is not None:
                outcome = await _inject(testbed, plan, *fault)
                yield outcome
                fault = next(schedule, None)
                if not outcome.injected or outcome.seconds is None:
                    break
        if fault is None:
            return


async def _start(testbed: Testbed, plan: Plan, first: int) -> Outcome:
    begin = now()
    seconds = await _converge(testbed)
    found, excerpt = _take_violations(testbed, begin)
    return Outcome(
        store=plan.store,
        number=first,
        fault=START,
        injected=False,
        seconds=seconds,
        refused=testbed.frontend.refused,
        lag=testbed.lag.longest,
        violations=found,
        excerpt=excerpt,
    )


async def _inject(testbed: Testbed, plan: Plan, number: int, fault: Fault) -> Outcome:
    """Inject a fault, and wait until the testbed has converged."""
    chance = random.Random(f"{plan.seed}:{plan.store}:{number}")
    begin = now()
    testbed.frontend.refused, testbed.lag.longest = 0, 0.0
    for client in testbed.clients:
        client.quick.clear()
    testbed.market.moving = True
    await asyncio.sleep(chance.uniform(*_PAUSE))
    seconds, injected = None, True
    testbed.begin_fault()
    try:
        detail = await fault.inject(testbed, chance)
        seconds = await _converge(testbed)
        if seconds is not None:
            for clean_up in testbed.cleanups:
                await clean_up()
    except (UnsettledError, RedisError) as error:
        # The servers of Valkey themselves did not do it; they are not under test.
        detail, injected = f"{error}", False
        await testbed.check()
    testbed.cleanups.clear()
    found, excerpt = _take_violations(testbed, begin)
    return Outcome(
        store=plan.store,
        number=number,
        fault=fault.name,
        detail=detail,
        injected=injected,
        seconds=seconds,
        refused=testbed.frontend.refused,
        lag=testbed.lag.longest,
        violations=found,
        excerpt=excerpt,
    )


async def _converge(testbed: Testbed) -> float | None:
    """Wait until market, store and clients are equal, and check what the gateways say.

    Returns:
        Seconds to convergence; None if it, or a gateway's proof of it, takes longer than `LIMIT`.
    """
    testbed.market.moving = False
    for client in testbed.clients:
        client.quick.set()
    begin = testbed.lag.now()
    while found := await testbed.deviations():
        if testbed.lag.now() - begin > LIMIT:
            testbed.violations += found
            await testbed.check()
            return None
        await asyncio.sleep(_POLL_INTERVAL)
    seconds = testbed.lag.now() - begin
    proven = await _wait_for_current(testbed) and await _ask_gateways(testbed)
    await testbed.sample()
    await testbed.check()
    testbed.end_fault()
    return seconds if proven else None


async def _wait_for_current(testbed: Testbed) -> bool:
    """Wait until each client with ``status=true`` receives ``current: true``; returns whether."""
    begin, since = testbed.lag.now(), now()
    watching = [client.checker for client in testbed.clients if "status" in client.parameters]
    while left := [checker for checker in watching if checker.current_at < since]:
        if testbed.lag.now() - begin > LIMIT:
            for checker in left:
                text = f"not within {LIMIT:g} s"
                testbed.report(Violation(Invariant.PROVEN, checker.name, "", text))
            return False
        await asyncio.sleep(_POLL_INTERVAL)
    return True


async def _ask_gateways(testbed: Testbed) -> bool:
    """Ask each gateway by plain HTTP until it answers with the newest states; returns whether."""
    for name, port in testbed.frontend.ports.items():
        begin = testbed.lag.now()
        while wrong := await _ask(testbed, port):
            if testbed.lag.now() - begin > LIMIT:
                testbed.report(Violation(Invariant.REST, name, "", wrong))
                return False
            await asyncio.sleep(_POLL_INTERVAL)
    return True


async def _ask(testbed: Testbed, port: int) -> str:
    """Ask a gateway for all states; returns the fault of its answer, or nothing."""
    try:
        states = await ime_live.AsyncClient(f"http://127.0.0.1:{port}").snapshot(contract_ids=IDS)
    except ime_live.ImeLiveError as error:
        return repr(error)
    for contract_id, number in testbed.market.numbers.items():
        state = states[contract_id]
        answer = None if state is None else state.best_limit["1"].buy_quantity
        if answer != number:
            return f"the newest state of {contract_id} is {number}, the answer {answer}"
    return ""


def _take_violations(testbed: Testbed, begin: int) -> tuple[Sequence[Violation], str]:
    """Take the violations of a fault that began at a moment; with an excerpt of the histories."""
    found, testbed.violations = testbed.violations, []
    if not found:
        return (), ""
    found.sort(key=lambda each: each.invariant)
    lines: list[str] = []
    for invariant, several in groupby(found, key=lambda each: each.invariant):
        first, *others = several
        lines.append(f"broken {len(others) + 1} times: {invariant}")
        lines.append(f"  {first.client} {first.contract}: {first.text}")
        lines += (f"  {line}" for line in _excerpt(testbed, first, begin))
    for process in testbed.processes.values():
        lines += (f"  {process.name}: {line}" for line in process.tail())
    return found, "\n".join(lines)


def _excerpt(testbed: Testbed, violation: Violation, begin: int) -> list[str]:
    """The events of a violation's contract at the client, the market and the store, in order."""
    contract_id = violation.contract
    lines = [*testbed.timeline.excerpt(contract_id), *testbed.market.excerpt(contract_id)]
    for client in testbed.clients:
        if client.checker.name == violation.client:
            lines += (
                f"{line} ({violation.client})"
                for line in client.checker.recent
                if (contract_id and contract_id in line) or _is_of_connection(line)
            )
    lines = sorted(line for line in lines if line[:16].isdigit())
    earlier = [line for line in lines if int(line[:16]) <= begin - _BEFORE]
    # How it was before: the last connection, and the last lines of each kind.
    words = ("connected", "closed", "store", "market", f" {contract_id} ")
    known = {word: line for line in earlier for word in words if word in line}
    return [*sorted(set(known.values())), *lines[len(earlier) :][-_LINES:]]


def _is_of_connection(line: str) -> bool:
    return any(word in line for word in ("connected", "closed", "status"))
