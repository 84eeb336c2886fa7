"""The programs of `examples/`: their output, and their end at Ctrl-C or without a reader."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

import ime_live
from ime_live.archive.writer import ArchiveWriter
from ime_live.contracts import Contract
from tests.client.rest_service import STATIC, Rest
from tests.support.marks import thorough
from tests.support.paths import ROOT
from tests.support.stream_messages import DATA, update
from tests.support.stream_service import sending, service

Eventually = Callable[..., Awaitable[None]]

EXAMPLES = ROOT / "examples"
ARGUMENTS = {
    "backtest": ["A"],
    "frame": ["1000", "A"],
    "latest_state": ["A"],
    "spread_alarm": ["0.05", "A"],
    "stream": ["A"],
}


# The output of each example. Examples that keep the newest state get one message.
MESSAGES = [update("A", 1), update("A", 2)]
OUTPUT = {
    "backtest": ["2026-05-23 15:10:00.000001+03:30 A first price 999100"],
    "frame": [
        "timestamp\tcontract\tbuy_price\tsell_price\tlast_price\ttotal_volume",
        "2026-05-23 15:10:00.000001+03:30\tA\t999100\t999900\t999100\t1630",
        "2026-05-23 15:10:00.000002+03:30\tA\t999100\t999900\t999100\t1630",
    ],
    "latest_state": ["A 2026-05-23 15:10:00.000001+03:30 999100"],
    "spread_alarm": ["2026-05-23 15:10:00.000001+03:30 A ALARM 0.080 %"],
    "stream": ["15:10:00.000001  A  5 x 999100 / 999900 x 8"],
}


CALLS = {"candles", "option_chain"}
"""Examples that make one call and read no stream."""


async def test_example_prints_an_option_chain(rest: Rest) -> None:
    side = STATIC | DATA | {"market": "IMEOption"}
    row = {"strikePrice": 110, "ExpirationDate": "2026-08-01", "call": side, "put": None}
    rest.body = json.dumps({"Data": [row]}).encode()
    lines = await _printed("option_chain", rest.url, "GC")
    header, values = lines
    assert dict(zip(header.split("\t"), values.split("\t"), strict=True)) == {
        "call_open_interest": "4997",
        "call_last_price": "999100",
        "call_buy_price_1": "999100",
        "call_sell_price_1": "999900",
        "expiration_date": "2026-08-01",
        "strike_price": "110",
        **dict.fromkeys(
            (
                "put_buy_price_1",
                "put_sell_price_1",
                "put_last_price",
                "put_open_interest",
            ),
            "None",
        ),
    }
    rest.body = b'{"Data": []}'
    assert await _printed("option_chain", rest.url, "GC") == []


async def _printed(name: str, *arguments: str) -> list[str]:
    """Run an example as if pandas were not installed, and return its lines."""
    code = (
        "import sys, runpy, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'pandas' else find(name, *a)\n"
        f"sys.argv = {[name, *arguments]!r}\n"
        f"runpy.run_path({str(EXAMPLES / f'{name}.py')!r}, run_name='__main__')"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    return output.decode().splitlines()


def test_every_example_is_tested() -> None:
    programs = {path.stem for path in EXAMPLES.glob("*.py")}
    assert programs - {"parquet"} == ARGUMENTS.keys() | CALLS
    assert ARGUMENTS.keys() == OUTPUT.keys()


@pytest.mark.thorough
def test_candles_of_the_demo_are_printed(demo: str) -> None:
    program = [sys.executable, str(EXAMPLES / "candles.py"), f"http://{demo}", "1d"]
    names = demo_names(demo)
    deadline = time.monotonic() + 60
    while not (said := subprocess.check_output([*program, *names], text=True)):  # noqa: S603 - our own
        assert time.monotonic() < deadline, "the demo makes no candles"
        time.sleep(0.5)
    assert any(name in said for name in names)


def demo_names(demo: str) -> list[str]:
    """Names of some futures of a running demo."""
    with ime_live.Client(f"http://{demo}") as client:
        return [each.contract_name for each in client.search("IMEFutures", "A")]


async def output_of(name: str, url: str, *arguments: str, lines: int) -> list[str]:
    """Run an example, and return its first lines."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / f"{name}.py"), url, *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    async with asyncio.timeout(20.0):
        printed = [(await program.stdout.readline()).decode().rstrip() for _ in range(lines)]
        if program.returncode is None:
            with suppress(ProcessLookupError):  # it may have just ended
                program.send_signal(signal.SIGINT)
        await program.wait()
    return printed


@pytest.mark.parametrize("name", OUTPUT)
async def test_example_prints_received_messages(name: str) -> None:
    arguments = list(ARGUMENTS[name])
    if name == "frame":
        arguments[0] = "2"
        if find_spec("pandas"):
            pytest.skip("with pandas it prints a data frame")
    async with service(sending(*MESSAGES[: len(OUTPUT[name])])) as made:
        printed = await output_of(name, made.url, *arguments, lines=len(OUTPUT[name]))
    assert printed == OUTPUT[name]


