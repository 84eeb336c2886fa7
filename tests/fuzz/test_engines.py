"""Engines: they find an input that shows a fault, and the corpus keeps what reaches new code."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest
import structlog

from fuzz.corpus import arcs_of, keep, read_corpus, renew
from fuzz.engines import at_random, by_coverage, by_growth, engine_of
from fuzz.mutations import nested, repeated
from fuzz.target import MAX_INPUT, FaultError, Target
from fuzz.targets import TARGETS
from ime_live.errors import PayloadError
from ime_live.market_json import read_payload
from tests.support.paths import ROOT

WORD = b"price"


class Reader:
    """Reads anything but an input with a certain word, and counts."""

    def __init__(self, word: bytes = WORD) -> None:
        self.word = word
        self.inputs = 0

    def __call__(self, data: bytes) -> None:
        self.inputs += 1
        if self.word in data:
            raise ZeroDivisionError(f"{len(data)} bytes")
        if data.startswith(b"refused"):
            raise PayloadError("refused")


def target(run: Reader) -> Target:
    return Target("reader", "a test", run, (PayloadError,), (WORD,))


def test_refused_input_is_no_fault() -> None:
    checked = target(Reader())
    assert checked.check(b"accepted")
    assert not checked.check(b"refused")
    with pytest.raises(ZeroDivisionError):
        checked.check(WORD)


def test_slow_input_is_a_fault() -> None:
    with pytest.raises(FaultError, match="must take -1 s at most"):
        target(Reader()).check(b"", seconds=-1)


def test_logged_exception_is_a_fault_although_it_was_caught() -> None:
    def run(data: bytes) -> None:
        try:
            read_payload(data)
        except PayloadError as error:
            structlog.get_logger().error("failed", exc_info=error)

    with pytest.raises(FaultError, match="has logged an exception"):
        Target("logger", "a test", run).check(b"{}")
    assert structlog.get_config()["processors"] != []


def test_hypothesis_finds_a_fault_with_a_small_input() -> None:
    reader = Reader()
    search = at_random(target(reader), [b"some input", b"another one"], 20.0, 1)
    [(data, text)] = search.faults.items()
    assert WORD in data
    assert len(data) < 20
    assert text.startswith("ZeroDivisionError: ")
    assert "in __call__" in text
    assert search.inputs == reader.inputs


def test_growth_finds_a_fault_of_a_long_input() -> None:
    search = by_growth(target(Reader(b"a" * 30_000)), [b"abc"], 20.0, 1)
    [data] = search.faults
    assert len(data) <= MAX_INPUT


def test_search_without_a_fault_ends_in_time() -> None:
    for engine in (at_random, by_growth):
        search = engine(target(Reader(b"?" * 99)), [], 0.2, 1)
        assert not search.faults
        assert search.inputs


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
def test_atheris_reaches_new_code() -> None:
    search = by_coverage(TARGETS["queries"], [b"search?market=IMEOption"], 3.0, 1)
    assert search.inputs > 100
    assert search.fresh
    assert not search.faults


def test_hypothesis_is_the_engine_where_atheris_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.engines.find_spec", lambda _: None)
    assert engine_of("best") == ("hypothesis", at_random)
    monkeypatch.setattr("fuzz.engines.find_spec", lambda name: name)
    assert engine_of("best") == ("atheris", by_coverage)


def test_corpus_keeps_the_fewest_inputs_that_reach_all_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fuzz.corpus.arcs_of", lambda _, data: {("f", byte, 0) for byte in data})
    reader = target(Reader())
    fault = keep(reader, b"z", tmp_path, fault=True)
    for data in (b"a", b"abc"):
        keep(reader, data, tmp_path)
    assert renew(reader, [b"abcabc", b"d", b"z", b"e" * 5_000], tmp_path) == 2
    kept = read_corpus(reader, tmp_path)
    assert fault in kept
    assert sorted(kept.values()) == [b"abc", b"d", b"z"]


def test_steps_of_the_package_are_noted() -> None:
    records = TARGETS["store-records"]
    assert arcs_of(records, b"bars\n") != arcs_of(records, b"bars\n" + bytes(98 + 16))
    assert not arcs_of(target(Reader()), WORD)


def test_nested_input_replaces_one_value() -> None:
    for number in range(50):
        data = nested(b'{"a":1,"b":"x"}', Random(number))
        assert data.startswith(b'{"a":')
        assert data.count(b'"b":') == 1
        assert data != b'{"a":1,"b":"x"}'


def test_repeated_input_has_the_size() -> None:
    for number in range(50):
        assert 900 < len(repeated(b"abcdefghij", Random(number), 1_000)) <= 1_000


def test_runner_replays_an_input_and_names_the_fault(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"search?market=IMEOption")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - the runner itself
            [sys.executable, "-m", "fuzz", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("queries", "--input", str(file)).stdout == "queries: accepted\n"
    wrong = run("query")
    assert wrong.returncode == 2
    assert "NAME must be one of http-requests, " in wrong.stderr
