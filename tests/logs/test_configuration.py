"""Log lines: one format and one order for all libraries, whatever is logged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.logs.programs import SET_UP, run


def test_lines_of_structlog_of_the_standard_library_and_warnings_keep_one_order(
    tmp_path: Path,
) -> None:
    program = """
for n in range(50):
    log.info("ours", n=n)
    logging.getLogger("theirs").warning("theirs n=%d", n)
warnings.warn("a warning")
class Unraisable:
    def __del__(self): raise LookupError("nobody can take this")
del (made := [Unraisable()])[:]
log.info("the last one")
"""
    program = program.replace("warnings.warn", "warnings.simplefilter('default');warnings.warn")
    read = run(tmp_path, SET_UP + program)
    assert [line.rpartition("=")[2] for line in read[:100]] == [
        str(n) for n in range(50) for _ in range(2)
    ]
    rest = "\n".join(read[100:-1])
    assert "a warning" in rest
    assert "LookupError: nobody can take this" in rest
    assert "the last one" in read[-1]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_value_with_a_failing_repr_does_not_fail_the_logging(
    tmp_path: Path, log_format: str
) -> None:
    program = """
class Hostile:
    def __str__(self): raise ValueError("no text")
    __repr__ = __str__
endless = []
endless.append(endless)
bad = [Hostile(), "\\ud800", 10**400, endless, {Hostile(): 1}, b"\\xff", float("nan"), {1: {2}}]
for value in bad:
    log.info("fine", value=value)
    log.info(value)
    log.info("\\ud800", **{"\\ud800": value})
    logging.getLogger().warning("%s", value)
    logging.getLogger().warning(value)
logging.getLogger().warning("%d and %s", "of another type")
try:
    raise LookupError(Hostile())
except LookupError:
    log.exception("with a traceback")
log.info("the last one")
"""
    read = run(tmp_path, f"import sys; sys.argv = ['', '{log_format}']\n" + SET_UP + program)
    assert "the last one" in read[-1]
    assert sum("a log line cannot be written" in line for line in read) > 5