@pytest.mark.parametrize("times", [2, thorough(1)])
@pytest.mark.parametrize("away", [True, False], ids=["no connection", "connection"])
@pytest.mark.parametrize(
    "name", [name if name in {"stream", "latest_state"} else thorough(name) for name in ARGUMENTS]
)
async def test_example_ends_without_a_traceback_at_ctrl_c(
    name: str, away: bool, times: int, eventually: Eventually
) -> None:
    async def deaf(connection: ServerConnection) -> None:
        await connection.send(update("A", 1), text=True)
        # It never answers a close, so that a second Ctrl-C comes while the first one is obeyed.
        connection.transport.pause_reading()
        reached.set()
        await over.wait()
        connection.transport.abort()

    reached, over = asyncio.Event(), asyncio.Event()
    arguments = ARGUMENTS[name]
    async with service(503 if away else deaf) as made:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLES / f"{name}.py"), made.url, *arguments),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        await eventually(lambda: made.paths if away else reached.is_set(), 20.0)
        await asyncio.sleep(0.2)
        for _ in range(times):
            program.send_signal(signal.SIGINT)
            await asyncio.sleep(0.1)
            if program.returncode is not None:
                break
        _, said = await asyncio.wait_for(program.communicate(), 20.0)
        over.set()
    # The second one may come when Python has ended already, and only the process is left.
    assert program.returncode in {0, -signal.SIGINT}
    assert b"Traceback" not in said
    assert [line for line in said.decode().splitlines() if "trying again" not in line] == []


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recording of two days, the second of which is not finished."""
    with ArchiveWriter(tmp_path) as writer:
        writer.note_contract(Contract(contract_id="1", contract_name="A"))
        for timestamp in ("2026-05-23T15:10:00.000001", "2026-05-24T15:10:00.000002"):
            message = {"channel": "IME Stream", "ContractId": "1", "timestamp": timestamp}
            writer.take("1", timestamp, msgspec.json.encode(message | {"data": DATA}))
    with (tmp_path / "2026-05-24.ndjson.gz").open("ab") as file:
        file.write(gzip.compress(b"cut off")[:-6])
    return tmp_path


def test_parquet_makes_a_row_of_each_state(recording: Path) -> None:
    rows_of = runpy.run_path(str(EXAMPLES / "parquet.py"))["rows_of"]
    found = [row for file in sorted(recording.glob("*.gz")) for row in rows_of(file)]
    assert [str(row["timestamp"]) for row in found] == [
        "2026-05-23 15:10:00.000001+03:30",
        "2026-05-24 15:10:00.000002+03:30",
    ]
    assert found[0].items() >= {
        "contract_id": "1", "contract_name": "A", "buy_price_1": 999100.0,
        "sell_quantity_3": 8.0, "last_price": 999100.0, "date": "2026-05-23",
        "maxAllowedPrice": 1050000.0, "open_interest": 4997.0,
    }.items()  # fmt: skip


def test_parquet_writes_a_file_per_day_or_names_the_missing_library(recording: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, str(EXAMPLES / "parquet.py"), str(recording)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if find_spec("pyarrow"):
        assert done.stdout == "2026-05-23.ndjson.gz 1 rows\n2026-05-24.ndjson.gz 1 rows\n"
        assert (recording / "2026-05-24.parquet").read_bytes().startswith(b"PAR1")
    else:
        assert (done.returncode, done.stderr) == (
            1, "pyarrow must be installed: pip install pyarrow\n",
        )  # fmt: skip


def readme() -> str:
    """The first program of the README."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", ["README", *map(thorough, ARGUMENTS)])
async def test_example_ends_quietly_when_nobody_reads_its_output(name: str) -> None:
    async def talk(connection: ServerConnection) -> None:
        for number in itertools.count():
            # Prices by which a strategy trades.
            data = DATA | {"Aggregate": DATA["Aggregate"] | {"last_price": 999_000 + number % 60}}
            await connection.send(update("A", number, data), text=True)
            await asyncio.sleep(0.02)

    arguments = [] if name == "README" else list(ARGUMENTS[name])
    if name == "frame":
        arguments[0] = "3"
    reading, writing = os.pipe()
    os.close(reading)
    async with service(talk) as made:
        if name == "README":
            command = ["-c", readme().replace("ws://127.0.0.1:8000", made.url)]
        else:
            command = [str(EXAMPLES / f"{name}.py"), made.url, *arguments]
        program = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=writing, stderr=asyncio.subprocess.PIPE
        )
        os.close(writing)
        _, said = await asyncio.wait_for(program.communicate(), 30.0)
    assert (program.returncode, said) == (1, b"")
