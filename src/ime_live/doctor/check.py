"""Check: a question about an installation, and the findings that answer it.

A check is a small function in a table. Each has a time limit. If one fails, only the checks that
need it are skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Final, Generic, TypeVar

from msgspec import Struct

from ime_live.errors import ImeLiveError

TIMEOUT: Final = 15.0
"""Seconds that a check may take."""


class Severity(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(Struct, frozen=True):
    """A result of a check.

    Attributes:
        check: name of the check; filled in by `run_checks`.
        level: severity of the result.
        text: description of the result.
        remedy: advice; empty if there is nothing to do.
    """

    level: Severity
    text: str
    remedy: str = ""
    check: str = ""


def ok(text: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(Severity.OK, text)


def warning(text: str, remedy: str = "") -> Finding:
    """Return a finding about something that may be intended."""
    return Finding(Severity.WARNING, text, remedy)


def failed(text: str, remedy: str = "") -> Finding:
    """Return a finding about something that cannot work."""
    return Finding(Severity.FAILED, text, remedy)


ContextT = TypeVar("ContextT")


class Check(Struct, Generic[ContextT], frozen=True):
    """A question about an installation.

    Attributes:
        name: one or two words, shown before the findings.
        run: returns the findings.
        needs: name of a check that must succeed, or this one is skipped; empty for none.
        timeout: seconds that it may take.
    """

    name: str
    run: Callable[[ContextT], Awaitable[Sequence[Finding]]]
    needs: str = ""
    timeout: float = TIMEOUT


async def run_checks(
    checks: Sequence[Check[ContextT]], context: ContextT
) -> AsyncIterator[Finding]:
    """Run checks one after the other, and yield their findings.

    Args:
        checks: the checks, in order.
        context: passed to each of them.
    """
    failed_checks: set[str] = set()
    for check in checks:
        if check.needs in failed_checks:
            failed_checks.add(check.name)
            findings: Sequence[Finding] = [Finding(Severity.SKIPPED, f"needs: {check.needs}")]
        else:
            findings = await _answers(check, context)
        for finding in findings:
            if finding.level is Severity.FAILED:
                failed_checks.add(check.name)
            yield Finding(finding.level, finding.text, finding.remedy, check.name)


async def _answers(check: Check[ContextT], context: ContextT) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(check.timeout):
            return await check.run(context)
    except TimeoutError:
        return [failed(f"no answer within {check.timeout:g} s")]
    except ImeLiveError as error:
        return [failed(str(error))]
    except Exception as error:  # noqa: BLE001 - a defect of one check must not hide the others
        return [failed(f"the check itself has failed: {error!r}", "please report this")]
