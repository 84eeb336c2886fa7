"""``python -m benchmarks [SCENARIO…] [--quick] [--list]``; see ``make bench``."""

from __future__ import annotations

import argparse
import asyncio
import sys

from benchmarks.goals import goals
from benchmarks.publications import name_of
from benchmarks.report import goal_table, table, write_report
from benchmarks.scenarios import SCENARIOS, Measured
from benchmarks.update import measure_update
from ime_live.contracts import Contract
from ime_live.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.store import Store


async def register(url: str) -> None:
    """Register the benchmarks' contracts."""
    async with Store(StoreSettings(redis_url=url)) as store:
        await store.import_contracts(
            Contract(contract_id=str(n), contract_name=name_of(n)) for n in range(500)
        )


def main() -> None:
    """Run the scenarios that are asked for, and write the report if it was all of them."""
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("scenario", nargs="*", help="all if none is named")
    parser.add_argument(
        "--quick", action="store_true", help="a minute, ours and the floor only, inexact"
    )
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    arguments = parser.parse_args()
    if arguments.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:12} {scenario.title}")
        return
    names = {scenario.name for scenario in SCENARIOS}
    if unknown := set(arguments.scenario) - names:
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}")
    measured: list[Measured] = []
    with EmbeddedValkey(tcp=True) as valkey:
        asyncio.run(register(valkey.url))
        port = int(valkey.url.rpartition(":")[2])
        for scenario in SCENARIOS:
            if arguments.scenario and scenario.name not in arguments.scenario:
                continue
            print(f"\n{scenario.name}: {scenario.title}", flush=True)
            one = scenario.run(port, quick=arguments.quick, say=lambda name: print(" ", name))
            measured.append(one)
            print(table(one), flush=True)
    update = measure_update()
    print(goal_table(goals(measured, update)))
    if not arguments.scenario and not arguments.quick:
        write_report(measured, update)


if __name__ == "__main__":
    main()
