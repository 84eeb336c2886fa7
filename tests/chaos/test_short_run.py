"""A short run of `make chaos` by a fixed seed."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from chaos.__main__ import line_of
from chaos.plan import Plan
from chaos.run import run

# A gateway's log is closed. All links to the store are reset, which that gateway would log. The
# leading feed's link stalls for longer than its lease. The store comes back with older data that
# has become true again.
SHORT = Plan(2259142, "single", 4, clients=40)


@pytest.mark.timeout(180)
async def test_invariants_hold_after_each_fault_of_a_short_run(tmp_path: Path) -> None:
    outcomes = []
    async with aclosing(run(SHORT, tmp_path, print)) as faults:
        async for outcome in faults:
            outcomes.append(outcome)
            print(line_of(outcome), outcome.excerpt, sep="\n")  # shown for a test that fails
            assert outcome.injected
            assert outcome.violations == ()
    assert [outcome.fault for outcome in outcomes] == [fault.name for _, fault in SHORT.schedule()]
