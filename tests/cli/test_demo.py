"""`ime-live demo`: its markets, its pages and tokens, and recordings that are played."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

import jwt
import msgspec
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

import ime_live as library
from ime_live.archive.writer import ArchiveWriter
from ime_live.contracts import Contract, Market
from tests.support.boards import frames_of_all_boards
from tests.support.marks import thorough
from tests.support.paths import ROOT
from tests.support.payloads import payload

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The folder that a process started now uses for temporary files; a socket's name fits in."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


def greeting(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Ctrl-C" in line:
            return said
    raise AssertionError(said)


@pytest.mark.parametrize("number", [signal.SIGINT, thorough(signal.SIGTERM)])
def test_demo_streams_and_leaves_no_process(
    start: Start, temporary: Path, number: signal.Signals
) -> None:
    process = start("demo", "--port", "0", TMPDIR=str(temporary))
    said = greeting(process)
    assert any(temporary.iterdir())  # Valkey's
    for url in re.findall(r"ws://\S+contract/\S+(?<!true\")", said):
        with connect(url) as client:
            message = json.loads(client.recv(timeout=15))
            assert message.get("contractName", message.get("ContractId")) in {"ContractA", "12345"}
    for url in re.findall(r"http://\S+", said):
        with urlopen(url, timeout=15) as answer:  # noqa: S310 - of http, as the greeting says it
            assert answer.status == 200
    # The line to try, as it stands there.
    [line] = re.findall(r"^ +(\S+ -m websockets .*)$", said, re.MULTILINE)
    python, *arguments = shlex.split(line)
    assert Path(python) == Path(sys.executable)
    tried = subprocess.Popen(  # noqa: S603 - our own line
        [python, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with tried:
        assert tried.stdout is not None
        assert any('"channel":"IME Stream"' in each for each in tried.stdout)
        tried.kill()
    process.send_signal(number)
    _, rest = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert not any(temporary.iterdir())


def answered(url: str, **headers: str) -> tuple[Any, dict[str, str]]:
    """The JSON of an answer, and its headers."""
    with urlopen(Request(url, headers=headers), timeout=15) as answer:  # noqa: S310 - of http
        return json.load(answer), {k.lower(): v for k, v in answer.headers.items()}


def test_demo_serves_pages_of_this_machine(start: Start) -> None:
    """Its scripts may read the answers; options have days left and an underlying."""
    process = start("demo", "--port", "0")
    [address] = set(re.findall(r"http://([^/]+)/ready", greeting(process)))
    base = f"http://{address}"
    for origin in ("http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:8080"):
        found, headers = answered(f"{base}/live/status", Origin=origin)
        assert headers["access-control-allow-origin"] == origin
    _, headers = answered(f"{base}/live/status", Origin="https://page.example")
    assert "access-control-allow-origin" not in headers
    events = f"{base}/live/data/sse/contract/name?contract_names=ContractA&snapshot=true"
    request = Request(events, headers={"Origin": "http://localhost:5173"})  # noqa: S310 - of http
    with urlopen(request, timeout=15) as answer:  # noqa: S310 - the same
        assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"

    search = f"{base}/static/data/contract/search?Search_char=&market="
    markets: dict[str, Any] = {}
    for market in Market:
        markets[market] = answered(search + market)[0]["Data"]
    assert markets["IMEOption"]
    for option in markets["IMEOption"]:
        assert option["DaysToExpiration"] >= 29
    # A whole chain, of a fund that trades as well.
    [chain, _] = answered(f"{base}/static/data/contract/option-chain?underlying=KA")
    assert len(chain["Data"]) == 7
    for pair in chain["Data"]:
        assert pair["call"]["strikePrice"] == pair["put"]["strikePrice"] == pair["strikePrice"]
        assert pair["call"]["BestLimit"] is not None
    fund = quote(chain["Data"][0]["put"]["UnderlyingAssets_symbolName_or_contractName"])
    found, _ = answered(f"{base}/live/data/overview/contract/name?contract_names={fund}")
    assert 100_000 < found["Data"][unquote(fund)]["Aggregate"]["last_price"] < 500_000

    # The states of the markets, once the demo's feed has written them.
    deadline = time.monotonic() + 15
    while (found := answered(f"{base}/live/status")[0])["feed"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)  # so as not to run into the limit of requests
    hours, _ = answered(f"{base}/static/data/market")
    assert [each["market"] for each in hours["Data"]] == list(Market)
    assert {str(each["sessions"]["fri"]) for each in hours["Data"]} == {
        "[{'begins': '00:00', 'ends': '24:00'}]"
    }
    assert {
        name: (each["state"], each["contracts"]) for name, each in found["markets"].items()
    } == {name: ("live", len(contracts)) for name, contracts in markets.items()}
    url = f"ws://{address}/live/data/websocket/contract/name?contract_names=ContractA&status=true"
    with connect(url) as client:
        message = json.loads(client.recv(timeout=15))
        while message["channel"] != "IME Status":
            message = json.loads(client.recv(timeout=15))
    assert message["data"]["markets"] == dict.fromkeys(markets, "live")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_demo_on_a_used_port_is_one_line(ime_live: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = ime_live("demo", "--port", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"ime-live: cannot listen on 127.0.0.1:{port}: address already in use; "
        "stop the other program, or give another --port\n"
    )


def test_demo_on_every_address_requires_the_token_that_it_prints(start: Start) -> None:
    process = start("demo", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - with a token
    said = greeting(process)
    [token] = re.findall(r"^  (ey\S+)$", said, re.MULTILINE)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] > time.time() + 300 * 86_400  # longer than a demo runs
    urls = set(re.findall(r"(?:ws|http)://[^\s\"]+", said))
    # Every URL of the greeting works as it stands there, also at an address of the network.
    for url in urls:
        if url.startswith("ws://"):
            with connect(url) as client:
                assert json.loads(client.recv(timeout=15))["channel"] == "IME Stream"
        else:
            with urlopen(url, timeout=15) as answer:  # noqa: S310 - of http
                assert answer.status == 200
                assert "/sse/" not in url or answer.readline()
    guarded = [url for url in urls if token in url]
    assert len(guarded) == 6
    assert sum("#token=" in url for url in guarded) == 1  # the market page
    port = re.findall(r"http://[^/]+:(\d+)/ready", said)[0]
    base = f"http://127.0.0.1:{port}"
    overview = f"{base}/live/data/overview/contract/name?contract_names=ContractA"
    found, _ = answered(overview, Authorization=f"Bearer {token}")
    assert "ContractA" in found["Data"]
    with pytest.raises(HTTPError, match="401"):
        answered(overview)
    url = f"ws://127.0.0.1:{port}/live/data/websocket/contract/name?contract_names=ContractA"
    with connect(url) as client, pytest.raises(ConnectionClosedError, match="authentication"):
        client.recv(timeout=15)
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert token not in rest


@pytest.mark.thorough
def test_demo_replays_a_recording_in_a_loop(start: Start, tmp_path: Path) -> None:
    recording = tmp_path / "frames.ndjson"
    recording.write_bytes(b"\n".join(frames_of_all_boards(3)) + b"\n")
    process = start("demo", "--port", "0", "--source", "replay", "--frames", str(recording))
    said = greeting(process)
    assert "5 contracts of a recording" in said
    [url] = re.findall(r"(ws://\S+contract/name\S+)(?<!true)\n", said)[:1]
    seen: set[float] = set()
    with connect(url + "&status=true") as client:
        again = 0
        while len(seen) < 3 or again < 3:  # the three states, and then the first one again
            message = json.loads(client.recv(timeout=20))
            if message["channel"] == "IME Status":
                assert message["data"]["feed"] in {None, "live"}  # not yet, or open
                continue
            price = message["data"]["Aggregate"]["last_price"]
            again += price in seen
            seen.add(price)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("frames", "said"), [([], "--frames"), (["--frames", "missing.ndjson"], "missing.ndjson")]
)
def test_demo_replay_without_a_recording_is_an_error(
    start: Start, frames: list[str], said: str
) -> None:
    process = start("demo", "--port", "0", "--source", "replay", *frames)
    assert process.wait(20) == 2
    assert process.stdout is not None
    output = process.stdout.read() + (process.stderr.read() if process.stderr else "")
    assert said in output


DAY = "2026-05-19"


def at(seconds: float) -> str:
    """A timestamp of the recorded day."""
    moment = datetime.fromisoformat(f"{DAY}T12:00:00") + timedelta(seconds=seconds)
    return moment.isoformat(timespec="microseconds")


def recording(folder: Path, *seconds: float) -> Path:
    """A recording of one future and one option, with a state of the option at each of these times;
    its last price is the number of the state."""
    with ArchiveWriter(folder) as writer:
        for contract_id, name, market in (
            ("1", "GCAB05", Market.FUTURES),
            ("2", "GCC1", Market.OPTION),
        ):
            writer.note_contract(
                Contract(
                    contract_id=contract_id,
                    contract_name=name,
                    market=market,
                    expiration_date=date(2026, 5, 29),
                )
            )
        for contract_id, price, moment in [
            ("1", 700, at(-1.0)),
            *(("2", number, at(second)) for number, second in enumerate(seconds, 1)),
        ]:
            message = {
                "channel": "IME Stream",
                "ContractId": contract_id,
                "timestamp": moment,
                "data": payload(price),
            }
            writer.take(contract_id, moment, msgspec.json.encode(message))
    return folder


def played(start: Start, source: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """A demo that plays a recording, and its address."""
    process = start("demo", "--port", "0", "--source", str(source), *options)
    said = greeting(process)
    return process, re.findall(r"http://([^/]+)/ready", said)[0]


@pytest.mark.thorough
def test_demo_plays_a_recording_with_its_versions(start: Start, tmp_path: Path) -> None:
    """Streams, events, REST and status agree on the recorded day."""
    moments = [number / 10 for number in range(200)]
    process, address = played(start, recording(tmp_path / "r", *moments), "--speed", "20", "--wait")
    base = f"http://{address}"
    # Before the first stream, time stands still at the beginning.
    report, _ = answered(f"{base}/live/status")
    assert report["timestamp"] == at(-1.0)
    with library.connect(
        f"ws://{address}", ["GCC1"], queue="block", skipped=True, status=True
    ) as stream:
        taken = list(itertools.islice(stream, len(moments)))
        assert [each.timestamp_text for each in taken] == [at(second) for second in moments]
        assert [each.data.aggregate.last_price for each in taken] == [*range(1, 201)]
        assert not any(each.skipped for each in taken)
        deadline = time.monotonic() + 20
        while stream.status is None or stream.status.feed != "closed":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert stream.status.timestamp.isoformat()[:16] == at(0)[:16]
    last = at(moments[-1])
    report, _ = answered(f"{base}/live/status")
    assert (report["timestamp"], report["feed"], report["source"]) == (last, "closed", "recording")
    assert report["contracts"]["GCC1"] == {
        "id": "2", "market": "IMEOption", "timestamp": last, "age": 0.0,
    }  # fmt: skip
    assert report["contracts"]["GCAB05"]["age"] == pytest.approx(1 + moments[-1])
    overview, _ = answered(f"{base}/live/data/overview/contract/name?contract_names=GCC1")
    assert overview["Data"]["GCC1"]["Aggregate"]["last_price"] == 200
    search = f"{base}/static/data/contract/search?Search_char=&market=IMEOption"
    assert answered(search)[0]["Data"][0]["DaysToExpiration"] == 10
    events = f"{base}/live/data/sse/contract/name?contract_names=GCC1&snapshot=true"
    with urlopen(events, timeout=15) as answer:  # noqa: S310 - of http
        said = next(line for line in answer if line.startswith(b"data:"))
    assert json.loads(said[5:])["timestamp"] == last
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("speed", ["0", thorough("20000")])
def test_demo_plays_days_at_any_speed(start: Start, tmp_path: Path, speed: str) -> None:
    folder = recording(tmp_path / "r", *range(0, 40_000, 10), 86_400 * 3)
    process, address = played(start, folder, "--speed", speed)
    deadline = time.monotonic() + 60
    while (report := answered(f"http://{address}/live/status")[0])["feed"] != "closed":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert report["timestamp"] == "2026-05-22T12:00:00.000000"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize("speed", ["0", thorough("600")])
def test_demo_has_candles_of_a_played_day(start: Start, tmp_path: Path, speed: str) -> None:
    # By contract, second of the day and last price; each state has one more trade of two units.
    trades = [
        ("1", 0, 10), ("1", 5, 12), ("1", 59.9, 8), ("1", 60, 9),  # two minutes
        ("2", 30, 7), ("1", 190, 11), ("2", 200, 6), ("2", 86_400, 5),
    ]  # fmt: skip
    with ArchiveWriter(tmp_path / "r") as writer:
        for contract_id in "12":
            writer.note_contract(
                Contract(
                    contract_id=contract_id, contract_name=f"C{contract_id}", market=Market.FUTURES
                )
            )
        totals = dict.fromkeys("12", 0)
        for contract_id, second, price in sorted(trades, key=lambda each: each[1]):
            moment = at(second)
            count = totals[contract_id] = 1 if second >= 86_400 else totals[contract_id] + 1
            state = payload(
                price,
                date=moment[:10],
                time=moment[11:19],
                trade_count=count,
                total_volume=2 * count,
                total_value=100 * count,
            )
            message = {
                "channel": "IME Stream",
                "ContractId": contract_id,
                "timestamp": moment,
                "data": state,
            }
            if (contract_id, second) == ("1", 190):
                writer.note("gap", at(180), **{"from": at(100), "reason": "a break"})
            writer.take(contract_id, moment, msgspec.json.encode(message))
    process, address = played(start, tmp_path / "r", "--speed", speed)
    with library.Client(f"http://{address}") as client:
        deadline = time.monotonic() + 30
        # The last state opens the candle of another day, which is today then.
        while not (today := client.candles(["C1", "C2"]))["C2"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        day = client.candles(["C1", "C2"], start=date.fromisoformat(DAY))
        alone = client.candles(["C1"], start=date.fromisoformat(DAY), end=date.fromisoformat(DAY))
    assert today["C1"] == []
    assert alone["C1"] == day["C1"]

    def candle(minute: int, prices: str, trades: int, gap: bool = False) -> tuple[Any, ...]:
        start, high, low, close = map(int, prices.split())
        moment = at(60 * minute)[:19]
        return moment, start, high, low, close, 2 * trades, 100 * trades, trades, gap

    found = {
        name: [
            (
                each.time, each.open, each.high, each.low, each.close,
                each.volume, each.value, each.trades, each.gap,
            )
            for each in candles or []
        ]
        for name, candles in day.items()
    }  # fmt: skip
    assert found == {
        "C1": [
            candle(0, "10 12 8 8", 3),
            candle(1, "9 9 9 9", 1),
            candle(3, "11 11 11 11", 1, True),
        ],
        "C2": [candle(0, "7 7 7 7", 1), candle(3, "6 6 6 6", 1, True), candle(1440, "5 5 5 5", 1)],
    }
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_demo_plays_recorded_frames(start: Start, tmp_path: Path) -> None:
    began = datetime(2026, 5, 19, 12, tzinfo=ZoneInfo("Asia/Tehran")).timestamp()
    with (tmp_path / "frames.ndjson").open("wb") as file:
        for number, frame in enumerate(frames_of_all_boards(3)):
            received = round((began + number) * 1e6)
            file.write(b'{"received":%d,"frame":%b}\n' % (received, frame))
    process, address = played(start, tmp_path, "--speed", "0", "--wait")
    found, _ = answered(
        f"http://{address}/static/data/contract/search?market=IMEFutures&Search_char="
    )
    name = found["Data"][0]["contractName"]
    with library.connect(f"ws://{address}", [name], queue="block") as stream:
        taken = list(itertools.islice(stream, 3))
    assert [each.timestamp_text for each in taken] == [at(0), at(1), at(2)]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.thorough
def test_backtest_trades_on_a_recorded_day(start: Start, tmp_path: Path) -> None:
    folder = recording(tmp_path / "r", *(number / 10 for number in range(60)))
    process, address = played(start, folder, "--speed", "20", "--wait")
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, str(ROOT / "examples" / "backtest.py"), f"ws://{address}", "GCC1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "2026-05-19 12:00:00+03:30 GCC1 first price 1",
        # The prices rise by one from state to state, so that the 20th is above their average.
        "2026-05-19 12:00:01.900000+03:30 GCC1 bought",
        "result 60.0 rials per unit",
    ]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.thorough
def test_demo_stops_at_damage_in_a_recording(start: Start, tmp_path: Path) -> None:
    recording(tmp_path / "r", 0, 1)
    file = tmp_path / "r" / f"{DAY}.ndjson.gz"
    file.write_bytes(file.read_bytes() + b"damage")
    process = start("demo", "--port", "0", "--source", str(tmp_path / "r"), "--speed", "0")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "is damaged after byte" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "none"], "--source must be synthetic, replay, or a folder or file"),
        (["--source", "."], "must have recordings"),
        (["--source", "synthetic", "--speed", "-1"], "--speed must be 0 or more, got -1.0"),
        (["--source", ".", "--frames", "x"], "--frames must be given with --source replay only"),
    ],
)
def test_demo_source_that_cannot_be_played_is_one_line(
    ime_live: Run, arguments: list[str], said: str
) -> None:
    done = ime_live("demo", "--port", "0", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
