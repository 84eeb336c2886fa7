"""``python -m benchmarks.abuse [NAME…] [--quick] [--list]``; see ``make abuse``."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from benchmarks.__main__ import register
from benchmarks.abuse.kinds import FAMILIES, KINDS
from benchmarks.abuse.measurement import Measured, Plan, measure
from benchmarks.abuse.report import line_of, write_report
from benchmarks.processes import LOAD_CORE
from ime_live.local.embedded import EmbeddedValkey

_QUICK = Plan(observers=200, rounds=1, seconds=1.0)


def main() -> None:
    """Attack a gateway in each of the given ways, and write the report after all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse", description=main.__doc__)
    parser.add_argument("name", nargs="*", help="all kinds if none is named")
    parser.add_argument("--quick", action="store_true", help="a minute or two, inexact")
    parser.add_argument("--list", action="store_true", help="name the kinds of abuse")
    arguments = parser.parse_args()
    if arguments.list:
        for kind in KINDS.values():
            print(f"{kind.name:14} {kind.title}")
        return
    if unknown := set(arguments.name) - set(KINDS):
        sys.exit(f"no such kind of abuse: {', '.join(sorted(unknown))}; --list names all")
    plan = _QUICK if arguments.quick else Plan()
    measured: list[Measured] = []
    os.sched_setaffinity(0, {LOAD_CORE})
    with EmbeddedValkey(tcp=True) as valkey:
        asyncio.run(register(valkey.url))
        redis = int(valkey.url.rpartition(":")[2])
        for family in FAMILIES:
            kinds = [kind for kind in family if kind.name in (arguments.name or KINDS)]
            for one in measure(kinds, redis, plan) if kinds else ():
                measured.append(one)
                print(line_of(one), flush=True)
    if not arguments.name and not arguments.quick:
        write_report(measured)


if __name__ == "__main__":
    main()
