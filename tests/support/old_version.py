"""Programs of version 0.1.0, beside which those of this version must work.

They run in an environment of their own, which `OLD_VERSION_PYTHON` names; CONTRIBUTING.md
says how to make one.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import pytest

from tests.support.gateways import Command, Gateway

COMMIT: Final = "f0cd5d8"
"""The commit of version 0.1.0."""

PYTHON: Final = os.environ.get("OLD_VERSION_PYTHON", "")

# Flags that had other names.
_RENAMED: Final = {"--shutdown-spread": "--drain", "--polling-url": "--boards-url"}
_NEW: Final = {"--shutdown-grace"}  # each has a value


def need_old_version() -> None:
    """Skip the test if version 0.1.0 is not installed."""
    if not PYTHON:
        reason = (
            f"OLD_VERSION_PYTHON names no Python with ime-live of commit {COMMIT}, so this "
            "version is not tested beside it"
        )
        print(reason)
        pytest.skip(reason)


def run_old(arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]:  # noqa: ANN401
    """Start the old Python, which finds only its own packages."""
    return subprocess.Popen([PYTHON, "-I", *arguments], **options)  # noqa: S603 - given by us


class OldCommand(Command):
    """A process of the old ``ime-live``."""

    def _started(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
        known = [
            _RENAMED.get(argument, argument)
            for before, argument in pairwise(["", *arguments])
            if not {before, argument} & _NEW
        ]
        return run_old(["-m", "ime_live", *known], **options)


class OldGateway(OldCommand, Gateway):
    """A process of the old ``ime-live serve``."""
