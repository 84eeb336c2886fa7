"""Targets of the fuzzing: no kept input shows a fault, nor do some invented ones."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings

from fuzz.corpus import CORPUS, MAX_FILES, read_corpus
from fuzz.mutations import grown, mutated
from fuzz.target import Target
from fuzz.targets import TARGETS
from tests.support.paths import ROOT

EVERY = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


@EVERY
def test_kept_inputs_show_no_fault(target: Target) -> None:
    kept = read_corpus(target)
    assert len(kept) > 3
    for path, data in kept.items():
        try:
            target.check(data)
        except Exception as error:
            error.add_note(f"python -m fuzz {target.name} --input {path}")
            raise


@EVERY
def test_some_kept_inputs_are_accepted(target: Target) -> None:
    assert any(target.check(data) for data in read_corpus(target).values())


def test_corpus_is_small_and_of_the_targets() -> None:
    folders = {path.name: sorted(path.iterdir()) for path in CORPUS.iterdir()}
    assert folders.keys() == TARGETS.keys()
    for files in folders.values():
        names = [path.name for path in files if not path.name.startswith("fault-")]
        assert len(names) <= MAX_FILES
    assert sum(path.stat().st_size for files in folders.values() for path in files) < 500_000


@EVERY
def test_changed_inputs_show_no_fault(target: Target) -> None:
    seeds = list(read_corpus(target).values())

    @given(mutated(seeds, target.words))
    def check(data: bytes) -> None:
        target.check(data)

    check()


@EVERY
def test_long_and_nested_inputs_show_no_fault(target: Target) -> None:
    seeds = [*read_corpus(target).values(), *target.words]
    for data in islice(grown(seeds, Random(len(seeds))), 6):
        target.check(data)


@EVERY
def test_many_changed_inputs_show_no_fault(target: Target) -> None:
    seeds = list(read_corpus(target).values())

    @settings(max_examples=1_000)
    @given(mutated(seeds, target.words))
    def check(data: bytes) -> None:
        target.check(data)

    check()


def test_document_has_all_targets() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [f"| {each.name} | {each.about} |" for each in TARGETS.values()]
    assert [row for row in rows if row not in text] == []
