"""Day files of an archive: members, unfinished ends and damage."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ime_live.archive.day_file import HEADER, Cut, compressed, day_files, read_members
from ime_live.errors import FeedError

FIRST = compressed([b"a", b"", b"b"])
SECOND = gzip.compress(b"c\nd")  # of another program


def read(path: Path) -> tuple[list[tuple[list[bytes], int]], list[Cut]]:
    cuts: list[Cut] = []
    members = [(each.lines, each.end) for each in read_members(path, cut=cuts.append)]
    return members, cuts


def test_members_have_their_lines_and_ends(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(FIRST + SECOND)
    members, cuts = read(file)
    assert members == [([b"a", b"b"], len(FIRST)), ([b"c", b"d"], len(FIRST + SECOND))]
    assert cuts == []


@pytest.mark.parametrize("kept", range(1, len(SECOND)))
def test_unfinished_member_is_left_out_at_every_length(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(FIRST + SECOND[:kept])
    members, [cut] = read(file)
    assert members == [([b"a", b"b"], len(FIRST))]
    assert (cut.offset, cut.damaged) == (len(FIRST), False)


@pytest.mark.parametrize(
    ("rest", "damaged"),
    [
        (b"\0" * 4096, False),  # as after a loss of power
        (b"no gzip at all", True),
        (SECOND[:-8] + b"\1\2\3\4" + SECOND[-4:] + FIRST, True),  # its checksum is another
        # It seems to go on to the end of the file: a block of 65,535 bytes.
        (HEADER + b"\3\0\xff\xff\0\0" + FIRST, True),
        (HEADER + b"\3\0\xff\xff\0\0" + b"text", False),
    ],
    ids=[
        "zeros",
        "no gzip",
        "other checksum",
        "long block, then a member",
        "long block, then text",
    ],
)
def test_damage_differs_from_an_unfinished_end(tmp_path: Path, rest: bytes, damaged: bool) -> None:
    file = tmp_path / "file"
    file.write_bytes(FIRST + rest)
    members, [cut] = read(file)
    assert members == [([b"a", b"b"], len(FIRST))]
    assert (cut.offset, cut.damaged) == (len(FIRST), damaged)


def test_empty_file_has_no_member_and_no_damage(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert read(file) == ([], [])


def test_line_without_an_end_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(gzip.compress(b"a" * (1 << 25)))
    members, [cut] = read(file)
    assert members == []
    assert cut.damaged


def test_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="none cannot be read: no such file"):
        read(tmp_path / "none")


def test_archive_ignores_files_not_named_by_a_day(tmp_path: Path) -> None:
    for name in (
        "2026-05-24.ndjson.gz",
        "2026-05-23.ndjson.gz",
        "2026-02-30.ndjson.gz",
        "2026-05-23.ndjson.gz.damaged-7",
        "frames.ndjson.gz",
        ".lock",
    ):
        (tmp_path / name).touch()
    assert [day for day, _ in day_files(tmp_path)] == ["2026-05-23", "2026-05-24"]
