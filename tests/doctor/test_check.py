"""Checks: one that fails stops only those that depend on it."""

from __future__ import annotations

import asyncio

from ime_live.doctor.check import Check, Finding, failed, ok, run_checks
from ime_live.errors import ServiceError


async def good(context: str) -> list[Finding]:
    return [ok(context), ok("more")]


async def bad(_: str) -> list[Finding]:
    return [ok("so far"), failed("no", "do it")]


async def refused(_: str) -> list[Finding]:
    raise ServiceError("away")


async def broken(_: str) -> list[Finding]:
    raise KeyError("x")


async def endless(_: str) -> list[Finding]:
    await asyncio.Event().wait()
    raise AssertionError


async def test_check_that_fails_stops_only_those_that_need_it() -> None:
    checks = [
        Check("endless", endless, timeout=0.01),
        Check("broken", broken),
        Check("refused", refused),
        Check("bad", bad),
        Check("first", good, needs="bad"),
        Check("second", good, needs="first"),
        Check("good", good, needs="other"),
    ]
    found = [(each.check, str(each.level), each.text) async for each in run_checks(checks, "hi")]
    assert found == [
        ("endless", "failed", "no answer within 0.01 s"),
        ("broken", "failed", "the check itself has failed: KeyError('x')"),
        ("refused", "failed", "away"),
        ("bad", "ok", "so far"),
        ("bad", "failed", "no"),
        ("first", "skipped", "needs: bad"),
        ("second", "skipped", "needs: first"),
        ("good", "ok", "hi"),
        ("good", "ok", "more"),
    ]
