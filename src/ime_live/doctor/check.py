"""Check: a question about an installation, and its answer.

A check is a small function in a table. Each has a time limit, and one that fails does not stop the
others, except those that need what it has found missing.
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
    """How bad an answer is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(Struct, frozen=True):
    """An answer.

    Attributes:
        check: name of the check; filled in by `run_checks`.
        level: how bad it is.
        text: what was found.
        remedy: what to do; empty if there is nothing to do.
    """

    level: Severity
    text: str
    remedy: str = ""
    check: str = ""


def ok(text: str) -> Finding:
    """Return an answer without a problem."""
    return Finding(Severity.OK, text)


def warning(text: str, remedy: str = "") -> Finding:
    """Return an answer that may be intended."""
    return Finding(Severity.WARNING, text, remedy)


def failed(text: str, remedy: str = "") -> Finding:
    """Return an answer that something cannot work."""
    return Finding(Severity.FAILED, text, remedy)


ContextT = TypeVar("ContextT")


class Check(Struct, Generic[ContextT], frozen=True):
    """A question.

    Attributes:
        name: one or two words, shown before the answer.
        run: finds the answer.
        needs: name of the check without whose success this one is skipped; empty for none.
        timeout: seconds that it may take.
    """

    name: str
    run: Callable[[ContextT], Awaitable[Sequence[Finding]]]
    needs: str = ""
    timeout: float = TIMEOUT


async def run_checks(
    checks: Sequence[Check[ContextT]], context: ContextT
) -> AsyncIterator[Finding]:
    """Run checks one after the other, and yield their answers as they come.

    Args:
        checks: the questions, in order.
        context: passed to each of them.
    """
    missing: set[str] = set()
    for check in checks:
        if check.needs in missing:
            missing.add(check.name)
            found: Sequence[Finding] = [Finding(Severity.SKIPPED, f"needs: {check.needs}")]
        else:
            found = await _answers(check, context)
        for each in found:
            if each.level is Severity.FAILED:
                missing.add(check.name)
            yield Finding(each.level, each.text, each.remedy, check.name)


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
