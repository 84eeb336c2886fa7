"""The wheel: what an installation gets, with and without the extension in C."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from ime_live.monitoring.commit import FILE, built_commit, checkout_commit
from tests.support.paths import ROOT

SOURCE = ROOT / "src"
EXTENSION = "ime_live/gateway/stream/_fanout.abi3.so"
COMMIT = f"ime_live/{FILE}"
WITHOUT = [
    pytest.param("CC", "/nonexistent/cc", id="no compiler"),
    *(
        pytest.param(*each, id=name, marks=pytest.mark.thorough)
        for name, each in (
            ("not wanted", ("IME_LIVE_NO_EXTENSIONS", "1")),
            ("compiler fails", ("CC", "false")),
        )
    ),
]


def build(target: Path, root: Path = ROOT, version: str = "standard") -> Path:
    [wheel] = WheelBuilder(str(root)).build(directory=str(target), versions=[version])
    return Path(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {
            name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name
        }


def sources() -> dict[str, bytes]:
    """Every file of the package but the extension's source, and the extension itself."""
    return {
        path.relative_to(SOURCE).as_posix(): path.read_bytes()
        for path in (SOURCE / "ime_live").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".c", ".so"}
    }


def implementation(wheel: Path) -> str:
    """Return which fan-out runs in an installation of the wheel."""
    folder = wheel.parent / "installed"
    shutil.unpack_archive(wheel, folder, "zip")
    program = "from ime_live.gateway.stream import fanout as f; print(f.__file__, f.IMPLEMENTATION)"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(folder), "IME_LIVE_NO_EXTENSIONS": ""},
    )
    file, name = done.stdout.split()
    assert Path(file).is_relative_to(folder)
    return name


def need_compiler() -> None:
    if shutil.which("cc") is None:
        reason = "cc is not installed, so the extension is not built"
        print(reason)
        pytest.skip(reason)


@pytest.mark.thorough
def test_wheel_holds_every_file_of_the_package_and_the_extension(tmp_path: Path) -> None:
    need_compiler()
    wheel = build(tmp_path)
    assert "-cp311-abi3-" in wheel.name
    held = contents(wheel)
    del held[EXTENSION]
    held.pop(COMMIT, None)  # not there where git is not
    assert held == sources()
    documents = {f"ime_live/gateway/api_docs/{name}.json" for name in ("openapi", "asyncapi")}
    assert documents <= set(held)
    page = {Path(name).name for name in held if name.startswith("ime_live/gateway/api_docs/page/")}
    assert {"index.html", "main.js", "page.css"} <= page
    assert implementation(wheel) == "c"


@pytest.mark.parametrize(("variable", "value"), WITHOUT)
def test_wheel_without_the_extension_is_for_every_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    # Also where an editable installation has put one beside its source.
    monkeypatch.setenv(variable, value)
    wheel = build(tmp_path)
    assert wheel.name.endswith("-py3-none-any.whl")
    held = contents(wheel)
    held.pop(COMMIT, None)
    assert held == sources()
    assert implementation(wheel) == "python"


@pytest.mark.thorough
def test_editable_installation_has_the_extension_beside_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_compiler()
    root = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(SOURCE, root / "src", ignore=ignored)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    wheel = build(tmp_path, root, "editable")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert (root / "src" / EXTENSION).stat().st_size > 1_000
    monkeypatch.setenv("IME_LIVE_NO_EXTENSIONS", "1")
    build(tmp_path, root, "editable")
    assert not (root / "src" / EXTENSION).exists()


@pytest.mark.thorough
def test_sdist_holds_the_source_of_the_extension_and_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IME_LIVE_COMMIT", "0123456789abcdef" * 2)
    [sdist] = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path, filter="data")
    assert {"hatch_build.py", "src/ime_live/gateway/stream/_fanout.c"} <= names
    assert not [name for name in names if name.endswith(".so")]

    # A wheel that is built from it has the same commit, whatever git or the variable say.
    root = Path(sdist.removesuffix(".tar.gz"))
    assert built_commit(root / "src" / "ime_live") == "0123456789ab"
    monkeypatch.setenv("IME_LIVE_COMMIT", "f" * 40)
    monkeypatch.setenv("IME_LIVE_NO_EXTENSIONS", "1")
    assert contents(build(tmp_path, root))[COMMIT] == b"0123456789ab\n"


def test_wheel_of_a_checkout_has_the_commit_that_git_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IME_LIVE_COMMIT", raising=False)
    monkeypatch.setenv("IME_LIVE_NO_EXTENSIONS", "1")
    named = checkout_commit(ROOT) or built_commit()
    if not named:
        pytest.skip("this source has neither a git repository nor a commit")
    assert contents(build(tmp_path))[COMMIT] == f"{named}\n".encode()


@pytest.mark.parametrize("value", ["main", "abc", "0123456789ABCDEF", "0123456\n"])
def test_wheel_is_not_built_with_a_variable_that_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("IME_LIVE_COMMIT", value)
    with pytest.raises(ValueError, match="IME_LIVE_COMMIT must have 7 to 64 digits of base 16"):
        build(tmp_path)
