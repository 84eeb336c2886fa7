"""The commit of the source code of this installation.

A build writes it into the package (hatch_build.py). In a checkout, git is called.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

FILE: Final = "commit.txt"
"""File with the commit in a wheel and in a source distribution."""

_PACKAGE: Final = Path(__file__).parents[1]
_TIMEOUT: Final = 10.0  # seconds; git takes some milliseconds


def built_commit(package: Path = _PACKAGE) -> str:
    """Return the commit that a build has written into the package; empty in a checkout."""
    try:
        return (package / FILE).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def checkout_commit(root: Path) -> str:
    """Return the commit of a checkout from git, such as ``f0cd5d8a1b2c``.

    Args:
        root: root folder of the checkout. A repository above it is ignored.

    Returns:
        Twelve digits, with ``+dirty`` if files of the commit were changed. Empty without git, and
        outside a checkout.
    """
    if not (root / ".git").exists():
        return ""
    # In a hook, git sets variables with the repository of the hook, which may be another one.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--exclude=*"]
    try:
        completed = subprocess.run(  # noqa: S603 - a constant command
            [*command, "--dirty=+dirty"],
            capture_output=True,
            check=True,
            encoding="ascii",
            env=environment | {"GIT_CEILING_DIRECTORIES": str(root.resolve().parent)},
            timeout=_TIMEOUT,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return completed.stdout.strip()


def find_commit() -> str:
    """Return the commit of this installation or checkout; empty if it is unknown."""
    return built_commit() or checkout_commit(_PACKAGE.parents[1])
