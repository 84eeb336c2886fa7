"""The commit of the source code that this installation comes from.

A build writes it into the package (hatch_build.py). Only a checkout, where nothing is built, has to
ask git.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

FILE: Final = "commit.txt"
"""The file of the package that has the commit, in a wheel and in a source distribution."""

_PACKAGE: Final = Path(__file__).parents[1]
_PATIENCE: Final = 10.0  # seconds; git takes some milliseconds


def built_commit(package: Path = _PACKAGE) -> str:
    """Return the commit that a build has written into the package; empty in a checkout."""
    try:
        return (package / FILE).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def checkout_commit(root: Path) -> str:
    """Ask git for the commit of a checkout, such as ``f0cd5d8a1b2c``.

    Args:
        root: the folder of the checkout. Repositories above it are another project's.

    Returns:
        Twelve digits, with ``+dirty`` if files of the commit were changed. Empty without git, and
        outside a checkout.
    """
    if not (root / ".git").exists():
        return ""
    # Variables that git sets for its hooks name the repository that runs the hook.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, "--dirty=+dirty"],
            capture_output=True,
            check=True,
            encoding="ascii",
            env=environment | {"GIT_CEILING_DIRECTORIES": str(root.resolve().parent)},
            timeout=_PATIENCE,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def find_commit() -> str:
    """Return the commit of this installation, also of a checkout; empty if it is unknown."""
    return built_commit() or checkout_commit(_PACKAGE.parents[1])
