"""The table of dependencies: it has each direct one, with the licence that the package declares."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from typing import Final, NamedTuple

import pytest

from tests.support.paths import ROOT

BASE: Final = "base"
NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
ROW: Final = re.compile(r"\| ([a-z0-9-]+) \| ([a-z, ]+) \| ([A-Za-z0-9. -]+) \| (.+) \|")

# By words in what packages declare, where that is no SPDX expression.
WORDS: Final = {
    "MIT": ("mit",),
    "BSD-3-Clause": ("bsd",),
    "BSD-2-Clause": ("bsd",),
    "Apache-2.0": ("apache",),
    "MPL-2.0": ("mozilla", "mpl"),
    "ISC": ("isc",),
}


class Row(NamedTuple):
    """A row of the table."""

    extras: frozenset[str]
    licence: str
    reason: str


def table() -> dict[str, Row]:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    return {
        name: Row(frozenset(extras.split(", ")), licence, reason)
        for name, extras, licence, reason in ROW.findall(text)
        if name != "package"
    }


def declared() -> dict[str, set[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, set[str]] = {}
    for extra, given in {BASE: project["dependencies"], **project["optional-dependencies"]}.items():
        for requirement in given:
            name = NAME.match(requirement)
            assert name is not None
            if name[0] != project["name"]:  # another extra of ours
                found.setdefault(name[0].lower(), set()).add(extra)
    return found


def test_table_has_each_direct_dependency_of_every_extra() -> None:
    assert {name: set(row.extras) for name, row in table().items()} == declared()


def test_each_dependency_has_a_reason() -> None:
    assert [name for name, row in table().items() if len(row.reason) < 10] == []


@pytest.mark.parametrize("name", table())
def test_licence_is_the_one_that_the_package_declares(name: str) -> None:
    licence = table()[name].licence
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    if expression := about.get_all("License-Expression"):
        assert [licence] == expression
        return
    said = [*(about.get_all("License") or [""]), *(about.get_all("Classifier") or [])]
    said = [line for line in said if "licen" in line.lower() or line in said[:1]]
    files = [file for file in metadata.files(name) or [] if file.name.startswith("LICENSE")]
    said += [file.read_text(encoding="utf-8")[:200] for file in files]
    text = " ".join(said).lower()
    for each in re.split(r" (?:AND|OR) ", licence):
        assert any(word in text for word in WORDS[each]), text


def test_licences_are_among_the_accepted_ones() -> None:
    licences = {each for row in table().values() for each in re.split(r" (?:AND|OR) ", row.licence)}
    assert licences <= WORDS.keys()
