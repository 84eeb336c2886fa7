"""``python -m benchmarks [SCENARIO…] [--quick] [--list]``; see ``make bench``."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import UTC, date, datetime

from redis.asyncio import Redis

from benchmarks.goals import goals
from benchmarks.processes import LOAD_CORE
from benchmarks.publications import MARKET, data_of, name_of
from benchmarks.report import goal_table, table, write_report
from benchmarks.scenarios import SCENARIOS, Measured
from benchmarks.update import measure_updates
from ime_live.contracts import Contract
from ime_live.gateway.rest.static_data import static_json
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.store.store import Store


async def register(url: str) -> None:
    """Register the benchmarks' contracts and store a state of each, for all servers."""
    contracts = [
        Contract(
            contract_id=str(n),
            contract_name=name_of(n),
            market=MARKET,
            title=f"قرارداد اختیار معامله {n}",
            expiration_date=date(2026, 12, 30),
            csize=1_000,
            strike_price=230_000,
        )
        for n in range(500)
    ]
    states = [data_of(100_000 + n) for n in range(500)]
    async with Store(StoreSettings(redis_url=url)) as store:
        await store.import_contracts(contracts)
        await store.publish([(str(n), state) for n, state in enumerate(states)])
    today = datetime.now(UTC).date()
    async with Redis.from_url(url) as redis:
        for contract, state in zip(contracts, states, strict=True):
            await redis.set(f"bench:last:{contract.contract_name}", state)
            await redis.set(f"bench:static:{contract.contract_name}", static_json(contract, today))


def main() -> None:
    """Run the given scenarios, and write the report after a run of all of them."""
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("scenario", nargs="*", help="all if none is named")
    parser.add_argument(
        "--quick", action="store_true", help="a few minutes, ours and the floor only, inexact"
    )
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    arguments = parser.parse_args()
    if arguments.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:14} {scenario.title}")
        return
    names = {scenario.name for scenario in SCENARIOS}
    if unknown := set(arguments.scenario) - names:
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}")
    measured: list[Measured] = []
    # Redis runs beside the load, so that it takes no server's time.
    os.sched_setaffinity(0, {LOAD_CORE})
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
    update = measure_updates()
    print("\n" + goal_table(goals(measured, update)))
    if not arguments.scenario and not arguments.quick:
        write_report(measured, update)


if __name__ == "__main__":
    main()
