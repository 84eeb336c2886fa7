"""The archive's writer: what is in its files after each kind of end."""

from __future__ import annotations

import gzip
import resource
from pathlib import Path

import pytest

from ime_live.archive.writer import ArchiveWriter
from ime_live.contracts import Contract
from ime_live.errors import FeedError
from tests.archive.states import DAY, events, lines, numbers, state, timestamp

NEXT = "2026-05-24"
A = Contract(contract_id="1", contract_name="A")
B = Contract(contract_id="2", contract_name="B")


def take(writer: ArchiveWriter, contract_id: str, number: int, day: str = DAY) -> bool:
    return writer.take(contract_id, timestamp(number, day), state(contract_id, number, day))


def file_of(folder: Path, day: str = DAY) -> Path:
    return folder / f"{day}.ndjson.gz"


def test_state_is_written_unchanged_after_header_and_contracts(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "new" / "folder") as writer:
        writer.note_contract(A)
        take(writer, "1", 1)
        take(writer, "1", 2)
    file = file_of(tmp_path / "new" / "folder")
    assert events(file) == ["header", "contract"]
    assert lines(file)[0] == {
        "channel": "IME Recording", "event": "header", "format": 1, "day": DAY,
    }  # fmt: skip
    assert numbers(file) == [("1", 1), ("1", 2)]


