"""Engines: look for inputs that show faults, by coverage with atheris or at random with hypothesis.

atheris changes inputs that have reached new code again, which finds more. It has wheels for some
platforms and versions of Python only; on others hypothesis makes inputs of those in the corpus.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from msgspec import Struct

from fuzz.mutations import grown, mutated
from fuzz.target import Target

_EXECUTED: Final = re.compile(r"number_of_executed_units: (\d+)")
_BATCH: Final = 200  # examples between two looks at the clock
_GRACE: Final = 60.0  # seconds that atheris may need for its start and for one long input


class Search(Struct):
    """The inputs that a search has tried, and the faults that it has found.

    Attributes:
        inputs: number of inputs.
        faults: inputs that have shown a fault, with its text.
        fresh: inputs that have reached new code.
    """

    inputs: int = 0
    faults: dict[bytes, str] = {}
    fresh: list[bytes] = []


Engine = Callable[[Target, Sequence[bytes], float, int], Search]
"""Searches for some seconds, from some inputs and by a seed."""


def engine_of(name: str) -> tuple[str, Engine]:
    """Return an engine with its name; ``best`` is atheris where it is installed."""
    if name == "best":
        name = "hypothesis" if find_spec("atheris") is None else "atheris"
    return name, {"atheris": by_coverage, "hypothesis": at_random}[name]


def by_growth(target: Target, seeds: Sequence[bytes], seconds: float, number: int) -> Search:
    """Try long and deeply nested inputs."""
    search = Search()
    end = time.monotonic() + seconds
    for data in grown(seeds, Random(number)):
        if time.monotonic() >= end:
            break
        search.inputs += 1
        try:
            target.check(data)
        except Exception as error:  # noqa: BLE001 - a fault of any kind is what we look for
            search.faults[data] = described(error)
            break
    return search


def at_random(target: Target, seeds: Sequence[bytes], seconds: float, number: int) -> Search:
    """Try inputs that hypothesis makes; a fault's input is made as simple as possible."""
    search = Search()
    last: list[bytes] = []

    def check(data: bytes) -> None:
        search.inputs += 1
        last[:] = [data]
        target.check(data)

    end = time.monotonic() + seconds
    while not search.faults and time.monotonic() < end:
        number += 1
        batch = settings(
            max_examples=_BATCH,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
        )(given(mutated(seeds, target.words))(check))
        try:
            seed(number)(batch)()
        except Exception as error:  # noqa: BLE001 - a fault of any kind is what we look for
            search.faults[last[0]] = described(error)
    return search


def by_coverage(target: Target, seeds: Sequence[bytes], seconds: float, number: int) -> Search:
    """Try inputs that atheris makes, in a process of their own."""
    with TemporaryDirectory(prefix="ime-live-fuzz-") as name:
        folder = Path(name)
        for kind in ("given", "fresh", "found"):
            (folder / kind).mkdir()
        for index, data in enumerate((*seeds, *target.words)):
            (folder / "given" / f"{index}").write_bytes(data)
        command = [sys.executable, "-m", "fuzz.coverage", target.name, str(folder)]
        command += [str(max(1, round(seconds))), str(number)]
        try:
            ended = subprocess.run(
                command, capture_output=True, timeout=seconds + _GRACE, check=False
            )
        except subprocess.TimeoutExpired as late:
            raise RuntimeError(
                f"{target.name}: atheris does not end: {late.stderr!r:.2000}"
            ) from None
        said = ended.stderr.decode("utf-8", "replace")
        executed = _EXECUTED.search(said)
        found = [path.read_bytes() for path in sorted((folder / "found").iterdir())]
        if executed is None or (ended.returncode and not found):
            raise RuntimeError(f"{target.name}: atheris has failed: {said[-2000:]}")
        fresh = [path.read_bytes() for path in (folder / "fresh").iterdir()]
        return Search(int(executed[1]), dict.fromkeys(found, said[-3000:]), fresh)


def described(error: BaseException) -> str:
    """Return an error with its type, and the line of the program where it was raised."""
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {str(error)[:500]} ({place})"
