"""Output that nobody reads: a command does its work nevertheless."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis as redis_sync

from ime_live.local.embedded import EmbeddedValkey
from tests.cli.test_feed import frame
from tests.support.fork_server import ForkedProcess
from tests.support.marks import thorough
from tests.support.servers import Server, until

Database = Any  # a client of redis-py, whose commands are loosely typed


@pytest.fixture(params=["its reader has gone", "the disk is full"])
def broken(request: pytest.FixtureRequest) -> Iterator[int]:
    """An open file that cannot be written."""
    if request.param == "the disk is full":
        file = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, file = os.pipe()
        os.close(reader)
    yield file
    os.close(file)


def run(arguments: list[str], given: bytes, stderr: int, env: dict[str, str]) -> int:
    """Run a command to its end; its exit status."""
    with ForkedProcess[bytes](
        "ime_live", arguments, stdin=subprocess.PIPE, stderr=stderr, env=env
    ) as process:
        try:
            process.communicate(given, timeout=60)
        finally:
            process.kill()
    return process.returncode


def test_publishing_goes_on_when_bad_lines_cannot_be_reported(
    broken: int,
    env: dict[str, str],
    database: Database,
    register: Callable[..., None],
    payload: Callable[..., dict[str, Any]],
) -> None:
    register(("1", "ContractA"))
    last = 0
    lines = []
    for last in range(1, 4):
        state = {"contractId": "1", "data": payload(Aggregate={"trade_count": last})}
        lines += [b"not JSON", msgspec.json.encode(state)]
    assert run(["publish", "-"], b"\n".join(lines), broken, env) == 1  # for the bad lines
    kept = msgspec.json.decode(database.hget("ime:last:{1}", "data"))
    assert kept["Aggregate"]["trade_count"] == last


def test_publishing_survives_an_outage_that_cannot_be_reported(
    broken: int, env: dict[str, str], tmp_path: Path, payload: Callable[..., dict[str, Any]]
) -> None:
    with _publishing(broken, env, tmp_path, payload) as (server, send):
        server.kill()
        send(b"", 2)
        server.start()
        until(lambda: _trades_in(server) == 2)


def test_publishing_continues_when_reports_of_bad_lines_are_not_read(
    env: dict[str, str], tmp_path: Path, payload: Callable[..., dict[str, Any]]
) -> None:
    reader, unread = os.pipe()
    try:
        with _publishing(unread, env, tmp_path, payload) as (server, send):
            send(b"not JSON\n" * 3_000, 2)  # more than a pipe holds
            until(lambda: _trades_in(server) == 2)
    finally:
        os.close(reader)
        os.close(unread)


@contextmanager
def _publishing(
    stderr: int, env: dict[str, str], folder: Path, payload: Callable[..., dict[str, Any]]
) -> Iterator[tuple[Server, Callable[[bytes, int], None]]]:
    """A server, and what sends lines and a state of so many trades to a publisher that runs."""
    with Server(folder / "server", "--save", "") as server:
        process = ForkedProcess[bytes](
            "ime_live",
            ["publish", "-", "--redis-url", server.url],
            stdin=subprocess.PIPE,
            stderr=stderr,
            env=env,
        )
        assert process.stdin is not None
        given = process.stdin

        def send(lines: bytes, trades: int) -> None:
            state = {"contractId": "1", "data": payload(Aggregate={"trade_count": trades})}
            given.write(lines + msgspec.json.encode(state) + b"\n")
            given.flush()

        try:
            server.client.hset("ime:contracts", "1", '{"contractId":"1","contractName":"A"}')
            send(b"", 1)
            until(lambda: _trades_in(server) == 1)
            yield server, send
        finally:
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                given.close()


def _trades_in(server: Server) -> int:
    kept = server.client.hget("ime:last:{1}", "data")
    return int(msgspec.json.decode(kept)["Aggregate"]["trade_count"]) if kept else 0


def test_replay_goes_on_when_bad_frames_cannot_be_reported(
    broken: int, env: dict[str, str], database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "frames.ndjson"
    file.write_text("not a frame\n" + frame(1, "13:20:11") + "not a frame\n" + frame(2, "13:20:12"))
    arguments = ["feed", "replay", str(file), "--speed", "0"]
    assert run(arguments, b"", broken, env) == 1  # for the bad frames, and not 120
    kept = msgspec.json.decode(database.hget("ime:last:{901}", "data"))
    assert kept["Aggregate"]["last_price"] == 2


def test_contracts_are_imported_when_the_report_cannot_be_written(
    broken: int, env: dict[str, str], database: Database
) -> None:
    record = b'{"contractId": "1", "contractName": "ContractA", "unknown": 1}'
    assert run(["contracts", "import", "-"], record, broken, env) == 0
    assert database.hexists("ime:contracts", "1")


def test_command_does_its_work_when_it_cannot_warn_of_a_variable(
    broken: int, env: dict[str, str], database: Database
) -> None:
    env["IME_LIVE_REDIS_ULR"] = "redis://127.0.0.1:1"
    record = b'{"contractId": "1", "contractName": "ContractA"}'
    assert run(["contracts", "import", "-"], record, broken, env) == 0
    assert database.hexists("ime:contracts", "1")


def test_publishing_waits_for_redis_when_it_cannot_say_so(
    broken: int, own_valkey: EmbeddedValkey, env: dict[str, str], payload: Callable[..., Any]
) -> None:
    own_valkey.stop()
    with ForkedProcess[bytes](
        "ime_live",
        ["publish", "-"],
        stdin=subprocess.PIPE,
        stderr=broken,
        env=env | {"IME_LIVE_REDIS_URL": own_valkey.url},
    ) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        own_valkey.start()
        with redis_sync.Redis.from_url(own_valkey.url) as client:
            client.hset("ime:contracts", "1", '{"contractId": "1", "contractName": "A"}')
            line = msgspec.json.encode({"contractId": "1", "data": payload()})
            process.communicate(line, timeout=30)
            assert process.returncode == 0
            assert client.exists("ime:last:{1}")


@pytest.mark.parametrize("arguments", [*map(thorough, (("list",), ("show", "1"))), ("remove", "1")])
def test_command_that_is_started_without_output_does_its_work(
    arguments: tuple[str, ...],
    env: dict[str, str],
    database: Database,
    register: Callable[..., None],
) -> None:
    register(("1", "ContractA"))
    done = subprocess.run(  # noqa: S603 - our own command
        [
            *("/bin/sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "ime_live"),
            *("contracts", *arguments),
        ],
        stderr=subprocess.PIPE,
        env=env,
        timeout=30,
        check=False,
    )
    removed = arguments[0] == "remove"
    assert (done.returncode, done.stderr) == (0, b"removed 1 ContractA\n" if removed else b"")
    assert database.hexists("ime:contracts", "1") is not removed


def test_wrong_settings_have_their_own_status_also_when_they_cannot_be_named(
    broken: int, env: dict[str, str]
) -> None:
    # Supervisors depend on the status.
    assert run(["serve", "--auth", "jwt"], b"", broken, env) == 2


def test_log_lines_are_no_part_of_the_output(
    env: dict[str, str], database: Database, register: Callable[..., None]
) -> None:
    register(("1", "ContractA"))
    database.hset("ime:contracts", "2", "not JSON")
    done = subprocess.run(
        [sys.executable, "-m", "ime_live", "contracts", "list"],
        capture_output=True,
        env=env,
        timeout=30,
        check=False,
    )
    assert [msgspec.json.decode(line)["contractId"] for line in done.stdout.splitlines()] == ["1"]
    assert b"contract cannot be read contract_id=2" in done.stderr
