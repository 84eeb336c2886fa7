"""The notes of a release: a tag, the package's version and the changelog must fit."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from docgen.release_notes import release_notes
from tests.support.paths import ROOT
from tests.support.rows import each_row

CHANGELOG = """# Changelog

## Unreleased

## 0.2.0 – 2026-11-27

### Added

- A thing.

## 0.1.0 – 2026-11-25

- The first one.
"""


def test_notes_are_the_section_of_the_version() -> None:
    assert release_notes(CHANGELOG, "0.2.0", "v0.2.0") == "### Added\n\n- A thing.\n"


@each_row(
    ("changelog", "version", "tag", "error"),
    [
        (
            CHANGELOG,
            "0.2.0",
            "v0.2.1",
            "the tag must be v0.2.0, as pyproject.toml says, got v0.2.1",
        ),
        (CHANGELOG, "0.2.0", "0.2.0", "the tag must be v0.2.0"),
        (CHANGELOG, "0.3.0", "v0.3.0", "must be '0.3.0 – YYYY-MM-DD', got '0.2.0 – 2026-11-27'"),
        (CHANGELOG, "0.1.0", "v0.1.0", "must be '0.1.0 – YYYY-MM-DD', got '0.2.0 – "),
        (CHANGELOG.replace(" – 2026-11-27", ""), "0.2.0", "v0.2.0", "got '0.2.0'"),
        (CHANGELOG.replace("eased\n", "eased\n\n- More.\n"), "0.2.0", "v0.2.0", "an empty section"),
        (CHANGELOG.replace("## Unreleased\n", ""), "0.2.0", "v0.2.0", "an empty section"),
        (CHANGELOG.replace("### Added\n\n- A thing.\n", ""), "0.2.0", "v0.2.0", "got nothing"),
        ("# Changelog\n\n## Unreleased\n", "0.2.0", "v0.2.0", "got 'none'"),
        ("", "0.2.0", "v0.2.0", "an empty section"),
    ],
)
def test_release_that_does_not_fit_is_refused(
    changelog: str, version: str, tag: str, error: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(error)):
        release_notes(changelog, version, tag)


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["v9.9.9"], 1, "v9.9.9 cannot be released: the tag must be v"),
        ([], 2, "usage: "),
    ],
)
def test_command_fails_with_one_line(arguments: list[str], status: int, error: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "docgen.release_notes", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(error)
    assert done.stderr.count("\n") == 1


def test_changelog_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    # Between two releases there are unreleased changes.
    start, end = changelog.index("## Unreleased\n"), changelog.index(f"## {version} – ")
    emptied = changelog[:start] + "## Unreleased\n\n" + changelog[end:]
    assert release_notes(emptied, version, f"v{version}")
