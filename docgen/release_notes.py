"""Print the notes of a release, from the changelog: ``python -m docgen.release_notes v0.2.0``.

It prints only an error if the tag, the version in pyproject.toml and the changelog do not agree.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

_SECTION: Final = re.compile(r"(?m)^## (.+)\n")
_RELEASE: Final = re.compile(r"(\d+\.\d+\.\d+(?:rc\d+)?) – (\d{4}-\d{2}-\d{2})")


def release_notes(changelog: str, version: str, tag: str) -> str:
    """Return the section of the changelog for a release.

    Args:
        changelog: text of CHANGELOG.md.
        version: version of the package.
        tag: tag of the release, such as ``v0.2.0``.

    Raises:
        ValueError: the text says what must hold, and what was found.
    """
    if tag != f"v{version}":
        raise ValueError(f"the tag must be v{version}, as pyproject.toml says, got {tag}")
    _, *parts = _SECTION.split(changelog)
    sections = dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
    headings = list(sections)
    if headings[:1] != ["Unreleased"] or sections["Unreleased"]:
        raise ValueError("the changelog must begin with an empty section 'Unreleased'")
    newest = headings[1] if len(headings) > 1 else "none"
    match = _RELEASE.fullmatch(newest)
    if match is None or match[1] != version:
        raise ValueError(
            f"the newest version of the changelog must be '{version} – YYYY-MM-DD', got {newest!r}"
        )
    if not sections[newest]:
        raise ValueError(f"the changelog must say what has changed in {version}, got nothing")
    return f"{sections[newest]}\n"


def main(arguments: Sequence[str]) -> int:
    """Print the notes for a tag; return the exit status."""
    if len(arguments) != 1:
        print("usage: python -m docgen.release_notes TAG", file=sys.stderr)
        return 2
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    try:
        notes = release_notes(changelog, project["version"], arguments[0])
    except ValueError as error:
        print(f"{arguments[0]} cannot be released: {error}", file=sys.stderr)
        return 1
    print(notes, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
