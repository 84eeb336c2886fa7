"""The extras that errors and documents name: they exist, and install the missing packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

FOR_USERS = {"server", "terminal", "demo", "socks"}
"""Extras that a user installs; the others are for work on this repository."""

# A name in double quotes is taken by the shells of Linux, macOS and Windows.
_HINT = re.compile(r'pip install "ime-live\[(\w+)\]"')
_NAMED = re.compile(r"ime-live\[([^\]]*)\]")


def texts() -> Iterator[tuple[str, str]]:
    """Every source file and document, with its text."""
    for folder, kinds in (("src", {".py", ".js", ".html"}), ("docs", {".md"}), (".", {".md"})):
        paths = (ROOT / folder).glob("*" if folder == "." else "**/*")
        for path in paths:
            if path.suffix in kinds and path.name != "CHANGELOG.md":
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def test_hints_name_extras_that_exist() -> None:
    found = [(path, extra) for path, text in texts() for extra in _HINT.findall(text)]
    assert len([path for path, _ in found if path.startswith("src/")]) > 5
    assert [(path, extra) for path, extra in found if extra not in FOR_USERS] == []
    assert set(EXTRAS) >= FOR_USERS


def test_hints_are_written_for_every_shell() -> None:
    for path, text in texts():
        # Commands with another option or version; a user copies these from a document.
        rest = re.sub(r'(find-links packages|pip install) "ime-live\[demo\](==[\d.]+)?"', "", text)
        rest = _HINT.sub("", rest)
        assert _NAMED.findall(rest) == [], path


# Runs a program to which only the standard library, our package and some others exist.
ONLY = """
import sys
from importlib.abc import MetaPathFinder

KNOWN = {"ime_live"} | set(sys.argv[1].split(",")) | sys.stdlib_module_names

class Only(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in KNOWN and not root.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Only())

def modules(*without):
    import importlib, pkgutil, ime_live
    for module in pkgutil.walk_packages(ime_live.__path__, "ime_live."):
        if not module.name.endswith("__main__") and not module.name.startswith(without):
            importlib.import_module(module.name)
"""


def distributions(requirements: list[str]) -> set[str]:
    """Return the packages that pip installs for requirements, by their normal names."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        for extra in ("", *one.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found.add(name)
            if name == "ime-live":
                needed: list[str] = EXTRAS[extra] if extra else PROJECT["dependencies"]
            else:
                try:
                    needed = requires(name) or []
                except PackageNotFoundError:
                    continue  # for another platform, or not installed here
            for text in needed:
                more = Requirement(text)
                if more.marker is None or more.marker.evaluate({"extra": extra}):
                    waiting.append(more)
    return found


def run_with(extra: str, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that finds only what the base install and one extra bring."""
    installed = distributions([f"ime-live[{extra}]"])
    names = {
        module
        for module, owners in packages_distributions().items()
        if installed & {canonicalize_name(owner) for owner in owners}
    }
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", ONLY + program, ",".join(sorted(names))],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": ""},
        timeout=60,
        check=False,
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("extra", "program"),
    [
        pytest.param("server", 'modules("ime_live.terminal")', id="server"),
        pytest.param("terminal", "modules()", id="terminal"),
        pytest.param("demo", "from ime_live.local import embedded; embedded._binary()", id="demo"),
    ],
)
def test_extra_brings_every_package_that_is_imported(extra: str, program: str) -> None:
    done = run_with(extra, program)
    assert (done.returncode, done.stderr) == (0, "")


def test_import_of_another_extra_is_found_missing() -> None:
    done = run_with("server", "import ime_live.terminal.watch_app")
    assert "ModuleNotFoundError: No module named 'textual" in done.stderr


def test_extra_for_socks_proxies_brings_both_libraries() -> None:
    named = {canonicalize_name(Requirement(each).name) for each in EXTRAS["socks"]}
    assert named == {"httpx", "python-socks"}  # of the feed, and of the client as well
    assert Requirement(EXTRAS["socks"][0]).extras == {"socks"}  # which is socksio
