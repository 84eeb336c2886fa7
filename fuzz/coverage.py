"""``python -m fuzz.coverage NAME FOLDER SECONDS SEED``: one target under atheris, for `engines`.

The folder has ``given`` inputs; those that reach new code are written to ``fresh``, and one that
shows a fault to ``found``. The process ends at the first fault.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

_MEASURED: Final = ["ime_live", "jwt", "websockets"]
"""Packages whose coverage guides the search."""

_SLOWER: Final = 10.0
"""How many times longer an input may take while the coverage is measured."""

_LONGEST_WORD: Final = 64  # bytes, of libFuzzer's dictionaries
_LONGEST_INPUT: Final = 8_192  # bytes; longer ones are the task of another engine


def main() -> None:
    """Search for faults until the time is over, or one is found."""
    name, folder, seconds, seed = sys.argv[1:]
    # It has no types, and is not there on all platforms.
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=_MEASURED):
        target = import_module("fuzz.targets").TARGETS[name]
    words = Path(folder) / "words"
    words.write_text("".join(_entry(word) for word in target.words), encoding="ascii")

    def check(data: bytes) -> None:
        target.check(data, seconds=_SLOWER)

    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-seed={int(seed) + 1}",
            "-timeout=30",
            f"-max_len={_LONGEST_INPUT}",
            f"-dict={words}",
            f"-artifact_prefix={folder}/found/",
            "-print_final_stats=1",
            "-verbosity=0",
            "-rss_limit_mb=3000",
            f"{folder}/fresh",
            f"{folder}/given",
        ],
        check,
    )
    atheris.Fuzz()


def _entry(word: bytes) -> str:
    """Return a line of libFuzzer's dictionary; nothing for a word that is too long for it."""
    if not 0 < len(word) <= _LONGEST_WORD:
        return ""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


if __name__ == "__main__":
    main()
