"""The source tree: names of classes, modules per folder, and tests that mirror the modules."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.paths import ROOT

PACKAGE = ROOT / "src" / "ime_live"
TESTS = ROOT / "tests"

MOST_MODULES = 15
MOST_LAYERS = 10

SHARED_NAMES: dict[str, str] = {}
"""Class name → why more than one class has it."""

INTERFACE = "has no behaviour of its own"

TESTED_ELSEWHERE = {
    "feeds/ime/frame_source.py": INTERFACE,
    "gateway/hub/transport.py": INTERFACE,
    "gateway/stream/codec.py": INTERFACE,
    "gateway/stream/context.py": INTERFACE,
    "settings/metrics.py": "settings/test_option.py",
    # These put other modules together, so that a program runs: it is tested as a process.
    "cli/bars.py": "bars/test_aggregator.py",
    "cli/running.py": "process/test_signals.py",
    "feeds/exchange.py": "cli/test_feed_ime.py",
    "gateway/app.py": "stream/test_http.py",
    "local/demo.py": "cli/test_demo.py",
    "local/demo_market.py": "cli/test_demo.py",
    # These need gateways, which the tests of the command have.
    "archive/recorder.py": "cli/test_record.py",
    "doctor/channel_tail.py": "cli/test_tail.py",
    "doctor/gateway_checks.py": "cli/test_doctor.py",
    # Their tests share the servers, or the fake service, with those of another module.
    "client/stream/stream.py": "client/stream/test_receiver.py",
    "gateway/stream/connection.py": "gateway/stream/test_websocket.py",
    "store/commands.py": "store/test_store.py",
    "store/network/cluster.py": "store/network/test_topologies.py",
    "store/network/sentinel.py": "store/network/test_topologies.py",
    "store/scripts.py": "store/test_fencing.py",
}
"""Module without a test file at the mirrored place → the tests that cover it, or why none does."""

UNMIRRORED_FOLDERS = {"benchmarks", "chaos", "deploy", "docgen", "fuzz", "stream", "support"}
"""Folders of tests that mirror no package."""

WITHOUT_MODULE = {
    # These run commands as processes: they test several modules together.
    "cli/test_demo.py": "the two modules of the demo, by the fixtures for commands",
    "cli/test_feed_fencing.py": "two feeds, of which one was held up",
    "cli/test_feed_ime.py": "the commands of cli/feed.py with feeds/exchange.py",
    "cli/test_feed_late.py": "feed ime with late boards and a wrong clock",
    "cli/test_feed_upgrade.py": "feeds of two versions",
    "cli/test_output.py": "output without a reader, for commands of several modules",
    "cli/test_store_settings.py": "the same settings of Redis, for commands of several modules",
    "client/test_examples.py": "the programs in examples/",
    "store/network/test_topologies.py": "Sentinel, cluster and what streams do at a failover",
    # These test a rule that holds for a whole package.
    "client/test_error_texts.py": "all error texts of the package",
    "client/test_types.py": "the types of the package, as mypy sees them",
    "feeds/test_recorded.py": "all modules that read frames, with recorded ones",
    "gateway/hub/test_hub_properties.py": "the hub and the reconciler, under any interleaving",
    "store/test_permissions.py": "all commands of the store, with the users of docs/redis.md",
    # These test parts of modules whose own file of tests is long enough.
    "feeds/ime/test_signalr_client_manners.py": "feeds/ime/signalr_client.py towards the exchange",
    "feeds/ime/test_signalr_client_waiting.py": "feeds/ime/signalr_client.py when it has to wait",
    "store/test_fencing.py": "store/scripts.py: fencing tokens",
    "store/test_history.py": "store/store.py: histories",
    "store/test_lift.py": "store/scripts.py: lifts",
}
"""Test file without a module at the mirrored place → what it tests."""


def class_names(sources: Iterable[str]) -> Iterator[str]:
    """The names of all classes in these modules, also of those inside classes and functions.

    ``_Frame`` counts as ``Frame``: a private class may not be another thing with the same name.
    """
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                yield node.name.removeprefix("_")


def repeated(names: Iterable[str]) -> set[str]:
    """The names that come more than once."""
    return {name for name, count in Counter(names).items() if count > 1}


def test_each_class_name_means_one_class() -> None:
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    assert repeated(class_names(sources)) == set(SHARED_NAMES)


def test_inner_and_private_classes_with_the_same_name_are_found() -> None:
    sources = [
        "class Frame:\n    class Row: ...",
        "def f():\n    class Row: ...",
        "class _Frame: ...",
        "class _Column: ...",
    ]
    assert repeated(class_names(sources)) == {"Frame", "Row"}


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


def test_folders_have_a_limited_number_of_modules() -> None:
    found = folders()
    assert len(found) > 20
    assert {path: count for path, count in found.items() if count > MOST_MODULES} == {}


def test_gateway_has_a_limited_number_of_layers() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    [gateway] = [each for each in contracts if each.get("containers") == ["ime_live.gateway"]]
    assert gateway["exhaustive"]
    assert len(gateway["layers"]) <= MOST_LAYERS


def mirrored(module: Path) -> Path:
    """Return the place of a module's tests: ``a/b.py`` is tested by ``tests/a/test_b.py``."""
    place = module.relative_to(PACKAGE)
    return TESTS / place.parent / f"test_{place.name.removeprefix('_')}"


def test_module_has_tests_at_the_mirrored_place_or_is_listed() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    without = {
        path.relative_to(PACKAGE).as_posix() for path in modules if not mirrored(path).exists()
    }
    assert without == set(TESTED_ELSEWHERE)


def test_file_of_tests_has_a_module_at_the_mirrored_place_or_is_listed() -> None:
    places = {mirrored(path) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    without = {
        path.relative_to(TESTS).as_posix()
        for path in set(TESTS.rglob("test_*.py")) - places
        if path.parent != TESTS and path.relative_to(TESTS).parts[0] not in UNMIRRORED_FOLDERS
    }
    assert without == set(WITHOUT_MODULE)


def test_folders_that_mirror_no_package_exist() -> None:
    assert [name for name in UNMIRRORED_FOLDERS if not (TESTS / name).is_dir()] == []
    assert [name for name in UNMIRRORED_FOLDERS if (PACKAGE / name).exists()] == []


def test_listed_module_is_covered_by_existing_tests() -> None:
    places = {place for place in TESTED_ELSEWHERE.values() if place != INTERFACE}
    assert [place for place in places if not (TESTS / place).exists()] == []


def test_tests_named_in_scripts_and_documents_exist() -> None:
    places = {
        place
        for file in (ROOT / ".ci" / "run", ROOT / "CONTRIBUTING.md", ROOT / "Makefile")
        for place in re.findall(r"\btests/[\w/]+(?:\.py)?", file.read_text(encoding="utf-8"))
    }
    assert places
    assert sorted(place for place in places if not (ROOT / place).exists()) == []


def test_file_of_tests_begins_with_a_docstring() -> None:
    # Most mirror a module; the others have no other place to say what they test.
    texts = {
        file.relative_to(TESTS).as_posix(): file.read_text(encoding="utf-8")
        for file in TESTS.rglob("*.py")
    }
    assert len(texts) > 300
    assert [file for file, text in texts.items() if text and not text.startswith('"""')] == []
