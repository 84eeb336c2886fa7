"""The commit of an installation: what a build has written, else what git says of the checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ime_live.monitoring.commit import FILE, built_commit, checkout_commit


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@localhost", "-c", "init.defaultBranch=main")
    done = subprocess.run(  # noqa: S603 - our own command
        ["git", *who, "-C", str(root), *arguments],  # noqa: S607 - as found by its users
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit; its folder has a space and a Persian letter."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    root = tmp_path_factory.mktemp("above") / "a سکه"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / "file").write_text("1")
    git(root, "add", "file")
    git(root, "commit", "--quiet", "--message", "First")
    git(root, "tag", "v9")  # the commit is wanted, and no tag
    return root


@pytest.fixture
def checkout(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / original.name))


def test_checkout_names_its_commit(checkout: Path) -> None:
    commit = checkout_commit(checkout)
    assert re.fullmatch("[0-9a-f]{12}", commit)
    assert git(checkout, "rev-parse", "HEAD").startswith(commit)
    git(checkout, "checkout", "--quiet", "--detach")
    (checkout / "new").touch()  # is in no commit
    assert checkout_commit(checkout) == commit


def test_changed_checkout_is_marked(checkout: Path) -> None:
    commit = checkout_commit(checkout)
    (checkout / "file").write_text("2")
    assert checkout_commit(checkout) == f"{commit}+dirty"


def test_worktree_names_its_own_commit(checkout: Path) -> None:
    worktree = checkout.parent / "worktree"
    git(checkout, "worktree", "add", "--quiet", "--detach", str(worktree))
    git(worktree, "commit", "--quiet", "--allow-empty", "--message", "Second")
    commit = checkout_commit(worktree)
    assert git(worktree, "rev-parse", "HEAD").startswith(commit)
    assert commit != checkout_commit(checkout)


def test_repository_of_a_running_hook_is_not_asked(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = checkout_commit(checkout)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert checkout_commit(checkout) == commit


def test_commit_is_unknown_within_the_repository_of_another_project(checkout: Path) -> None:
    inner = checkout / "vendor" / "ime-live"
    inner.mkdir(parents=True)
    assert checkout_commit(inner) == ""
    (inner / ".git").mkdir()  # no repository, so git would look above
    assert checkout_commit(inner) == ""


def test_commit_is_unknown_before_the_first_one(tmp_path: Path, original: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert checkout_commit(tmp_path) == ""


@pytest.mark.parametrize("path", ["", "/nonexistent"])
def test_commit_is_unknown_without_git(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("PATH", path)
    assert checkout_commit(checkout) == ""


def test_built_commit_is_read_from_the_package(tmp_path: Path) -> None:
    assert built_commit(tmp_path) == ""
    (tmp_path / FILE).write_text("0123456789ab\n")
    assert built_commit(tmp_path) == "0123456789ab"
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    assert built_commit(tmp_path) == ""
