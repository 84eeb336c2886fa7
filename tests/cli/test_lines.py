"""Lines of an input: how they are divided, and what is reported of bad and refused ones."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from ime_live.cli.lines import MAX_LINE, LineReport, batches, lines_of, open_input, reason_of
from ime_live.errors import SettingsError, StoreError


def test_lines_have_numbers_and_blank_ones_are_left_out() -> None:
    text = "\ufeffone\n\n  \r\nfour\r\nfive".encode()
    assert list(lines_of(io.BytesIO(text))) == [(1, b"one\n"), (4, b"four\r\n"), (5, b"five")]


def test_line_that_is_too_long_is_none_and_the_next_one_is_read() -> None:
    longest = b"x" * (MAX_LINE - 1) + b"\n"
    text = longest + b"y" * (2 * MAX_LINE + 1) + b"\n" + b"three\n" + b"z" * (MAX_LINE + 1)
    assert list(lines_of(io.BytesIO(text))) == [(1, longest), (2, None), (3, b"three\n"), (4, None)]


async def test_lines_of_a_pipe_are_handed_on_as_they_arrive() -> None:
    read, write = os.pipe()
    found = batches(os.fdopen(read, "rb"), "standard input")
    for number in (1, 2):
        os.write(write, b"a line\n")  # the pipe stays open
        assert await anext(found) == [(number, b"a line\n")]
    os.close(write)
    assert [batch async for batch in found] == []


async def test_all_lines_of_a_file_are_handed_on_in_order() -> None:
    text = b"".join(b"%d\n" % n for n in range(5_000))
    found = [line async for batch in batches(io.BytesIO(text), "x") for line in batch]
    assert found == [(n + 1, b"%d\n" % n) for n in range(5_000)]


async def test_file_that_cannot_be_read_to_its_end_is_an_error() -> None:
    class Broken(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            if not line:
                raise OSError(5, "Input/output error")
            return line

    found = batches(Broken(b"one\n"), "data.ndjson")
    with pytest.raises(SettingsError, match=r"^data\.ndjson cannot be read: input/output error$"):
        _ = [batch async for batch in found]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nothing", "no such file or directory"), (".", "is a directory"), ("a\0b", "null")],
    ids=["missing", "folder", "null character"],
)
def test_file_that_cannot_be_opened_is_an_error(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        open_input(str(tmp_path / name))


def test_reason_of_an_error_is_short() -> None:
    assert reason_of(OSError(28, "No space left on device")) == "no space left on device"
    with pytest.raises(UnicodeDecodeError) as caught:
        b"\xff".decode()
    assert reason_of(caught.value) == "not UTF-8"
    assert reason_of(ValueError("bad")) == "bad"


def test_report_counts_bad_and_refused_lines() -> None:
    reports: list[str] = []
    report = LineReport("-", reports.append)
    report.refuse(2, "not JSON")
    for number in (3, 4, 5):
        report.refuse_in_store(number, StoreError("out of memory"))
    report.close(published=7, unchanged=1)
    assert reports == [
        "standard input, line 2: not JSON",
        "standard input, line 3: out of memory",
        "7 published, 1 unchanged, 1 bad line, 3 lines refused by Redis (publish them again)",
    ]
