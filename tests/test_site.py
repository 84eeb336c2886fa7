"""The documentation as web pages: complete, whole in itself, and searchable.

The pages are built where `zensical` is installed (`make site`); the rest needs nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import ime_live
from tests.support.paths import ROOT
from tests.support.rows import each_row

PROJECT = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]


def pages_of(nav: list[Any]) -> Iterator[str]:
    """The documents that a navigation names."""
    for entry in nav:
        match entry:
            case str():
                yield entry
            case dict():
                for below in entry.values():
                    yield from pages_of([below] if isinstance(below, str) else below)


def test_navigation_has_every_document() -> None:
    docs = ROOT / "docs"
    written = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    records = {name for name in written if name.startswith("decisions/")}  # by decisions.md
    assert sorted(pages_of(PROJECT["nav"])) == sorted(written - records)


def test_api_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: ime_live\.(\w+)$", text, re.MULTILINE)
    assert sorted(named) == sorted(set(ime_live.__all__) - {"__version__"})


class Resources(HTMLParser):
    """Collects what a browser loads by itself when it shows a page, but for scripts' own."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.styles: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag loads; a link to a page loads nothing until it is clicked."""
        given = dict(attrs)
        self._style = tag == "style"
        if style := given.get("style"):
            self.styles.append(style)
        if tag == "link" and given.get("rel") in {"canonical", "next", "prev", "alternate"}:
            return
        for name in ("src", "srcset", "poster", "data", *(["href"] if tag == "link" else [])):
            if value := given.get(name):
                self.loaded.append(value)

    def handle_data(self, data: str) -> None:
        """Note the text of a style sheet within the page."""
        if self._style:
            self.styles.append(data)

    def handle_endtag(self, tag: str) -> None:
        """A style sheet ends."""
        self._style = self._style and tag != "style"


ELSEWHERE = re.compile(r"(?i)^\s*(?:[a-z][a-z0-9+.-]*:)?//")
LOADED_BY_STYLES = re.compile(r"""(?i)(?:@import\s*|url\(\s*)["']?([^"')\s;]+)""")


def loads_from_elsewhere(html: str) -> list[str]:
    """Return the URLs of other hosts from which a page loads."""
    page = Resources()
    page.feed(html)
    by_styles = [each for style in page.styles for each in LOADED_BY_STYLES.findall(style)]
    return [each for each in page.loaded + by_styles if ELSEWHERE.match(each)]


@each_row(
    "html",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<img src="HTTPS://badge.example/build.svg">',
        "<style>@import 'https://fonts.example/css';</style>",
        '<p style="background: url(https://a.example/b.png)">',
    ],
)
def test_urls_of_other_hosts_are_found(html: str) -> None:
    assert len(loads_from_elsewhere(html)) == 1


def test_links_and_own_files_are_no_other_hosts() -> None:
    assert loads_from_elsewhere('<a href="https://a.example">a</a><script src="b.js">') == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built as `make site` does it."""
    if find_spec("zensical") is None:
        reason = "zensical is not installed, so no pages are built: run `make site` first"
        if os.environ.get("CI") == "true":  # .ci/run has run it
            pytest.fail(reason)
        print(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "zensical.toml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list(pages_of(PROJECT["nav"])))
    for page in pages:
        assert loads_from_elsewhere(page.read_text(encoding="utf-8")) == [], page.name
    for sheet in site.rglob("*.css"):
        found = LOADED_BY_STYLES.findall(sheet.read_text(encoding="utf-8"))
        assert [each for each in found if ELSEWHERE.match(each)] == [], sheet.name


class Links(HTMLParser):
    """Collects what a page links to and loads, and its own anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag's target and anchor."""
        given = dict(attrs)
        self.targets += [value for name in ("href", "src") if (value := given.get(name))]
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}


def broken_links(folder: Path) -> list[str]:
    """Links of the pages in a folder that lead to no file in it, or to no anchor of a page."""
    pages: dict[Path, Links] = {}
    for path in folder.rglob("*.html"):
        pages[path.resolve()] = page = Links()
        page.feed(path.read_text(encoding="utf-8"))
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            file = (path.parent / unquote(url.path)).resolve() if url.path else path
            is_there = file.is_file() and file.is_relative_to(folder.resolve())
            anchor = unquote(url.fragment)
            if not is_there or (anchor and file in pages and anchor not in pages[file].anchors):
                broken.append(f"{path.name}: {target}")
    return broken


def test_broken_links_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (tmp_path / "outside.json").write_text("{}")
    (folder / "a.json").write_text("{}")
    good = '<a href="a.json"></a><p id="x"><a href="#x"></a><a href="https://a.example/b"></a>'
    bad = '<a href="../outside.json"></a><a href="no.html"></a><a href="page.html#y"></a>'
    (folder / "page.html").write_text(good + bad)
    found = broken_links(folder)
    assert [each.partition(": ")[2] for each in found] == [
        "../outside.json",
        "no.html",
        "page.html#y",
    ]


def test_links_lead_to_files_of_the_site(site: Path) -> None:
    # Of the page for missing ones, the server decides at which address it is shown.
    pages = [each for each in broken_links(site) if not each.startswith("404.html: ")]
    assert pages == []


def test_site_has_no_code(site: Path) -> None:
    assert list(site.rglob("*.py")) == []
    assert {path.name for path in (site / "schemas").iterdir()} == {"contract.json", "update.json"}


def test_api_reference_shows_docstrings(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in set(ime_live.__all__) - {"__version__"}:
        assert f'id="ime_live.{name}"' in text
    assert ":::" not in text


def test_search_finds_english_and_persian_words(site: Path) -> None:
    index = json.dumps(json.loads((site / "search.json").read_text("utf-8")), ensure_ascii=False)
    assert "permessage-deflate" in index
    assert "خوراک داده" in index


def test_pages_are_light_and_dark(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    for scheme in ("default", "slate"):
        assert f'data-md-color-scheme="{scheme}"' in text


def test_persian_page_runs_right_to_left(site: Path) -> None:
    text = (site / "fa" / "quickstart.html").read_text(encoding="utf-8")
    assert re.search(r'<div dir="rtl" lang="fa">\s*<h1', text)
    assert re.search(r'<div dir="ltr">\s*<div class="language-python', text)
