"""``python -m chaos [--faults N] [--seed N] [--topology KIND]``; see ``make chaos``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import signal
import sys
import tempfile
import time
from contextlib import aclosing
from pathlib import Path

from chaos.outcome import START, Outcome
from chaos.plan import MOST_CLIENTS, Plan
from chaos.report import DOCUMENT, LONG, Run, add_run
from chaos.run import run
from chaos.stores import STORES
from tests.support.servers import Server

SHOWN_LAG = 0.5
"""Seconds for which the run itself must be blocked to be reported."""


def main() -> None:
    """Inject faults into a running service, and check what each client receives."""
    parser = argparse.ArgumentParser(prog="make chaos", description=main.__doc__)
    parser.add_argument("--faults", type=int, default=300, help="number of faults (300)")
    parser.add_argument("--seed", type=int, help="repeat a run; by default another one each time")
    parser.add_argument(
        "--topology", choices=[*STORES, "all"], default="all", help="kind of store (a third each)"
    )
    parser.add_argument("--first", type=int, default=1, help="number of the first fault (1)")
    parser.add_argument("--only", default="", help="part of the names of the faults")
    parser.add_argument(
        "--clients", type=int, default=MOST_CLIENTS, help=f"number of clients, up to {MOST_CLIENTS}"
    )
    parser.add_argument("--stop", action="store_true", help="stop at the first violation")
    parser.add_argument(
        "--reset", action="store_true", help="leave the runs before this one out of the report"
    )
    given = parser.parse_args()
    # Also when this process is killed, and can end nobody.
    Server.ends_with_starter = True
    # As Ctrl-C: the processes are ended first.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    kinds = list(STORES) if given.topology == "all" else [given.topology]
    print(f"seed {seed}", flush=True)
    # The client library warns of each connection that ends.
    logging.getLogger("ime_live.client").setLevel(logging.ERROR)
    outcomes: list[Outcome] = []
    try:
        with tempfile.TemporaryDirectory(prefix="ime-live-chaos-") as folder:
            for n, kind in enumerate(kinds):
                faults = given.faults * (n + 1) // len(kinds) - given.faults * n // len(kinds)
                plan = Plan(seed, kind, faults, given.first, given.only, given.clients)
                asyncio.run(_run(plan, Path(folder), outcomes, stop=given.stop))
                if given.stop and outcomes and outcomes[-1].violations:
                    break
    finally:
        # A part of the faults, or of the clients, would not be comparable.
        whole = not given.only and given.clients == MOST_CLIENTS
        if whole and sum(outcome.injected for outcome in outcomes) >= LONG:
            add_run(Run.of(seed, outcomes), reset=given.reset)
            print(f"added to docs/{DOCUMENT.name}")
    if broken := [outcome for outcome in outcomes if outcome.violations]:
        sys.exit(f"violations after {len(broken)} of {len(outcomes)} faults, seed {seed}")


async def _run(plan: Plan, folder: Path, outcomes: list[Outcome], *, stop: bool) -> None:
    begin = time.monotonic()
    async with aclosing(run(plan, folder, _say)) as faults:
        async for outcome in faults:
            outcomes.append(outcome)
            _say(f"{time.monotonic() - begin:7.1f} {line_of(outcome)}")
            if outcome.violations:
                _say(outcome.excerpt)
                _say(f"make chaos ARGS='{arguments_of(plan, outcome)}'")
                if stop:
                    return


def line_of(outcome: Outcome) -> str:
    """An outcome in one line."""
    if not outcome.injected and outcome.fault != START:
        end = "not injected"
    elif outcome.seconds is None:
        end = "no convergence"
    else:
        end = f"{outcome.seconds:.2f} s"
    if outcome.refused:
        end += f", {outcome.refused} refused"
    if outcome.lag >= SHOWN_LAG:
        end += f", run blocked for {outcome.lag:.1f} s"
    if outcome.violations:
        end += f", {len(outcome.violations)} violations"
    return f"{outcome.store} {outcome.number:3} {outcome.fault} ({outcome.detail}): {end}"


def arguments_of(plan: Plan, outcome: Outcome) -> str:
    """The arguments that inject the fault of an outcome again."""
    only = f' --only "{plan.only}"' if plan.only else ""
    clients = f" --clients {plan.clients}" if plan.clients != MOST_CLIENTS else ""
    faults = 0 if outcome.fault == START else 1
    return (
        f"--seed {plan.seed} --topology {plan.store} --first {outcome.number} --faults {faults}"
        f"{only}{clients}"
    )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
