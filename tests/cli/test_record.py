"""`ime-live record` beside a real gateway: what is in the files, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import pytest

from ime_live.archive.day_file import day_files, read_members
from ime_live.archive.listing import RecordingSelection
from ime_live.archive.recorder import StreamRecorder
from ime_live.archive.writer import ArchiveWriter
from ime_live.cli.record import line_of
from ime_live.contracts import Contract, Market
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market import timestamp_of
from ime_live.publisher import Publisher
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of
from tests.support.marks import thorough
from tests.support.payloads import payload
from tests.support.token_keys import SECRET

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
Eventually = Callable[..., Awaitable[None]]


def recorded(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of an archive, in the order of its files."""
    return [
        json.loads(line)
        for _, file in (day_files(folder) if folder.is_dir() else ())
        for member in read_members(file, cut=lambda _: None)
        for line in member.lines
    ]


def states(folder: Path) -> list[tuple[str, str]]:
    """Contract and timestamp of each state."""
    return [
        (line["ContractId"], line["timestamp"])
        for line in recorded(folder)
        if line["channel"] == "IME Stream"
    ]


def gaps(folder: Path) -> list[dict[str, Any]]:
    return [line for line in recorded(folder) if line.get("event") == "gap"]


async def publish(publisher: Publisher, contract_id: str, number: int) -> tuple[str, str]:
    result = await publisher.publish(contract_id, payload(number))
    assert result.published
    return contract_id, timestamp_of(result.version, zone_of(TEHRAN))


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    """End a process by a signal; its standard error."""
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert "Traceback" not in said
    return said


async def test_record_writes_every_state(
    tmp_path: Path,
    valkey: EmbeddedValkey,
    register: Callable[..., None],
    serve: Callable[..., str],
    start: Start,
    eventually: Eventually,
) -> None:
    register(("1", "A"), ("2", "B"), ("3", "C"))
    folder = tmp_path / "recording"
    async with Publisher(valkey.url) as publisher:
        expected = [await publish(publisher, "1", 1)]
        await publish(publisher, "3", 1)
        process = start("record", folder, "A", "2", "--url", f"ws://{serve()}")
        await eventually(lambda: states(folder) == expected)
        expected += [await publish(publisher, "12"[n % 2], n) for n in range(2, 60)]
        await eventually(lambda: len(states(folder)) == len(expected))
        # A state that has arrived is written at the end.
        expected.append(await publish(publisher, "2", 99))
        await asyncio.sleep(0.2)
    said = ended(process)
    assert process.returncode == 0
    assert states(folder) == expected
    assert f"recorded 60 new states in {folder}" in said
    first, *others = recorded(folder)
    assert (first["event"], first["format"]) == ("header", 1)
    assert {each["contract"]["contractName"] for each in others if "contract" in each} == {"A", "B"}
    assert recorded(folder)[-1]["event"] == "end"


@pytest.mark.thorough
async def test_record_resumes_after_each_end_with_every_miss_in_a_gap(
    tmp_path: Path,
    valkey: EmbeddedValkey,
    register: Callable[..., None],
    serve: Callable[..., str],
    start: Start,
    eventually: Eventually,
) -> None:
    register(("1", "A"), ("2", "B"))
    folder = tmp_path / "recording"
    command = ("record", folder, "A", "B", "--url", f"ws://{serve()}")
    published: list[tuple[str, str]] = []
    enough = asyncio.Event()

    async def keep_publishing() -> None:
        async with Publisher(valkey.url) as publisher:
            number = 0
            while not enough.is_set():
                number += 1
                published.append(await publish(publisher, "12"[number % 2], number))
                await asyncio.sleep(0.002)

    publishing = asyncio.create_task(keep_publishing())
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        before = len(states(folder))
        process = start(*command)
        await eventually(lambda before=before: len(states(folder)) > before + 50, 40.0)
        process.send_signal(number)
        process.wait(20)
        known = len(published)
        await eventually(lambda known=known: len(published) > known + 5)
    enough.set()
    await publishing
    process = start(*command)
    last = dict(published)
    await eventually(lambda: dict(states(folder)) == last, 40.0)
    ended(process)

    found = states(folder)
    assert len(found) == len(set(found))
    assert set(found) <= set(published)
    holes = gaps(folder)
    assert [each["reason"] for each in holes] == ["the recorder was not running"] * 3
    missed = [timestamp for _, timestamp in set(published[1:]) - set(found)]
    begin = found[0][1]
    assert [
        timestamp
        for timestamp in missed
        if timestamp > begin and not any(h["from"] <= timestamp <= h["timestamp"] for h in holes)
    ] == []


