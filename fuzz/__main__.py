"""``python -m fuzz [NAME…] [--seconds N]``: look for inputs that show faults; see ``make fuzz``."""

from __future__ import annotations

import argparse
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fuzz.corpus import keep, read_corpus, renew
from fuzz.engines import Engine, by_growth, described, engine_of
from fuzz.target import Target
from fuzz.targets import TARGETS

_GROWTH: Final = 0.15
"""Part of the time for long and deeply nested inputs."""

_LONGEST_REPLAY: Final = 120.0  # seconds


def main() -> None:
    """Look for inputs that show faults, and keep them in the corpus, which the tests read."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets (all)")
    parser.add_argument("--seconds", type=float, default=600, help="time for all targets (600)")
    parser.add_argument("--seed", type=int, help="repeat a run; by default another one each time")
    parser.add_argument(
        "--engine", choices=["best", "atheris", "hypothesis"], default="best", help="(best)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep inputs that reach new code in the corpus"
    )
    parser.add_argument("--input", type=Path, help="only run one target with the bytes of a file")
    parser.add_argument("--list", action="store_true", help="only list the targets")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - TARGETS.keys()):
        parser.error(f"NAME must be one of {', '.join(TARGETS)}, got {unknown[0]}")
    targets = [TARGETS[name] for name in given.names or TARGETS]
    if given.list:
        for target in targets:
            print(f"{target.name:18} {target.about}")
        return
    if given.input is not None:
        if len(given.names) != 1:
            parser.error(f"--input needs one NAME, got {len(given.names)}")
        _replay(targets[0], given.input.read_bytes())
        return
    name, engine = engine_of(given.engine)
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    print(f"seed {seed}, {name}", flush=True)
    faults = 0
    for target in targets:
        faults += _search(
            target, engine, given.seconds / len(targets), seed, keeps_fresh=given.keep
        )
    if faults:
        sys.exit(f"{faults} faults found; `make test` fails until they are mended")


def _replay(target: Target, data: bytes) -> None:
    try:
        accepted = target.check(data)
    except Exception as error:
        raise SystemExit(f"{target.name}: {described(error)}") from error
    print(f"{target.name}: {'accepted' if accepted else 'refused'}")


def _search(target: Target, engine: Engine, seconds: float, seed: int, *, keeps_fresh: bool) -> int:
    """Search for faults of a target, and return the number of those that were found."""
    begin = time.monotonic()
    seeds = [*read_corpus(target).values()]
    grown = by_growth(target, [*seeds, *target.words], seconds * _GROWTH, seed)
    search = engine(target, seeds, seconds * (1 - _GROWTH), seed)
    inputs = grown.inputs + search.inputs
    print(f"{target.name}: {inputs:,} inputs in {time.monotonic() - begin:.0f} s", flush=True)
    faults = grown.faults | search.faults
    for data, text in faults.items():
        path = keep(target, data, fault=True)
        said = _replayed(target, data)
        print(f"FAULT of {target.name}, kept as {path}\n{said or text}", flush=True)
    if keeps_fresh:
        kept = renew(target, [*search.fresh, *target.words])
        print(f"{target.name}: {kept} inputs are kept", flush=True)
    return len(faults)


def _replayed(target: Target, data: bytes) -> str:
    """Return what another process says of an input; empty if it shows no fault there."""
    with TemporaryDirectory(prefix="ime-live-fuzz-") as folder:
        file = Path(folder) / "input"
        file.write_bytes(data)
        command: Sequence[str] = [sys.executable, "-m", "fuzz", target.name, "--input", str(file)]
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=_LONGEST_REPLAY, check=False
            )
        except subprocess.TimeoutExpired:
            return f"it does not end within {_LONGEST_REPLAY:g} s"
        return ended.stderr.strip() if ended.returncode else ""


if __name__ == "__main__":
    main()
