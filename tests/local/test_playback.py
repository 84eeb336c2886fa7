"""Playing recordings into a real store: versions, order, and what cannot be played."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ime_live.archive.line import event, opening
from ime_live.archive.writer import ArchiveWriter
from ime_live.contracts import Contract, Market
from ime_live.errors import FeedError, SettingsError
from ime_live.local.playback import open_recording
from ime_live.local.played_clock import PlayedClock
from ime_live.market import version_of
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of
from tests.archive.states import DAY, timestamp
from tests.support.boards import frames_of_all_boards
from tests.support.payloads import payload

Database = Any  # a client of redis-py, whose commands are loosely typed

A = Contract(contract_id="1", contract_name="A", market=Market.FUTURES)


def message(contract_id: str, number: int, day: str = DAY) -> bytes:
    """A state whose last price is a number."""
    return (
        f'{{"channel":"IME Stream","ContractId":"{contract_id}",'
        f'"timestamp":"{timestamp(number, day)}","data":{payload(number).to_json().decode()}}}'
    ).encode()


def version(number: int, day: str = DAY) -> int:
    return version_of(timestamp(number, day), zone_of(TEHRAN))


def record(folder: Path, *states: tuple[str, int, str]) -> Path:
    with ArchiveWriter(folder) as writer:
        writer.note_contract(A)
        for contract_id, number, day in states:
            writer.take(contract_id, timestamp(number, day), message(contract_id, number, day))
    return folder


async def played(source: Path, store: Store, redis: Database) -> list[tuple[int, float]]:
    """Play a recording; the versions and last prices that its channels have carried."""
    playback = open_recording(source)
    async with redis.pubsub() as pubsub:
        await pubsub.psubscribe("ime:live:*")
        await pubsub.get_message(timeout=5)
        await playback.open(store)
        await playback.play(store, PlayedClock(playback.begin, 0))
        await redis.publish("ime:live:end", "")
        found: list[tuple[int, float]] = []
        while True:
            each = await pubsub.get_message(ignore_subscribe_messages=True, timeout=5)
            if each is not None and not each["data"]:
                return found
            if each is not None:
                update = json.loads(each["data"])
                found.append((update["version"], update["data"]["Aggregate"]["last_price"]))


async def test_states_have_their_versions_and_order(
    tmp_path: Path, store: Store, redis: Database
) -> None:
    given = [("1", 3, DAY), ("2", 1, DAY), ("1", 4, DAY), ("1", 2, "2026-05-24")]
    record(tmp_path, *given)
    found = await played(tmp_path, store, redis)
    assert found == [(version(n, day), n) for _, n, day in given]
    assert await store.versions(["1", "2"]) == {"1": version(2, "2026-05-24"), "2": version(1)}
    assert await store.contracts() == [A]


async def test_two_plays_are_equal(tmp_path: Path, store: Store, redis: Database) -> None:
    record(tmp_path, *(("12"[n % 2], n, DAY) for n in range(1, 1200)))
    first = await played(tmp_path, store, redis)
    await redis.flushall()
    assert await played(tmp_path, store, redis) == first
    assert len(first) == 1199


async def test_one_day_begins_with_the_states_from_before(
    tmp_path: Path, store: Store, redis: Database
) -> None:
    record(tmp_path, ("1", 3, DAY), ("2", 1, DAY), ("1", 5, "2026-05-24"))
    playback = open_recording(tmp_path / "2026-05-24.ndjson.gz")
    await playback.open(store)
    assert await store.versions(["1", "2"]) == {"1": version(3), "2": version(1)}
    assert playback.begin == version(5, "2026-05-24")
    await redis.flushall()
    assert [n for _, n in await played(tmp_path / "2026-05-24.ndjson.gz", store, redis)] == [
        3, 1, 5,
    ]  # fmt: skip


async def test_contract_is_registered_at_its_line(
    tmp_path: Path, store: Store, redis: Database
) -> None:
    renamed = Contract(contract_id="1", contract_name="C", market=Market.FUTURES)
    with ArchiveWriter(tmp_path) as writer:
        writer.note_contract(A)
        writer.take("1", timestamp(1), message("1", 1))
        writer.note_contract(renamed)
        writer.take("1", timestamp(2), message("1", 2))
    playback = open_recording(tmp_path)
    assert playback.contracts == (A,)
    await played(tmp_path, store, redis)
    [found] = await store.contracts()
    assert found.names == ("C", "A")


async def test_unreadable_lines_are_left_out(tmp_path: Path, store: Store, redis: Database) -> None:
    record(tmp_path, ("1", 1, DAY))
    bad = [
        b"no JSON",
        b'{"channel":"IME Status"}',
        message("1", 2).replace(b"last_price", b"price"),
        message("1", 3).replace(DAY.encode(), b"someday"),
        opening(b'{"channel":"IME Stream"}'),
        event("of a later version", more=1),
        message("1", 1),  # again
        message("1", 4),
    ]
    with (tmp_path / f"{DAY}.ndjson.gz").open("ab") as file:
        file.write(gzip.compress(b"\n".join(bad)))
    assert [n for _, n in await played(tmp_path, store, redis)] == [1, 4]


async def test_file_that_is_still_written_is_played_to_its_last_whole_member(
    tmp_path: Path, store: Store, redis: Database
) -> None:
    record(tmp_path, ("1", 1, DAY))
    with (tmp_path / f"{DAY}.ndjson.gz").open("ab") as file:
        file.write(gzip.compress(message("1", 2))[:-5])
    assert [n for _, n in await played(tmp_path, store, redis)] == [1]


async def test_damage_in_a_file_ends_the_play_with_its_place(
    tmp_path: Path, store: Store, redis: Database
) -> None:
    record(tmp_path, ("1", 1, DAY))
    file = tmp_path / f"{DAY}.ndjson.gz"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + b"damage")
    with pytest.raises(FeedError, match=f"is damaged after byte {size}"):
        await played(tmp_path, store, redis)


async def test_file_without_compression_is_played(
    tmp_path: Path, store: Store, redis: Database
) -> None:
    record(tmp_path / "day", ("1", 1, DAY), ("1", 2, DAY))
    plain = tmp_path / "day.ndjson"
    plain.write_bytes(gzip.decompress((tmp_path / "day" / f"{DAY}.ndjson.gz").read_bytes()))
    assert [n for _, n in await played(plain, store, redis)] == [1, 2]


async def test_frames_have_the_times_at_which_they_came(
    tmp_path: Path, store: Store, redis: Database
) -> None:
    times = [version(0) + n * 1_000_000 for n in range(3)]
    recorded = tmp_path / "frames.ndjson"
    with recorded.open("wb") as file:
        for moment, frame in zip(times, frames_of_all_boards(3), strict=True):
            file.write(b'{"received":%d,"frame":%b}\n' % (moment, frame))
    playback = open_recording(recorded)
    assert playback.begin == times[0]
    assert len(playback.contracts) == 5
    found = await played(tmp_path, store, redis)
    assert sorted({v for v, _ in found}) == times
    assert (await store.versions(["1"])).keys() == set()


def test_frames_without_a_time_are_refused(tmp_path: Path) -> None:
    (tmp_path / "frames.ndjson").write_bytes(b'{"C":"","M":[]}\n')
    with pytest.raises(SettingsError, match="no contract in"):
        open_recording(tmp_path)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, r"must have recordings \(\*.ndjson.gz or \*.ndjson\), got none"),
        ({"notes.txt": b"x"}, "got none"),
        ({"a.ndjson": b""}, "got empty files"),
        ({"a.ndjson": b"hello\n"}, "must be a file that `ime-live record` or"),
        ({"a.ndjson": b'{"price":1}\n'}, "must be a file that `ime-live record` or"),
        ({"a.ndjson": b"[1]\n"}, "must be a file that `ime-live record` or"),
        ({"a.ndjson.gz": b"not gzip"}, "a.ndjson.gz cannot be read"),
        ({"a.ndjson": message("1", 1) + b"\n"}, "no contract before the first state"),
        ({"a.ndjson": event("header", format=1) + b"\n"}, "no state in"),
        ({"a.ndjson": event("header", format=2) + b"\n"}, "must have format 1, got 2; update"),
        (
            {"a.ndjson": message("1", 1), "b.ndjson": event("header", format=9)},
            "b.ndjson must have format 1, got 9",
        ),
        ({"a.ndjson": message("1", 1), "b.ndjson": b'{"C":"","M":[]}'}, "recordings of one kind"),
    ],
)
def test_folder_that_cannot_be_played_is_refused(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        open_recording(tmp_path)


def test_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="none': no such file or directory"):
        open_recording(tmp_path / "none")


def test_recording_from_the_future_is_refused(tmp_path: Path) -> None:
    record(tmp_path, ("1", 1, "2999-01-01"))
    with pytest.raises(SettingsError, match="begins in the future, at 2999-01-01"):
        open_recording(tmp_path)
