"""The wheel: what an installation gets, beside what is in the checkout."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from tests.support.paths import ROOT

SOURCE = ROOT / "src"


def test_it_holds_every_file_of_the_package(tmp_path: Path) -> None:
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        held = {
            name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name
        }
    files = (path for path in (SOURCE / "ime_live").rglob("*") if path.is_file())
    expected = {
        path.relative_to(SOURCE).as_posix(): path.read_bytes()
        for path in files
        if "__pycache__" not in path.parts
    }
    assert held == expected
    assert {f"ime_live/gateway/api_docs/{name}.json" for name in ("openapi", "asyncapi")} <= set(
        held
    )
    page = {Path(name).name for name in held if name.startswith("ime_live/gateway/api_docs/page/")}
    assert {"index.html", "main.js", "page.css"} <= page
