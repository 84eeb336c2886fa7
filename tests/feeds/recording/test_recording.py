"""Recordings: real files, written and read again; rotation, crashes, and what cannot be written."""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.errors import FeedError
from ime_live.feeds.recording.recording import Recorded, Recorder, read_recording
from tests.support.clock import FakeClock
from tests.support.paths import CAPTURE

TEHRAN = ZoneInfo("Asia/Tehran")
NAMES = pytest.mark.parametrize("name", ["frames.ndjson", "frames.ndjson.gz"])
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=TEHRAN).timestamp()


class MovedClock(FakeClock):
    def __init__(self, now: float = NOON) -> None:
        super().__init__(now)

    def set(self, text: str) -> None:
        """Set the clock to a time in Tehran."""
        self.now = datetime.fromisoformat(text).replace(tzinfo=TEHRAN).timestamp()


def recorder(
    path: Path, clock: MovedClock | None = None, *, size: int = 10**9, keep: int = 0
) -> Recorder:
    return Recorder(path, TEHRAN, size=size, keep=keep, clock=clock or MovedClock())


def frames_of(path: Path) -> list[bytes]:
    return [each.frame for each in read_recording(path, cut_off=_not_cut_off)]


def _not_cut_off(lines: int) -> None:
    pytest.fail(f"cut off after {lines} lines")


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def content(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


@NAMES
def test_recorded_line_has_the_unchanged_frame_and_its_time(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    clock = MovedClock(1_795_509_900.25)
    with recorder(file, clock) as recording:
        recording.write(b'{"C":"d-1",  "M":[1.50]}')
        clock.now += 0.94
        recording.write('{"M":\r\n["سكه"]}'.encode())
    assert content(file).decode() == (
        '{"received":1795509900250000,"frame":{"C":"d-1",  "M":[1.50]}}\n'
        '{"received":1795509901190000,"frame":{"M":  ["سكه"]}}\n'
    )
    assert list(read_recording(file, cut_off=_not_cut_off)) == [
        Recorded(1, b'{"C":"d-1",  "M":[1.50]}', 1_795_509_900_250_000),
        Recorded(2, '{"M":  ["سكه"]}'.encode(), 1_795_509_901_190_000),
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


_FRAME = st.tuples(
    st.dictionaries(st.text() | st.sampled_from(["M", "received", "frame"]), _JSON, max_size=4),
    st.sampled_from([None, 1, "\t"]),  # how it is indented
    st.booleans(),  # whether it is all ASCII
    st.integers(0, 10**6),  # milliseconds after the one before
)


@given(frames=st.lists(_FRAME, max_size=5), name=st.sampled_from(["f", "f.ndjson", "f.ndjson.gz"]))
def test_any_recorded_frames_are_read_unchanged(frames: list[Any], name: str) -> None:
    clock = MovedClock()
    expected = []
    with TemporaryDirectory() as folder:
        file = Path(folder) / name
        with recorder(file, clock) as recording:
            for number, (value, indent, ascii_only, gap) in enumerate(frames, 1):
                clock.now += gap / 1000
                text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
                frame = text.encode("utf-8", "surrogatepass")
                recording.write(frame)
                one_line = frame.replace(b"\n", b" ")
                expected.append(Recorded(number, one_line, round(clock.now * 1e6)))
        assert file.exists() == bool(frames)
        if frames:
            assert list(read_recording(file, cut_off=_not_cut_off)) == expected


@pytest.mark.skipif(not CAPTURE.is_dir(), reason=f"no recorded frames at {CAPTURE}")
def test_captured_frames_are_read_unchanged(tmp_path: Path) -> None:
    bare = [each for file in sorted(CAPTURE.glob("*.ndjson")) for each in read_recording(file)]
    assert len(bare) == 14
    assert {each.received for each in bare} == {None}
    lines = b"".join(file.read_bytes() for file in sorted(CAPTURE.glob("*.ndjson"))).splitlines()
    assert [each.frame for each in bare] == lines
    file = tmp_path / "again.ndjson.gz"
    with recorder(file) as recording:
        for line in lines:
            recording.write(line)
    assert frames_of(file) == lines
    assert file.stat().st_size < sum(map(len, lines)) / 5


@NAMES
def test_recording_can_be_read_while_it_is_written(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    ends: list[int] = []
    with recorder(file) as recording:
        for number in range(1, 4):
            recording.write(b'{"M":[%d]}' % number)
            assert len(list(read_recording(file, cut_off=ends.append))) == number
    # A compressed file has no end yet; a plain one never has another.
    assert ends == ([1, 2, 3] if name.endswith(".gz") else [])


@NAMES
def test_killed_recorder_leaves_all_it_had_written(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    program = f"""
import os, signal
from pathlib import Path
from zoneinfo import ZoneInfo
from ime_live.feeds.recording.recording import Recorder
recorder = Recorder(Path({str(file)!r}), ZoneInfo('Asia/Tehran'), size=10**9)
for number in range(100):
    recorder.write(b'{{"M":[%d]}}' % number)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False, timeout=30)  # noqa: S603
    assert killed.returncode == -signal.SIGKILL
    ends: list[int] = []
    expected = [b'{"M":[%d]}' % number for number in range(100)]
    assert [each.frame for each in read_recording(file, cut_off=ends.append)] == expected
    assert ends == ([100] if name.endswith(".gz") else [])
    # The next one neither appends to it nor loses it.
    with recorder(file) as recording:
        recording.write(b'{"M":["next"]}')
    assert frames_of(file) == [b'{"M":["next"]}']
    [old] = [each for each in tmp_path.iterdir() if each != file]
    assert [each.frame for each in read_recording(old)] == expected


@NAMES
def test_file_that_was_cut_anywhere_gives_its_whole_lines(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    frames = [b'{"M":[{"A":[%d]}]}' % number for number in range(3)]
    ends_of_lines = []
    with recorder(file) as recording:
        for frame in frames:
            recording.write(frame)
            ends_of_lines.append(file.stat().st_size)
    whole = file.read_bytes()
    cut = tmp_path / f"cut-{name}"
    for size in {*range(len(whole))} - {1}:  # with one byte of it, it is no gzip yet
        cut.write_bytes(whole[:size])
        ends: list[int] = []
        read = [each.frame for each in read_recording(cut, cut_off=ends.append)]
        assert read == frames[: len(read)]
        assert len(read) >= sum(end <= size for end in ends_of_lines)
        assert ends in ([], [len(read)])
        if not ends:  # which cannot be detected
            assert size == 0 or not name.endswith(".gz")
            assert size in {0, *ends_of_lines, *(end - 1 for end in ends_of_lines)}


def test_bare_frames_are_read_and_other_lines_reported(tmp_path: Path) -> None:
    file = tmp_path / "day.ndjson"
    file.write_bytes(
        b'{"M":[]}\r\n\n<html>\n{"received": 5, "frame": {"M": [1]}}\n{"received":6}\n'
        b'{"received":7,"frame":{"M":[NaN]}}\n{"received":true,"frame":{}}\n {} '
    )
    assert list(read_recording(file, cut_off=_not_cut_off)) == [
        Recorded(1, b'{"M":[]}'),
        Recorded(3, b"<html>"),
        Recorded(4, b'{"M": [1]}', 5),
        Recorded(5, b'{"received":6}'),
        Recorded(6, b'{"M":[NaN]}', 7),
        Recorded(7, b'{"received":true,"frame":{}}'),
        Recorded(8, b"{}"),
    ]


def test_unreadable_recording_is_an_error(tmp_path: Path) -> None:
    plain = tmp_path / "plain.ndjson.gz"
    plain.write_bytes(b"{}\n")
    frames = b"".join(b'{"M":[%d]}\n' % number for number in range(1000))
    wrong = bytearray(gzip.compress(frames))
    wrong[-8] ^= 1  # its checksum
    corrupt = tmp_path / "corrupt.ndjson.gz"
    corrupt.write_bytes(wrong)
    for file in (plain, corrupt, tmp_path, tmp_path / "missing", Path("a\0b")):
        with pytest.raises(FeedError, match="cannot be read") as caught:
            list(read_recording(file, cut_off=_not_cut_off))
        assert str(file) in str(caught.value)


def test_empty_file_has_no_frames(tmp_path: Path) -> None:
    for name in ("empty", "empty.gz"):
        (tmp_path / name).touch()
        assert frames_of(tmp_path / name) == []


@NAMES
def test_recording_rotates_at_midnight_in_tehran(tmp_path: Path, name: str) -> None:
    file, suffix = tmp_path / name, name.removeprefix("frames")
    clock = MovedClock()
    clock.set("2026-11-24T10:15:00")
    with recorder(file, clock) as recording:
        clock.set("2026-11-24T10:15:01.5")
        recording.write(b'{"M":[1]}')
        clock.set("2026-11-24T23:59:59.999")  # 20:29:59 UTC
        recording.write(b'{"M":[2]}')
        assert names_in(tmp_path) == [name]
        clock.set("2026-11-25T00:00:00")
        recording.write(b'{"M":[3]}')
        clock.set("2026-11-25T03:30:00")  # midnight of UTC is none of ours
        recording.write(b'{"M":[4]}')
        finished = f"frames-20261124T101501{suffix}"
        assert names_in(tmp_path) == [finished, name]
        assert frames_of(tmp_path / finished) == [b'{"M":[1]}', b'{"M":[2]}']
        clock.set("2026-11-27T09:00:00")  # a day off
        recording.write(b'{"M":[5]}')
    assert names_in(tmp_path) == [finished, f"frames-20261125T000000{suffix}", name]
    assert frames_of(tmp_path / f"frames-20261125T000000{suffix}") == [b'{"M":[3]}', b'{"M":[4]}']
    assert frames_of(file) == [b'{"M":[5]}']


def test_recording_rotates_when_a_file_is_full(tmp_path: Path) -> None:
    file = tmp_path / "frames.ndjson"
    clock = MovedClock()
    with recorder(file, clock, size=27) as recording:
        for number in range(7):  # of 9 bytes: three a file
            recording.write(b'{"M":[%d]}' % number)
            clock.now += 1
    assert names_in(tmp_path) == [
        "frames-20261124T120000.ndjson",
        "frames-20261124T120003.ndjson",
        "frames.ndjson",
    ]
    assert frames_of(tmp_path / "frames-20261124T120003.ndjson") == [
        b'{"M":[3]}',
        b'{"M":[4]}',
        b'{"M":[5]}',
    ]
    assert frames_of(file) == [b'{"M":[6]}']


def test_files_that_began_in_the_same_second_have_numbers(tmp_path: Path) -> None:
    file = tmp_path / "frames.ndjson"
    with recorder(file, size=1) as recording:
        for number in range(1, 13):
            recording.write(b'{"M":[%d]}' % number)
    timestamp = "frames-20261124T120000"
    assert frames_of(tmp_path / f"{timestamp}.ndjson") == [b'{"M":[1]}']
    for number in range(2, 12):
        assert frames_of(tmp_path / f"{timestamp}-{number}.ndjson") == [b'{"M":[%d]}' % number]
    assert frames_of(file) == [b'{"M":[12]}']


def test_only_the_newest_files_of_this_recording_are_kept(tmp_path: Path) -> None:
    others = [
        "frames-20200101T000000.txt",
        "frames-20200101T000000.ndjson.gz",
        "frames-20200101.ndjson",
        "frames-20200101T000000-x.ndjson",
        "frames-20200101T000000-0.ndjson",
        "frames-2-20200101T000000.ndjson",
        "my-frames-20200101T000000.ndjson",
        "frames.old.ndjson",
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"{}\n")
    (tmp_path / "frames-20200101T000001.ndjson").mkdir()
    old = tmp_path / "frames-20200101T000000.ndjson"  # from before
    old.write_bytes(b"{}\n")
    before = set(names_in(tmp_path)) - {old.name}
    with recorder(tmp_path / "frames.ndjson", size=1, keep=3) as recording:
        for number in range(1, 4):
            recording.write(b'{"M":[%d]}' % number)
        assert old.exists()  # it and two
        for number in range(4, 14):
            recording.write(b'{"M":[%d]}' % number)
    timestamp = "frames-20261124T120000"
    kept = {f"{timestamp}-{number}.ndjson" for number in (10, 11, 12)}
    assert set(names_in(tmp_path)) - before == {"frames.ndjson", *kept}
    assert frames_of(tmp_path / f"{timestamp}-10.ndjson") == [b'{"M":[10]}']


def test_names_are_no_patterns(tmp_path: Path) -> None:
    (tmp_path / "f1-20200101T000000.ndjson").write_bytes(b"{}\n")
    with recorder(tmp_path / "f[1].ndjson", size=1, keep=1) as recording:
        for number in range(4):
            recording.write(b'{"M":[%d]}' % number)
    assert names_in(tmp_path) == [
        "f1-20200101T000000.ndjson",
        "f[1]-20261124T120000-3.ndjson",
        "f[1].ndjson",
    ]


def test_existing_recording_is_renamed_by_the_time_of_its_first_frame(tmp_path: Path) -> None:
    file = tmp_path / "frames.ndjson"
    clock = MovedClock()
    clock.set("2026-11-20T11:45:00")
    with recorder(file, clock) as recording:
        recording.write(b'{"M":[1]}')
    with recorder(file):
        assert names_in(tmp_path) == ["frames-20261120T114500.ndjson", "frames.ndjson"]
    # Other files have only the time of their last write.
    file.write_bytes(b"something else\n")
    os.utime(file, (NOON, NOON))
    with recorder(file):
        pass
    moved = tmp_path / "frames-20261124T120000.ndjson"
    assert moved.read_bytes() == b"something else\n"


@NAMES
def test_recording_without_a_frame_leaves_no_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    with recorder(file):
        assert file.exists()
        left = file.read_bytes()
    assert names_in(tmp_path) == []
    for remains in {b"", left, left[:5]}:
        file.write_bytes(remains)  # as of one that was killed
        with recorder(file, keep=1) as recording:
            assert names_in(tmp_path) == [name]
            recording.write(b"{}")
        assert frames_of(file) == [b"{}"]
        file.unlink()


def test_file_that_somebody_moved_is_not_missed(tmp_path: Path) -> None:
    file, theirs = tmp_path / "frames.ndjson", tmp_path / "theirs"
    with recorder(file, size=1) as recording:
        recording.write(b'{"M":[1]}')
        file.rename(theirs)
        recording.write(b'{"M":[2]}')
        assert names_in(tmp_path) == ["frames.ndjson", "theirs"]
        file.unlink()
    assert frames_of(theirs) == [b'{"M":[1]}']
    assert names_in(tmp_path) == ["theirs"]
    with recorder(file):
        file.unlink()
        theirs.rename(file)
    assert frames_of(file) == [b'{"M":[1]}']


def test_two_recorders_do_not_share_a_file(tmp_path: Path) -> None:
    file = tmp_path / "frames.ndjson.gz"
    with recorder(file) as recording:
        recording.write(b'{"M":[1]}')
        with pytest.raises(FeedError, match=rf"{file} is being written by another process"):
            recorder(file)
        recording.write(b'{"M":[2]}')
    assert frames_of(file) == [b'{"M":[1]}', b'{"M":[2]}']
    with recorder(file):
        pass


def test_folder_or_pipe_in_place_of_a_recording_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "frames.ndjson"
    folder.mkdir()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (folder, pipe, Path("/dev/null")):
        with pytest.raises(FeedError, match=rf"{path} cannot be written: it is not a file"):
            recorder(path)
        assert path.exists()
    assert names_in(tmp_path) == ["frames.ndjson", "pipe"]


def test_unwritable_recording_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path / "missing" / "frames", "no such file or directory"),
        (tmp_path / "file" / "frames", "not a directory"),
        (Path("/proc/frames"), "no such file or directory"),
        (Path("a\0b"), "null"),
    ):
        with pytest.raises(FeedError, match=f"cannot be written: .*{reason}") as caught:
            recorder(path)
        assert str(path) in str(caught.value)


@contextmanager
def _room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond this, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@NAMES
def test_full_disk_is_an_error_and_keeps_written_frames(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    written = []

    def write() -> None:
        with recorder(file) as recording:
            for number in range(1000):
                frame = b'{"M":["%b"]}' % os.urandom(50).hex().encode()
                recording.write(frame)
                written.append(frame)
                assert number < 999, "all of it was written"

    with _room_for(20_000), pytest.raises(FeedError, match=f"{file} cannot be written: file too"):
        write()
    assert len(written) > 50
    read = [each.frame for each in read_recording(file)]
    assert read[: len(written)] == written


@NAMES
def test_recording_continues_when_the_disk_has_room_again(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    written = []
    failed = 0
    with recorder(file) as recording:
        with _room_for(4_000):
            for _ in range(100):
                frame = b'{"M":["%b"]}' % os.urandom(50).hex().encode()
                try:
                    recording.write(frame)
                except FeedError:
                    failed += 1
                    if failed == 3:
                        break
                else:
                    written.append(frame)
        with _room_for(10):
            for _ in range(5):
                with pytest.raises(FeedError, match="cannot be written: file too large"):
                    recording.write(b'{"M":["lost"]}')
        assert len(names_in(tmp_path)) <= 3  # and not one a frame
        for number in range(3):
            frame = b'{"M":[%d]}' % number
            recording.write(frame)
            written.append(frame)
    read: list[bytes] = []
    for each in names_in(tmp_path):
        read += [line.frame for line in read_recording(tmp_path / each)]
    assert sorted(read) == sorted(written)
    assert frames_of(file)[-3:] == written[-3:]


@NAMES
def test_recording_continues_when_its_folder_exists_again(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    with recorder(folder / name) as recording:
        recording.write(b'{"M":[1]}')
        shutil.rmtree(folder)
        for _ in range(2):
            with pytest.raises(FeedError, match="cannot be written: no such file or directory"):
                recording.write(b'{"M":[2]}')
        folder.mkdir()
        recording.write(b'{"M":[3]}')
    assert frames_of(folder / name) == [b'{"M":[3]}']


def test_file_that_was_removed_is_begun_again(tmp_path: Path) -> None:
    file = tmp_path / "frames.ndjson"
    with recorder(file) as recording:
        recording.write(b'{"M":[1]}')
        file.unlink()
        recording.write(b'{"M":[2]}')
    assert frames_of(file) == [b'{"M":[2]}']


def test_rotation_that_fails_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    with recorder(folder / "f", size=1) as recording:
        recording.write(b'{"M":[1]}')
        folder.rename(tmp_path / "moved")
        with pytest.raises(FeedError, match="no such file or directory"):
            recording.write(b'{"M":[2]}')
        (tmp_path / "moved").rename(folder)
        recording.write(b'{"M":[3]}')
    assert frames_of(folder / "f") == [b'{"M":[3]}']
    assert len(names_in(folder)) == 2


def test_ended_recording_takes_no_more(tmp_path: Path) -> None:
    recording = recorder(tmp_path / "frames.ndjson")
    recording.write(b"{}")
    recording.close()
    recording.close()
    with pytest.raises(FeedError, match=r"frames\.ndjson has ended"):
        recording.write(b"{}")