async def test_break_of_the_connection_is_a_gap(
    tmp_path: Path,
    valkey: EmbeddedValkey,
    register: Callable[..., None],
    start: Start,
    serve: Callable[..., str],
    eventually: Eventually,
) -> None:
    register(("1", "A"))
    address = serve()
    port = address.rpartition(":")[2]
    folder = tmp_path / "recording"
    async with Publisher(valkey.url) as publisher:
        expected = [await publish(publisher, "1", 1)]
        process = start("record", folder, "A", "--url", f"ws://{address}")
        await eventually(lambda: states(folder) == expected)
        gateway = _listener_of(int(port))
        os.kill(gateway, signal.SIGKILL)
        _, missed = await publish(publisher, "1", 2)
        expected.append(await publish(publisher, "1", 3))
        again = start("serve", "--auth", "none", "--port", port)
        await eventually(lambda: states(folder) == expected, 40.0)
    ended(process)
    ended(again)
    [gap] = gaps(folder)
    assert expected[0][1] <= gap["from"] < missed < gap["timestamp"]
    assert gap["reason"]


def _listener_of(port: int) -> int:
    """The process that listens on a port of ours."""
    inodes = {
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[1].endswith(f":{port:04X}") and fields[3] == "0A"
    }
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                for link in (folder / "fd").iterdir():
                    if any(str(link.readlink()) == f"socket:[{inode}]" for inode in inodes):
                        return int(folder.name)
    raise AssertionError("nobody listens there")


@pytest.mark.parametrize("pattern", [thorough(""), "[AC]*"])
async def test_new_listing_joins_and_a_renamed_contract_stays_the_same(
    pattern: str,
    tmp_path: Path,
    valkey: EmbeddedValkey,
    store: Store,
    serve: Callable[..., str],
    eventually: Eventually,
) -> None:
    def option(contract_id: str, name: str) -> Contract:
        return Contract(
            contract_id=contract_id,
            contract_name=name,
            market=Market.OPTION,
            underlying_name="GOLD",
        )

    await store.import_contracts(
        [
            option("1", "A"),
            Contract(contract_id="2", contract_name="B", market=Market.FUTURES),
        ]
    )
    with ArchiveWriter(tmp_path) as writer:
        recorder = StreamRecorder(
            writer,
            RecordingSelection(names=(pattern,) if pattern else (), underlyings=("GOLD",)),
            url=f"ws://{serve()}",
            listing_interval=60.0,  # the stream itself adds them
        )
        recording = asyncio.create_task(recorder.run())
        async with Publisher(valkey.url) as publisher:
            expected = [await publish(publisher, "1", 1)]
            await publish(publisher, "2", 1)
            await eventually(lambda: set(states(tmp_path)) == set(expected))
            await store.import_contracts(
                [
                    option("1", "A2"),
                    option("3", "C"),
                ]
            )
            expected += [await publish(publisher, "3", 2), await publish(publisher, "1", 3)]
            await eventually(lambda: set(states(tmp_path)) == set(expected))
            # A contract that is removed from the service does not end the recording.
            await store.remove_contracts(["1"])
            expected.append(await publish(publisher, "3", 4))
            await eventually(lambda: set(states(tmp_path)) == set(expected))
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
    names = [line["contract"]["contractName"] for line in recorded(tmp_path) if "contract" in line]
    assert set(names) == {"A", "A2", "C"}


def test_two_recorders_on_one_folder_are_refused(
    tmp_path: Path, register: Callable[..., None], serve: Callable[..., str], ime_live: Run
) -> None:
    register(("1", "A"))
    with ArchiveWriter(tmp_path):
        done = ime_live("record", tmp_path, "A", "--url", f"ws://{serve()}")
    assert done.returncode == 1
    assert done.stderr == (f"ime-live: recording {tmp_path} is being written by another process\n")


