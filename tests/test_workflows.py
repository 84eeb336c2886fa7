"""The workflows of checks, builds and releases: least rights, and nothing that is missing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml  # type: ignore[import-untyped] # it has no types, nor do we need them

from tests.support.paths import ROOT
from tests.support.rows import each_row

FOLDER = ROOT / ".github" / "workflows"
PATHS = sorted(FOLDER.glob("*.yml"))
FILES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in PATHS}

MORE_RIGHTS = {
    ("release", "pypi"): {"id-token": "write"},
    ("release", "image"): {"packages": "write"},
    ("release", "pages"): {"id-token": "write", "pages": "write"},
    ("release", "github"): {"contents": "write"},
}
"""The jobs that may do more than read the source, and what."""

Job = dict[str, Any]


def jobs() -> Iterator[tuple[str, str, Job]]:
    """Every job, with its workflow and its name."""
    for workflow, content in FILES.items():
        for name, job in content["jobs"].items():
            yield workflow, name, job


def steps() -> Iterator[Job]:
    """Every step of every job."""
    for _, _, job in jobs():
        yield from job.get("steps", [])


def before(name: str) -> set[str]:
    """The jobs of a release that must have succeeded before one starts."""
    needs = FILES["release"]["jobs"][name].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*map(before, direct))


def test_workflows_are_those_of_checks_builds_and_releases() -> None:
    assert set(FILES) == {"build", "checks", "release"}
    # YAML 1.1 reads `on` as true.
    assert FILES["release"][True] == {"push": {"tags": ["v*"]}}
    for name in ("checks", "build"):
        assert set(FILES[name][True]) == {"pull_request", "push", "workflow_call"}


def test_jobs_have_a_time_limit_and_the_least_rights() -> None:
    for content in FILES.values():
        assert content["permissions"] == {}
    for workflow, name, job in jobs():
        rights = job["permissions"]
        if (workflow, name) in MORE_RIGHTS:
            assert rights == MORE_RIGHTS[workflow, name]
        else:
            assert rights in ({}, {"contents": "read"}), (workflow, name)
        if "uses" not in job:  # the jobs of a called workflow have limits of their own
            assert 0 < job["timeout-minutes"] <= 60, (workflow, name)


def test_actions_are_pinned_to_a_commit() -> None:
    pinned = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+(\.\d+)*")
    versions: dict[str, set[str]] = {}
    for path in PATHS:
        for line in re.findall(r"\buses: (.*)", path.read_text(encoding="utf-8")):
            if line.startswith("./"):
                assert (ROOT / line).is_file(), line
            else:
                assert pinned.fullmatch(line), line
                versions.setdefault(line.partition("@")[0], set()).add(line)
    assert len(versions) >= 5
    assert {action for action, used in versions.items() if len(used) > 1} == set()


def test_checkouts_keep_no_credentials() -> None:
    found = [step for step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert len(found) >= 4
    assert all(step["with"]["persist-credentials"] is False for step in found)


def test_commands_have_no_expressions() -> None:
    # GitHub puts the value of one into the shell's text; a variable cannot be a command.
    commands = [step["run"] for step in steps() if "run" in step]
    assert len(commands) > 5
    assert [command for command in commands if "${{" in command] == []


@each_row("name", ["pypi", "image", "pages", "github"])
def test_nothing_is_published_before_all_checks_and_builds(name: str) -> None:
    assert before(name) >= {"notes", "checks", "build"}
    if name != "pypi":
        assert "pypi" in before(name)


def test_only_the_protected_environment_publishes_packages() -> None:
    job = FILES["release"]["jobs"]["pypi"]
    assert job["environment"]["name"] == "pypi"
    assert [step["uses"].partition("@")[0] for step in job["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    assert "secrets" not in yaml.safe_dump(job)


def test_commands_name_existing_files_and_targets() -> None:
    text = "\n".join(step["run"] for step in steps() if "run" in step)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    modules, targets = (
        re.findall(r"python -m (\S+)", text),
        re.findall(r"^make (\w+)", text, re.MULTILINE),
    )
    files = re.findall(r"(?<!\S)(?:deploy|\.ci|docs)/\S+", text)
    assert (modules, targets) == (["docgen.release_notes"], ["site"])
    assert sorted(files) == [".ci/run", "deploy/docker/Dockerfile"]
    assert (ROOT / "docgen" / "release_notes.py").is_file()
    assert all(f"\n{target}:" in makefile for target in targets)
    assert all((ROOT / file).is_file() for file in files)


def test_checks_run_on_every_version_of_python_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    prefix = "Programming Language :: Python :: 3."
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if each.startswith(prefix)]
    job = FILES["checks"]["jobs"]["checks"]
    assert job["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"
