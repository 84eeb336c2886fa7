"""The source tree: one class name for one class, and no folder of more than 15 modules."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.paths import ROOT

PACKAGE = ROOT / "src" / "ime_live"

MOST_MODULES = 15

SHARED_NAMES: dict[str, str] = {}
"""Class name → why more than one class has it."""


def class_names(sources: Iterable[str]) -> Iterator[str]:
    """The names of all classes in these modules, also of those inside classes and functions."""
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                yield node.name


def repeated(names: Iterable[str]) -> set[str]:
    """The names that come more than once."""
    return {name for name, count in Counter(names).items() if count > 1}


def test_each_class_name_means_one_class() -> None:
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    assert repeated(class_names(sources)) == set(SHARED_NAMES)


def test_inner_classes_with_the_same_name_are_found() -> None:
    sources = [
        "class Frame:\n    class Row: ...",
        "def f():\n    class Row: ...",
        "class _Row: ...",
    ]
    assert repeated(class_names(sources)) == {"Row"}


def test_files_that_continuous_integration_names_exist() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    named = set(re.findall(r"\btests/[\w/]+\.py\b", script))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def folders() -> dict[Path, int]:
    """The number of modules in each folder of the package."""
    return Counter(
        path.parent
        for path in PACKAGE.rglob("*.py")
        if path.name not in {"__init__.py", "__main__.py"}
    )


def test_no_folder_has_more_modules_than_can_be_seen_at_once() -> None:
    found = folders()
    assert len(found) > 20
    assert {path: count for path, count in found.items() if count > MOST_MODULES} == {}
