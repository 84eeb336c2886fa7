"""The corpus: inputs that are kept in files, because they reach other code than the others.

Each target has a folder; an input's file is named by its hash. Inputs that have shown a fault begin
with ``fault-`` and are never removed.
"""

from __future__ import annotations

import gc
import hashlib
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from fuzz.target import Target

CORPUS: Final = Path(__file__).parent / "corpus"

MAX_FILES: Final = 40
"""Inputs that are kept of a target, besides those that have shown a fault."""

MAX_BYTES: Final = 4_096
"""Bytes of the longest input that is kept for its coverage."""

_FAULT: Final = "fault-"
_PACKAGE: Final = f"{Path('ime_live')}"

Arc = tuple[str, int, int]
"""A step of the program: file, and the lines that it leads from and to."""


def read_corpus(target: Target, corpus: Path = CORPUS) -> Mapping[Path, bytes]:
    """Return the inputs of a target by their files, in order of the files' names."""
    return {path: path.read_bytes() for path in sorted((corpus / target.name).glob("*"))}


def keep(target: Target, data: bytes, corpus: Path = CORPUS, *, fault: bool = False) -> Path:
    """Write an input to the corpus, and return its file."""
    folder = corpus / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_FAULT if fault else ''}{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def renew(target: Target, inputs: Iterable[bytes], corpus: Path = CORPUS) -> int:
    """Keep the fewest inputs that reach all code that the corpus or ``inputs`` reach.

    Short inputs go before long ones. Those that have shown a fault stay in any case.

    Returns:
        The number of inputs that are kept beside those.
    """
    old = read_corpus(target, corpus)
    faults = {data for path, data in old.items() if path.name.startswith(_FAULT)}
    given = {data for data in (*old.values(), *inputs) if len(data) <= MAX_BYTES} - faults
    reached = {data: arcs_of(target, data) for data in sorted(given, key=_by_length)}
    kept: list[bytes] = []
    left: set[Arc] = set().union(*reached.values())
    left -= set().union(*(arcs_of(target, data) for data in faults))
    while left and len(kept) < MAX_FILES:
        best = max(reached, key=lambda data: len(reached[data] & left) / (len(data) + 64))
        left -= reached.pop(best)
        kept.append(best)
    for path in old:
        if not path.name.startswith(_FAULT):
            path.unlink()
    for data in kept:
        keep(target, data, corpus)
    return len(kept)


def _by_length(data: bytes) -> tuple[int, bytes]:
    return len(data), data


def arcs_of(target: Target, data: bytes) -> set[Arc]:
    """Return the steps of the package that the program takes for an input; none for a fault."""
    arcs: set[Arc] = set()

    def enter(frame: FrameType, _event: str, _argument: object) -> Any:  # noqa: ANN401 - as sys has it
        file = frame.f_code.co_filename
        if _PACKAGE not in file:
            return None
        line = frame.f_lineno

        def step(frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401
            nonlocal line
            if event == "line":
                arcs.add((file, line, frame.f_lineno))
                line = frame.f_lineno
            return step

        return step

    before = sys.gettrace()
    gc.disable()  # the end of an earlier input's generator is no step of this one
    sys.settrace(enter)
    try:
        with suppress(Exception):
            target.check(data, seconds=60.0)
            return arcs
    finally:
        sys.settrace(before)
        gc.enable()
    return set()
