"""Replay: what is registered, published and counted, how it is paced, and bad recordings."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ime_live.contracts import Contract
from ime_live.errors import FeedError, PayloadError
from ime_live.feeds.pipeline.ingest import Totals
from ime_live.feeds.recording.replay import pace, replay
from ime_live.market import Payload
from ime_live.publisher import Publisher, PublishResult
from tests.support.boards import row
from tests.support.clock import SleeplessClock
from tests.support.paths import CAPTURE
from tests.support.rows import each_row


class Store:
    """Takes what a replay passes on; says of a state what a real store would say."""

    def __init__(self, refused: Iterable[str] = ()) -> None:
        self.registered: list[Contract] = []
        self.published: list[tuple[str, Payload]] = []
        self.log: list[str] = []
        self.reports: list[str] = []
        self.clock = SleeplessClock()
        self._refused = set(refused)
        self._last: dict[str, Payload] = {}

    async def publish_many(self, payloads: Iterable[tuple[str, Payload]], /) -> list[PublishResult]:
        return [self._publish(contract_id, payload) for contract_id, payload in payloads]

    def _publish(self, contract_id: str, payload: Payload) -> PublishResult:
        self.log.append(f"publish {contract_id}")
        if contract_id in self._refused:
            return PublishResult(contract_id, error=PayloadError("no"))
        changed = self._last.get(contract_id) != payload
        self._last[contract_id] = payload
        self.published.append((contract_id, payload))
        return PublishResult(contract_id, version=1, published=changed)

    async def register(self, contracts: Sequence[Contract]) -> None:
        self.log.extend(f"register {each.contract_id}" for each in contracts)
        self.registered.extend(contracts)

    async def replay(self, *files: Path, speed: float = 1.0, **options: Any) -> Totals:  # noqa: ANN401
        return await replay(
            files,
            self,
            self.register,
            speed=speed,
            clock=self.clock,
            report=self.reports.append,
            **options,
        )


def future(contract_id: int = 901, at: str = "13:20:11.257", **changes: object) -> dict[str, Any]:
    own = {"ContractID": contract_id, "ContractCode": f"SAFMO{contract_id}"}
    return row("future", **{**own, "LastUpdate": f"2023-08-01T{at}", **changes})


def futures(*rows: dict[str, Any]) -> str:
    return json.dumps({"M": [{"M": "updateFutureMarketsInfo", "A": [rows]}]})


def receipts(*rows: dict[str, Any]) -> str:
    return json.dumps({"M": [{"M": "updateGavahiMarketsInfo", "A": [rows]}]})


def recording(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


async def _a_publisher_fits(publisher: Publisher, store: Store) -> Totals:
    """Never run: mypy checks here that a `Publisher` is what a replay needs."""
    return await replay([], publisher, store.register)


async def test_contracts_are_registered_before_their_states_and_only_changes_sent(
    tmp_path: Path,
) -> None:
    file = recording(
        tmp_path / "day.ndjson",
        futures(future(901), future(902)),
        futures(future(901), future(902, LastTradedPrice=699_300.0)),
    )
    store = Store()
    totals = await store.replay(file)
    assert store.log == [
        "register 901",
        "register 902",
        "publish 901",
        "publish 902",
        "publish 902",
    ]
    assert store.published[-1][1].aggregate.last_price == 699_300
    assert totals == Totals(frames=2, rows=4, published=3, unchanged=1)
    assert str(totals) == ("2 frames, 4 rows: 3 published, 1 unchanged, 0 refused; 0 bad lines")


async def test_contract_is_registered_again_only_when_it_changed(tmp_path: Path) -> None:
    file = recording(
        tmp_path / "renamed.ndjson",
        futures(future()),
        futures(future()),
        futures(future(ContractCode="SaffronMo")),
    )
    store = Store()
    await store.replay(file)
    assert [each.contract_name for each in store.registered] == ["SAFMO901", "SaffronMo"]


async def test_replay_of_stored_states_changes_nothing(tmp_path: Path) -> None:
    file = recording(tmp_path / "day.ndjson", futures(future()))
    store = Store()
    assert (await store.replay(file)).published == 1
    again = await store.replay(file)
    assert (again.published, again.unchanged) == (0, 1)


async def test_replay_waits_between_timestamps(tmp_path: Path) -> None:
    file = recording(
        tmp_path / "paced.ndjson",
        futures(future(at="13:20:10")),
        futures(future(at="13:20:10.94")),
        "{}",
        futures(future(at="13:20:08")),  # pushed late
        futures(future(at="13:20:12.94")),
        futures(future(at="19:00:00")),  # hours later
    )
    store = Store()
    await store.replay(file, speed=2)
    assert store.clock.waits == pytest.approx([0, 0.47, 0, 0, 1, 30])


async def test_replay_at_speed_0_does_not_wait(tmp_path: Path) -> None:
    file = recording(
        tmp_path / "fast.ndjson", futures(future(at="13:20:10")), futures(future(at="13:25:00"))
    )
    store = Store()
    await store.replay(file, speed=0)
    assert store.clock.waits == [0, 0]


at = datetime.fromisoformat


@each_row(
    ("mark", "clock", "pause", "after"),
    [
        (None, None, 0, None),
        (None, "13:00:00", 0, "13:00:00"),
        ("13:00:00", None, 0, "13:00:00"),
        ("13:00:00", "13:00:05.5", 5.5, "13:00:05.5"),
        ("13:00:05", "13:00:00", 0, "13:00:05"),
        ("13:00:00", "15:00:00", 60, "15:00:00"),
        # An earlier day, or a timestamp far in the future before it: time begins anew.
        ("19:00:00", "13:00:00", 0, "13:00:00"),
    ],
)
def test_replay_speed_divides_the_waits(
    mark: str | None, clock: str | None, pause: float, after: str | None
) -> None:
    def moment(text: str | None) -> datetime | None:
        return at(f"2022-02-06T{text}") if text else None

    assert pace(moment(mark), moment(clock)) == (pause, moment(after))


async def test_replay_loop_continues_until_cancelled(tmp_path: Path) -> None:
    file = recording(
        tmp_path / "day.ndjson",
        futures(future(at="13:20:10")),
        futures(future(at="13:20:11", LastTradedPrice=699_300.0)),
    )
    store = Store()

    class Ending(SleeplessClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if len(self.waits) == 9:
                raise asyncio.CancelledError

    store.clock = Ending()

    with pytest.raises(asyncio.CancelledError):
        await replay(
            [file], store, store.register, loop=True, clock=store.clock, report=store.reports.append
        )
    assert store.clock.waits == [0, 1, 1, 0, 1, 1, 0, 1, 1]
    # The last state of a round differs from the first of the next: each is a change again.
    assert store.log == ["register 901", *["publish 901"] * 6]
    assert (
        store.reports
        == ["replayed 2 frames, 2 rows: 2 published, 0 unchanged, 0 refused; 0 bad lines"] * 3
    )


async def test_receipts_take_the_day_of_the_frames_before_them(tmp_path: Path) -> None:
    file = recording(
        tmp_path / "day.ndjson",
        receipts(row("receipt")),
        futures(future()),
        receipts(row("receipt")),
    )
    store = Store()
    totals = await store.replay(file)
    assert store.published[-1][1].aggregate.date == "2023-08-01"
    # Before the first of them, nobody knows the day, unless the caller does.
    assert totals.refused == 1
    (report,) = store.reports
    assert report == (
        f"{file}:1: 1 refused, the first: updateGavahiMarketsInfo[0], contract "
        "98765432109876543: ModifyTime: is a time, and the frame does not have its day"
    )
    dated = Store()
    assert (await dated.replay(file, day=date(2023, 7, 31))).refused == 0
    assert dated.published[0][1].aggregate.date == "2023-07-31"


async def test_day_does_not_carry_over_to_the_next_file(tmp_path: Path) -> None:
    first = recording(tmp_path / "1.ndjson", futures(future()))
    second = recording(tmp_path / "2.ndjson", receipts(row("receipt")))
    store = Store()
    assert (await store.replay(first, second)).refused == 1


async def test_funds_are_replayed_unless_left_out(tmp_path: Path) -> None:
    file = recording(
        tmp_path / "funds.ndjson",
        receipts(row("receipt")).replace("updateGavahi", "updateSandoq"),
    )
    day = date(2023, 8, 1)
    assert (await Store().replay(file, day=day)).rows == 1
    assert (await Store().replay(file, day=day, boards={"updateGavahiMarketsInfo"})).rows == 0


async def test_bad_lines_are_reported_and_skipped(tmp_path: Path) -> None:
    file = recording(tmp_path / "bad.ndjson", futures(future()), "<html>", "", "[]", "{}")
    store = Store()
    totals = await store.replay(file)
    assert (totals.frames, totals.bad_lines) == (2, 2)
    assert store.reports[0].startswith(f"{file}:2: a frame is not JSON: ")
    assert store.reports[1] == f"{file}:4: a frame must be a JSON object, got a list of 0"


async def test_refused_rows_are_reported_once_per_frame(tmp_path: Path) -> None:
    bad = future(902, TradesCount="x"), future(903, TradesCount="y")
    store = Store()
    totals = await store.replay(recording(tmp_path / "f", futures(future(), *bad)))
    assert totals == Totals(frames=1, rows=3, published=1, refused=2)
    (report,) = store.reports
    assert report == (
        f"{tmp_path / 'f'}:1: 2 refused, the first: updateFutureMarketsInfo[1], contract 902: "
        "TradesCount: is not a number, got 'x'"
    )


async def test_state_that_the_publisher_refused_is_tried_again(tmp_path: Path) -> None:
    file = recording(tmp_path / "f", futures(future()), futures(future()))
    store = Store(refused=["901"])
    totals = await store.replay(file)
    assert totals == Totals(frames=2, rows=2, refused=2)
    assert store.log == ["register 901", "publish 901", "publish 901"]
    # Once per minute and reason.
    assert store.reports == [f"{file}:1: 1 refused, the first: contract 901: no"]


async def test_replay_reads_compressed_recordings(tmp_path: Path) -> None:
    file = tmp_path / "day.ndjson.gz"
    file.write_bytes(gzip.compress(futures(future()).encode()))
    assert (await Store().replay(file)).published == 1


async def test_missing_file_is_reported_before_anything_is_sent(tmp_path: Path) -> None:
    good = recording(tmp_path / "good.ndjson", futures(future()))
    store = Store()
    with pytest.raises(FeedError, match=r"a recording must be a file, got .*missing\.ndjson"):
        await store.replay(good, tmp_path / "missing.ndjson")
    assert store.log == []


async def test_replay_of_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    no_gzip = tmp_path / "plain.ndjson.gz"
    no_gzip.write_bytes(b"{}\n")
    with pytest.raises(FeedError, match=r"recording .*plain\.ndjson\.gz cannot be read"):
        await Store().replay(no_gzip)


async def test_replay_of_a_truncated_file_plays_its_whole_lines(tmp_path: Path) -> None:
    cut = tmp_path / "cut.ndjson.gz"
    whole = gzip.compress((futures(future()) + "\n").encode())
    with gzip.open(cut, "wb") as file:
        file.write((futures(future()) + "\n").encode())
        file.flush()
        file.write((futures(future()) + "\n").encode())
    cut.write_bytes(cut.read_bytes()[:-12])
    assert len(cut.read_bytes()) > len(whole) // 2
    store = Store()
    totals = await store.replay(cut)
    assert (totals.frames, len(store.published)) == (1, 1)
    assert any("cut off after line 1" in line for line in store.reports)


async def test_recorded_times_set_the_pace_and_the_day(tmp_path: Path) -> None:
    def line(seconds: float) -> str:
        at = round((datetime(2023, 7, 31, 8, 30, tzinfo=UTC).timestamp() + seconds) * 1e6)
        return f'{{"received":{at},"frame":{futures(future())}}}'

    file = tmp_path / "day.ndjson"
    file.write_text("\n".join([line(0), line(2.5), line(3)]))
    store = Store()
    await store.replay(file)
    assert store.clock.waits == [0.0, 2.5, 0.5]


@pytest.mark.parametrize("loop", [False, True])
async def test_replay_of_an_empty_recording_is_an_error(tmp_path: Path, loop: bool) -> None:
    with pytest.raises(FeedError, match=r"must have a frame, got none in .*empty"):
        await Store().replay(recording(tmp_path / "empty"), loop=loop)


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
async def test_malformed_replay_speed_is_refused(tmp_path: Path, speed: float) -> None:
    with pytest.raises(FeedError, match="speed"):
        await Store().replay(recording(tmp_path / "f", futures(future())), speed=speed)


@pytest.mark.skipif(not CAPTURE.is_dir(), reason=f"no recorded frames at {CAPTURE}")
async def test_replay_publishes_the_recorded_frames() -> None:
    store = Store()
    totals = await store.replay(*sorted(CAPTURE.glob("*.ndjson")), speed=0)
    assert (totals.frames, totals.bad_lines, totals.refused) == (14, 0, 0)
    # 8 + (32 + 8 + 24 + 8 + 24) + (14 + 24 + 0 + 8 + 14) + 2 × 79, and funds and salaf:
    # 12, then 12 and 3, then twice 10 and 3
    assert totals.rows == 8 + 96 + 60 + 158 + 12 + 15 + 26
    assert totals.published + totals.unchanged == totals.rows
    # 9 futures, 14 options, 58 receipts, 12 funds and 3 salaf were listed on these days.
    names = {each.contract_id: each.contract_name for each in store.registered}
    assert len(names) == 9 + 14 + 58 + 12 + 3
    assert names["204"] == "SILKH01"
    assert names["6183017539978894"] == "سكه0012پ01"