def test_faults_of_the_command_are_one_line(
    tmp_path: Path, register: Callable[..., None], serve: Callable[..., str], ime_live: Run
) -> None:
    register(("1", "A"))
    url = f"ws://{serve()}"
    (tmp_path / "file").touch()
    (tmp_path / "token").write_text("no.token.at-all")
    for status, arguments, said in (
        (2, [tmp_path], "at least one contract must be given, got none"),
        (2, [tmp_path, "A"], "the service's address must be given"),
        (2, [tmp_path, "A", "--url", "ftp://x"], "ftp://x"),
        (2, [tmp_path, "--market", "Gold", "--url", url], "'Gold' is not one of"),
        (2, [tmp_path, "A", "--token-file", tmp_path / "none", "--url", url], "no such file"),
        (2, [tmp_path, "A", "--token-file", tmp_path / "file", "--url", url], "but is empty"),
        (1, [tmp_path, "A", "X", "Y", "--url", url], "unknown contract: X, Y"),
        (1, [tmp_path, "--all", "--url", url], "no contract matches"),
        (1, [tmp_path / "file", "A", "--url", url], "cannot be written: file exists"),
        (1, [tmp_path, "A", "--url", "ws://127.0.0.1:1"], "cannot be reached"),
    ):
        done = ime_live("record", *arguments)
        assert (done.returncode, said in done.stderr) == (status, True), done


def write_token(file: Path, seconds: float) -> None:
    """Write a token that expires after some seconds; a reader finds the old or the new one."""
    claims = {"sub": "tests", "exp": time.time() + seconds}
    new = file.with_suffix(".new")
    new.write_text(jwt.encode(claims, SECRET, "HS256"))
    new.replace(file)


@pytest.mark.thorough
async def test_expired_token_is_renewed_from_its_file_or_ends_the_recording(
    tmp_path: Path,
    valkey: EmbeddedValkey,
    register: Callable[..., None],
    start: Start,
    eventually: Eventually,
) -> None:
    register(("1", "A"))
    gateway = start(
        "serve", "--port", "0", "--shutdown-spread", "0", "--jwt-leeway", "0",
        IME_LIVE_JWT_SECRET=SECRET,
    )  # fmt: skip
    assert gateway.stderr is not None
    port = next(found[1] for line in gateway.stderr if (found := re.search(r"port=(\d+)", line)))
    token, folder = tmp_path / "token", tmp_path / "recording"
    write_token(token, 3.0)
    command = ("record", folder, "A", "--url", f"ws://127.0.0.1:{port}", "--token-file", token)
    async with Publisher(valkey.url) as publisher:
        expected = [await publish(publisher, "1", 1)]
        process = start(*command)
        await eventually(lambda: states(folder) == expected)
        write_token(token, 3.0)
        # The gateway closes the stream when the first token expires, and takes the second one.
        await eventually(lambda: len(gaps(folder)) == 1)
        expected.append(await publish(publisher, "1", 2))
        await eventually(lambda: states(folder) == expected)
    _, said = await asyncio.to_thread(process.communicate, timeout=40)
    assert process.returncode == 1
    assert "token expired" in said  # a thread may write the log's last line after it
    assert states(folder) == expected
    assert "eyJ" not in said


@pytest.mark.thorough
async def test_progress_is_a_live_line_on_a_terminal(
    tmp_path: Path,
    valkey: EmbeddedValkey,
    register: Callable[..., None],
    serve: Callable[..., str],
    env: dict[str, str],
) -> None:
    register(("1", "A"))
    async with Publisher(valkey.url) as publisher:
        await publish(publisher, "1", 1)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own command
        [sys.executable, "-m", "ime_live", "record", tmp_path, "A", "--url", f"ws://{serve()}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=env,
    )
    os.close(theirs)
    said = b""
    deadline = time.monotonic() + 30
    while b"1 states of 1 contracts" not in said and time.monotonic() < deadline:
        said += await asyncio.to_thread(os.read, ours, 4096)
    process.terminate()
    with suppress(OSError):  # a terminal without its other side
        while more := await asyncio.to_thread(os.read, ours, 4096):
            said += more
    assert process.wait(20) == 0
    os.close(ours)
    assert b"\x1b[2K1 states of 1 contracts" in said
    assert b"\x1b[2K\rrecorded 1 new state in " in said


def test_progress_line_shows_a_missing_connection() -> None:
    progress: dict[str, object] = {
        "states": 1234,
        "contracts": 2,
        "kilobytes": 5,
        "newest": None,
        "connected": False,
    }
    assert line_of(progress) == "1,234 states of 2 contracts, 5 kB, no state yet, not connected"
    progress |= {"newest": "2026-05-23T15:10:00", "connected": True}
    assert line_of(progress) == "1,234 states of 2 contracts, 5 kB, newest 2026-05-23T15:10:00"
