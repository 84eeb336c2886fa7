"""`ime-live feed replay`: pauses, repetition, bad lines, and streams of a recorded market."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.support.paths import CAPTURE, ROWS

Database = Any  # a client of redis-py, whose commands are loosely typed
Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

ROW = ROWS / "future.json"


def frame(price: float, at: str) -> str:
    """A frame of the SignalR hub with one made-up futures contract."""
    row = json.loads(ROW.read_text(encoding="utf-8"))
    row |= {
        "ContractID": 901,
        "ContractCode": "SAFMO02",
        "LastTradedPrice": price,
        "TradesValue": 1141.5,
        "OrdersDateTime": f"2023-08-01T{at}",
        "LastUpdate": f"2023-08-01T{at}",
    }
    board = {"H": "marketsHub", "M": "updateFutureMarketsInfo", "A": [[row]]}
    return json.dumps({"C": "d-1", "S": 1, "M": [board]}, ensure_ascii=False) + "\n"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two states of a contract, one of them twice, and a keep-alive."""
    lines = [frame(1, "13:20:11.25"), "{}\n", frame(1, "13:20:12"), frame(2, "13:20:13")]
    path = tmp_path / "recording.ndjson"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def last(database: Database, contract_id: str) -> Any:  # noqa: ANN401 - any JSON
    data = database.hget(f"ime:last:{{{contract_id}}}", "data")
    return None if data is None else json.loads(data)


def test_feed_replays_a_recording(ime_live: Run, database: Database, recording: Path) -> None:
    done = ime_live("feed", "replay", recording, "--speed", "0")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("replayed 4 frames, 3 rows: ")
    contract = json.loads(database.hget("ime:contracts", "901"))
    assert (contract["contractName"], contract["market"]) == ("SAFMO02", "IMEFutures")
    aggregate = last(database, "901")["Aggregate"]
    assert (aggregate["last_price"], aggregate["total_value"]) == (2, 1_141_500)
    assert (aggregate["date"], aggregate["time"]) == ("2023-08-01", "13:20:13")


def test_replay_ends_with_the_last_board_of_a_frame(
    ime_live: Run, database: Database, recording: Path
) -> None:
    one, two = (json.loads(frame(price, "13:20:11"))["M"][0] for price in (1, 2))
    frames = [{"C": "a", "M": [one]}, *[{"C": "b", "M": [two, one]}] * 3]
    recording.write_text("".join(json.dumps(each) + "\n" for each in frames), encoding="utf-8")
    done = ime_live("feed", "replay", recording, "--speed", "0")
    assert done.stderr.startswith("replayed 4 frames, 7 rows: 1 published, 6 unchanged, 0 refused")
    assert last(database, "901")["Aggregate"]["last_price"] == 1


def test_replay_of_older_boards_counts_in_the_order_of_its_frames(
    ime_live: Run, database: Database, recording: Path
) -> None:
    lines = [frame(1, "13:20:11"), frame(2, "13:20:01")]
    recording.write_text("".join(lines), encoding="utf-8")
    done = ime_live("feed", "replay", recording, "--speed", "0")
    assert ": 2 published, 0 unchanged, 0 refused" in done.stderr
    assert last(database, "901")["Aggregate"]["last_price"] == 2
    assert "pushed" not in database.hkeys("ime:last:{901}")  # a recording has no age


def test_replay_keeps_pauses_and_repeats(start: Start, recording: Path) -> None:
    process = start("feed", "replay", recording, "--speed", "1000", "--loop")
    assert process.stderr is not None
    for _ in range(3):
        assert process.stderr.readline().startswith("replayed 4 frames, 3 rows: ")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert all(line.startswith("replayed ") for line in said.splitlines())


def test_replay_skips_bad_lines(ime_live: Run, database: Database, recording: Path) -> None:
    recording.write_text("nonsense\n" + frame(3, "13:20:14"), encoding="utf-8")
    done = ime_live("feed", "replay", recording, "--speed", "0")
    assert done.returncode == 1
    bad, totals = done.stderr.splitlines()
    assert bad.startswith(f"{recording}:1: ")
    assert totals.endswith("; 1 bad line")
    assert last(database, "901")["Aggregate"]["last_price"] == 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nothing"], "nothing cannot be read: no such file or directory"),
        (["."], ". cannot be read: is a directory"),
        (["--speed", "-1", "x"], "--speed must be a number of 0 or more, got -1.0"),
    ],
)
def test_wrong_use_of_feed_is_status_2(ime_live: Run, arguments: list[str], error: str) -> None:
    done = ime_live("feed", "replay", *arguments)
    assert done.returncode == 2
    assert done.stderr == f"ime-live: {error}\n"


def test_replay_during_an_outage_of_redis_is_an_error(ime_live: Run, recording: Path) -> None:
    done = ime_live("feed", "replay", recording, IME_LIVE_REDIS_URL="redis://:geheim@127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr == "ime-live: Redis at 127.0.0.1:1 refused the connection\n"


@pytest.mark.skipif(not CAPTURE.is_dir(), reason=f"no recorded frames at {CAPTURE}")
def test_recorded_market_can_be_streamed(
    ime_live: Run, start: Start, serve: Callable[..., str], database: Database
) -> None:
    """Real input goes from the SignalR hub's frames through the gateway to a client."""
    files = sorted(CAPTURE.glob("*.ndjson"))
    done = ime_live("feed", "replay", *files, "--speed", "0")
    assert done.returncode == 0, done.stderr
    ids = {}
    for contract_id, record in database.hgetall("ime:contracts").items():
        ids[json.loads(record)["contractName"]] = contract_id
    assert (ids["SAFOR01"], ids["GCOR01C11000"]) == ("203", "1000463")
    assert last(database, "203")["Aggregate"]["previous_close"] > 0
    assert last(database, "1000463")["AllowedPriceRange"]["maxAllowedPrice"] > 0

    address = serve()
    names = "contract_names=SAFOR01&contract_names=GCOR01C11000"
    url = f"ws://{address}/live/data/websocket/contract/name?{names}"
    with connect(url + "&snapshot=true") as client:
        first = [json.loads(client.recv(timeout=10)) for _ in range(2)]
        assert {message["contractName"] for message in first} == {"SAFOR01", "GCOR01C11000"}
        for message in first:
            assert message["data"] == last(database, ids[message["contractName"]])
        start("feed", "replay", *files, "--speed", "0", "--loop")
        seen: dict[str, list[str]] = {"SAFOR01": [], "GCOR01C11000": []}
        while not all(len(timestamps) >= 3 for timestamps in seen.values()):
            message = json.loads(client.recv(timeout=10))
            seen[message["contractName"]].append(message["timestamp"])
        for timestamps in seen.values():
            assert timestamps == sorted(set(timestamps))