def test_state_is_filed_under_the_day_of_its_timestamp(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        writer.note_contract(A)
        writer.note_contract(B)
        take(writer, "1", 1)
        take(writer, "2", 1)
        take(writer, "1", 2, NEXT)
        take(writer, "2", 3)  # late: the other contract has gone over midnight
        writer.flush()
    assert numbers(file_of(tmp_path)) == [("1", 1), ("2", 1), ("2", 3)]
    assert numbers(file_of(tmp_path, NEXT)) == [("1", 2)]
    # The second file can be read alone: it has the states that the day began with.
    opened = [line["state"] for line in lines(file_of(tmp_path, NEXT)) if "state" in line]
    assert [(each["ContractId"], each["data"]["n"]) for each in opened] == [
        ("1", 1), ("2", 1), ("2", 3),
    ]  # fmt: skip


def test_resume_writes_no_state_twice(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        take(writer, "1", 1)
        take(writer, "2", 1)
        take(writer, "1", 5, NEXT)
    with ArchiveWriter(tmp_path) as writer:
        assert writer.last == {"1": timestamp(5, NEXT), "2": timestamp(1)}
        assert writer.last_time == timestamp(5, NEXT)
        assert not take(writer, "1", 5, NEXT)
        assert not take(writer, "1", 1)
        assert not take(writer, "2", 1)
        assert take(writer, "2", 2)
        assert take(writer, "1", 6, NEXT)
        assert writer.states == 2
    assert numbers(file_of(tmp_path)) == [("1", 1), ("2", 1), ("2", 2)]
    assert numbers(file_of(tmp_path, NEXT)) == [("1", 5), ("1", 6)]
    with ArchiveWriter(tmp_path) as writer:
        assert writer.last == {"1": timestamp(6, NEXT), "2": timestamp(2)}


def test_timestamp_that_goes_back_is_not_written(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        take(writer, "1", 5, NEXT)
        assert not take(writer, "1", 4, NEXT)
        assert not take(writer, "1", 9)
    assert not file_of(tmp_path).exists()


def test_every_cut_of_the_last_member_is_repaired(tmp_path: Path) -> None:
    """A recorder that is killed in the middle of a write leaves such a file."""
    with ArchiveWriter(tmp_path) as writer:
        writer.note_contract(A)
        take(writer, "1", 1)
        writer.flush()
        whole = file_of(tmp_path).stat().st_size
        take(writer, "1", 2)
    content = file_of(tmp_path).read_bytes()
    for length in range(len(content)):
        file_of(tmp_path).write_bytes(content[:length])
        reports: list[str] = []
        with ArchiveWriter(tmp_path, report=reports.append) as writer:
            assert writer.last == ({"1": timestamp(1)} if length >= whole else {})
            writer.note_contract(A)
            assert take(writer, "1", 2)
        known = [("1", 1), ("1", 2)] if length >= whole else [("1", 2)]
        assert numbers(file_of(tmp_path)) == known
        assert events(file_of(tmp_path)) == ["header", "contract"]
        assert len(reports) == (length not in {0, whole})


def test_unfinished_first_member_of_a_day_resumes_from_the_day_before(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        take(writer, "1", 1)
        take(writer, "1", 2, NEXT)
    file = file_of(tmp_path, NEXT)
    file.write_bytes(file.read_bytes()[:-1])
    with ArchiveWriter(tmp_path) as writer:
        assert writer.last == {"1": timestamp(1)}
        assert take(writer, "1", 2, NEXT)
    assert numbers(file) == [("1", 2)]
    assert events(file) == ["header", "opening"]


def test_damaged_part_is_kept_beside_the_file(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        take(writer, "1", 1)
        writer.flush()
        whole = file_of(tmp_path).stat().st_size
        take(writer, "1", 2)
    content = file_of(tmp_path).read_bytes()
    damaged = content[: whole + 15] + b"damage" + content[whole + 21 :]
    file_of(tmp_path).write_bytes(damaged)
    reports: list[str] = []
    with ArchiveWriter(tmp_path, report=reports.append) as writer:
        take(writer, "1", 3)
    assert numbers(file_of(tmp_path)) == [("1", 1), ("1", 3)]
    beside = tmp_path / f"{DAY}.ndjson.gz.damaged-{whole}"
    assert beside.read_bytes() == damaged[whole:]
    assert beside.name in reports[0]


def test_foreign_line_is_reported(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        take(writer, "1", 1)
    with file_of(tmp_path).open("ab") as file:
        file.write(gzip.compress(b"mine\n"))
    reports: list[str] = []
    with ArchiveWriter(tmp_path, report=reports.append) as writer:
        assert writer.last == {"1": timestamp(1)}
    assert "not a line of an archive" in reports[0]


def test_newer_format_is_refused(tmp_path: Path) -> None:
    header = b'{"channel":"IME Recording","event":"header","format":2,"day":"2026-05-23"}\n'
    file_of(tmp_path).write_bytes(gzip.compress(header))
    with pytest.raises(FeedError, match="must have format 1, got 2; update ime-live"):
        ArchiveWriter(tmp_path)


def test_second_recorder_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with (
        ArchiveWriter(tmp_path),
        pytest.raises(FeedError, match="is being written by another process"),
    ):
        ArchiveWriter(tmp_path)
    ArchiveWriter(tmp_path).close()


def test_file_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        for number in range(3):
            take(writer, "1", number)
            writer.flush()
            assert len(numbers(file_of(tmp_path))) == number + 1


def test_changed_static_data_are_written_once(tmp_path: Path) -> None:
    renamed = Contract(contract_id="1", contract_name="C", aliases=("A",))
    with ArchiveWriter(tmp_path) as writer:
        assert writer.note_contract(A)
        assert not writer.note_contract(A)
        take(writer, "1", 1)
        assert writer.note_contract(renamed)
    with ArchiveWriter(tmp_path) as writer:
        assert not writer.note_contract(renamed)
    found = [line["contract"] for line in lines(file_of(tmp_path)) if "contract" in line]
    assert [each["contractName"] for each in found] == ["A", "C"]


def test_gap_follows_the_last_line(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        writer.note("gap", timestamp(0))  # nothing is before it
        take(writer, "1", 1)
        writer.note("end", timestamp(9))
    with ArchiveWriter(tmp_path) as writer:
        assert writer.last_time == timestamp(9)
        writer.note("gap", timestamp(20), **{"from": timestamp(9), "reason": "away"})
    assert lines(file_of(tmp_path))[-1] == {
        "channel": "IME Recording", "event": "gap", "timestamp": timestamp(20),
        "from": timestamp(9), "reason": "away",
    }  # fmt: skip


def test_removed_file_is_created_again(tmp_path: Path) -> None:
    reports: list[str] = []
    with ArchiveWriter(tmp_path, report=reports.append) as writer:
        writer.note_contract(A)
        take(writer, "1", 1)
        writer.flush()
        file_of(tmp_path).rename(tmp_path / "moved")
        take(writer, "1", 2)
    assert events(file_of(tmp_path)) == ["header", "contract"]
    assert numbers(file_of(tmp_path)) == [("1", 2)]
    assert numbers(tmp_path / "moved") == [("1", 1)]
    assert "has been removed" in reports[0]


@pytest.mark.parametrize(
    "timestamp",
    ["", "2026-05-23", "2026-02-30T10:00:00.000001", "../../etc/x", "20260523T100000.0000001234"],
)
def test_malformed_timestamp_is_refused(tmp_path: Path, timestamp: str) -> None:
    with (
        ArchiveWriter(tmp_path) as writer,
        pytest.raises(FeedError, match="a recorded timestamp must have"),
    ):
        writer.take("1", timestamp, b"{}")
    assert [each.name for each in tmp_path.iterdir()] == [".lock"]


def test_full_disk_leaves_whole_members(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path)
    take(writer, "1", 1)
    writer.flush()
    take(writer, "1", 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Some bytes of the second member fit on the disk.
    limit = file_of(tmp_path).stat().st_size + 10
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(FeedError, match="cannot be written: file too large"):
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    # There would be room again, but lines are missing.
    writer.note("end", timestamp(3))
    writer.close()
    assert numbers(file_of(tmp_path)) == [("1", 1)]
    assert events(file_of(tmp_path)) == ["header"]
    with ArchiveWriter(tmp_path) as writer:
        assert take(writer, "1", 2)


@pytest.mark.parametrize("kind", ["file", "null character"])
def test_folder_that_cannot_be_one_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" if kind == "file" else Path("a\0b")
    with pytest.raises(FeedError, match="cannot be written"):
        ArchiveWriter(folder)
