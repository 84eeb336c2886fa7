"""`ime-live publish`: good and bad lines, from a file and from a pipe, also without Redis."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis as redis_sync
from redis.exceptions import RedisError

from ime_live.local.embedded import EmbeddedValkey
from tests.support.marks import thorough
from tests.support.nesting import NESTED, TOO_DEEP
from tests.support.servers import Server, free_port, until

Database = Any  # a client of redis-py, whose commands are loosely typed
Run = Callable[..., subprocess.CompletedProcess[str]]
MakePayload = Callable[..., dict[str, Any]]
Line = Callable[..., str]


@pytest.fixture
def line(payload: MakePayload) -> Line:
    """A line to publish: ``line(7, contractId="1")`` with 7 as the last price."""

    def make(last_price: object = 5, **keys: object) -> str:
        return json.dumps({**keys, "data": payload(Aggregate={"last_price": last_price})}) + "\n"

    return make


@pytest.fixture(autouse=True)
def _contracts(register: Callable[..., None]) -> None:
    register(("12345", "ContractA"), ("67890", "ContractB"), ("7", "سکه0312پ01"))


def last_price(database: Database, contract_id: str) -> object:
    data = database.hget(f"ime:last:{{{contract_id}}}", "data")
    return None if data is None else json.loads(data)["Aggregate"]["last_price"]


def test_publish_takes_ids_and_names(ime_live: Run, database: Database, line: Line) -> None:
    lines = [
        line(1, contractId="12345"),
        line(2, contractId=67890),
        line(3, contractName="سكه۰۳۱۲پ٠۱"),  # another spelling of the same name
        line(1, contractId="12345"),
        line(4, contractName="ContractA", contractId=12345),
    ]
    done = ime_live("publish", "-", stdin="".join(lines))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "4 published, 1 unchanged, 0 bad lines\n"
    assert [last_price(database, i) for i in ("12345", "67890", "7")] == [4, 2, 3]


def test_equal_numbers_are_unchanged_however_they_are_written(ime_live: Run, line: Line) -> None:
    lines = [line(value, contractId="12345") for value in (10**16, 1e16, 10**16, 5, 5.0)]
    done = ime_live("publish", "-", stdin="".join(lines))
    assert done.stderr == "2 published, 3 unchanged, 0 bad lines\n"


def test_state_that_is_too_long_is_a_bad_line(
    ime_live: Run, database: Database, payload: MakePayload
) -> None:
    data = payload(Aggregate={"date": "x" * 70_000})
    done = ime_live("publish", "-", stdin=json.dumps({"contractId": "12345", "data": data}))
    assert done.returncode == 1
    assert "line 1: market data must be at most 65536 bytes of JSON, got 70" in done.stderr
    assert last_price(database, "12345") is None


def test_publish_skips_and_reports_bad_lines(
    ime_live: Run, database: Database, line: Line, tmp_path: Path
) -> None:
    good = line(9, contractId="67890")
    lines = [
        "nonsense\n",
        "[]\n",
        "\n",
        line(1),
        line(1, contractId=True),
        line(1, contractId="99"),
        line(1, contractId="ContractB"),
        line(1, contractName="Nobody"),
        line(1, contractId="12345", contractName="ContractB"),
        line("1", contractId="12345"),
        '{"contractId": "12345", "data": {}}\n',
        '{"contractId": "12345"}\n',
        '{"x": ' + NESTED + "\n",
        good.replace("\n", "\r\n"),
    ]
    content = "".join(lines).encode() + b"\xff\xfe\n" + good.encode().replace(b"2026", b"\xff026")
    (tmp_path / "data.ndjson").write_bytes(b"\xef\xbb\xbf" + content)
    done = ime_live("publish", "data.ndjson")
    assert done.returncode == 1
    assert done.stdout == ""
    malformed = "JSON is malformed: invalid character"
    named = "ContractB is the name of contract 67890; give it as contractName, or give the id"
    assert re.sub(TOO_DEEP, "too deep", done.stderr).splitlines() == [
        f"data.ndjson, line 1: {malformed} (byte 4)",
        "data.ndjson, line 2: Expected `object`, got `array`",
        "data.ndjson, line 4: contractId or contractName must be given, got neither",
        "data.ndjson, line 5: Expected `int | str | null`, got `bool` - at `$.contractId`",
        "data.ndjson, line 6: unknown contract: 99",
        f"data.ndjson, line 7: unknown contract: {named}",
        "data.ndjson, line 8: unknown contract: Nobody",
        "data.ndjson, line 9: ContractB is contract 67890, not 12345",
        "data.ndjson, line 10: Expected `int | float`, got `str` - at `$.Aggregate.last_price`",
        "data.ndjson, line 11: Object missing required field `BestLimit`",
        "data.ndjson, line 12: Object missing required field `data`",
        "data.ndjson, line 13: too deep while deserializing an object",
        f"data.ndjson, line 15: {malformed} (byte 0)",
        "data.ndjson, line 16: not UTF-8",
        "1 published, 0 unchanged, 14 bad lines",
    ]
    assert last_price(database, "12345") is None
    assert last_price(database, "67890") == 9


def test_publish_skips_a_too_long_line(ime_live: Run, database: Database, line: Line) -> None:
    long = json.dumps({"contractId": "1" * 10_000_000}) + "\n"
    done = ime_live("publish", "-", stdin=long + line(3, contractId="12345").rstrip("\n"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "standard input, line 1: a line must be at most 1048576 bytes long, got more",
        "1 published, 0 unchanged, 1 bad line",
    ]
    assert last_price(database, "12345") == 3


def test_publish_sends_each_line_when_it_arrives(
    start: Callable[..., subprocess.Popen[str]],
    register: Callable[..., None],
    valkey: EmbeddedValkey,
    line: Line,
) -> None:
    """The pipe stays open all the while; a contract may be registered meanwhile."""
    with redis_sync.Redis.from_url(valkey.url) as client, client.pubsub() as updates:
        updates.subscribe("ime:live:{12345}", "ime:live:{new}")
        for _ in range(2):
            assert updates.get_message(timeout=5) is not None  # the confirmations
        process = start("publish", "-")
        assert process.stdin is not None
        assert process.stderr is not None
        for price in (1, 2):
            process.stdin.write(line(price, contractId="12345"))
            process.stdin.flush()
            message = updates.get_message(timeout=10)
            assert message is not None
            assert json.loads(message["data"])["data"]["Aggregate"]["last_price"] == price
        register(("new", "New"))
        # It looks for unknown contracts at most once per second.
        message = None
        while message is None:
            process.stdin.write(line(3, contractName="New"))
            process.stdin.flush()
            message = updates.get_message(timeout=0.2)
        assert message["channel"] == b"ime:live:{new}"
        process.send_signal(signal.SIGINT)  # while it waits for more
        assert process.wait(timeout=10) == 130
        assert "Traceback" not in (said := process.stderr.read())
        # We saw the third one published; the interrupt may come before its answer does.
        assert said.splitlines()[-1].startswith(("2 published, ", "3 published, "))


@pytest.mark.parametrize(
    ("source", "reason"),
    [("nothing", "no such file or directory"), (".", "is a directory")],
)
def test_publish_of_an_unreadable_file_is_one_line(ime_live: Run, source: str, reason: str) -> None:
    done = ime_live("publish", source)
    assert done.returncode == 2
    assert done.stderr == f"ime-live: {source} cannot be read: {reason}\n"


def test_file_does_not_wait_for_redis(ime_live: Run, line: Line, tmp_path: Path) -> None:
    url = "redis://user:geheim@127.0.0.1:1"
    (tmp_path / "data.ndjson").write_text(line(1, contractId="1"))
    done = ime_live("publish", "data.ndjson", IME_LIVE_REDIS_URL=url)
    assert done.returncode == 1
    assert done.stderr == "ime-live: Redis at 127.0.0.1:1 refused the connection\n"


def registered(valkey: EmbeddedValkey) -> None:
    with redis_sync.Redis.from_url(valkey.url) as client:
        client.hset("ime:contracts", "1", json.dumps({"contractId": "1", "contractName": "A"}))


def stored_price(valkey: EmbeddedValkey) -> float | None:
    with redis_sync.Redis.from_url(valkey.url) as client:
        return last_price(client, "1")  # type: ignore[return-value] # any JSON


def test_standard_input_waits_for_redis(
    start: Callable[..., subprocess.Popen[str]], own_valkey: EmbeddedValkey, line: Line
) -> None:
    """It waits at the start and after an outage, and loses no line."""
    own_valkey.stop()
    process = start("publish", "-", "--redis-url", own_valkey.url)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(line(1, contractId="1"))
    process.stdin.flush()
    away = process.stderr.readline()
    assert away.startswith("Redis at 127.0.0.1:")
    assert away.endswith(" refused the connection; waiting until Redis answers\n")
    own_valkey.start()
    registered(own_valkey)
    assert process.stderr.readline() == "Redis is back\n"
    deadline = time.monotonic() + 20
    while stored_price(own_valkey) != 1:
        assert time.monotonic() < deadline
        registered(own_valkey)
        process.stdin.write(line(1, contractId="1"))
        process.stdin.flush()
        time.sleep(0.3)

    own_valkey.stop()
    process.stdin.write(line(2, contractId="1"))
    process.stdin.flush()
    while not process.stderr.readline().endswith("; waiting until Redis answers\n"):
        assert time.monotonic() < deadline
    own_valkey.start()
    registered(own_valkey)
    process.stdin.write(line(3, contractId="1"))
    process.stdin.close()
    said = process.stderr.read()
    process.wait(timeout=20)
    assert said.startswith("Redis is back\n")
    assert stored_price(own_valkey) == 3


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_waiting_for_redis_can_be_interrupted(
    start: Callable[..., subprocess.Popen[str]], number: signal.Signals, status: int
) -> None:
    process = start("publish", "-", "--redis-url", "redis://127.0.0.1:1")
    assert process.stderr is not None
    assert process.stderr.readline().endswith("; waiting until Redis answers\n")
    process.send_signal(number)
    assert process.wait(timeout=10) == status
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    "command",
    [["publish", "-"], *map(thorough, (["contracts", "import", "-"], ["token", "inspect", "-"]))],
)
def test_closed_standard_input_is_one_line(env: dict[str, str], command: list[str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own command
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "ime_live", *command],
        capture_output=True,
        env=env,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == b"ime-live: standard input cannot be read: it is closed\n"


def full(server: Server) -> None:
    server.client.config_set("maxmemory", 1)


def without_replicas(server: Server) -> None:
    server.client.config_set("min-replicas-to-write", 1)


def unsaved(server: Server) -> None:
    server.client.config_set("dir", "/proc")  # a folder in which it cannot save
    server.client.config_set("save", "3600 1")
    with suppress(RedisError):
        server.client.bgsave()
    until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "err")


def forbidden(server: Server) -> None:
    # The commands of the start are allowed.
    keys = ("~ime:contracts", "~ime:last:{}")
    server.client.execute_command("ACL", "SETUSER", "default", "resetkeys", *keys)


@pytest.mark.parametrize(
    ("refusing", "reason"),
    [
        (full, "used memory > 'maxmemory'"),
        thorough(without_replicas, "NOREPLICAS"),
        thorough(unsaved, "MISCONF"),
        (forbidden, "permission"),
    ],
)
@pytest.mark.parametrize("piped", [False, thorough(True)])
def test_lines_refused_by_redis_are_reported_once_and_counted(
    ime_live: Run,
    line: Line,
    tmp_path: Path,
    refusing: Callable[[Server], None],
    reason: str,
    piped: bool,
) -> None:
    text = "".join(line(n, contractId=str(n)) for n in range(700)) + "no JSON\n"
    (tmp_path / "lines").write_text(text)
    options = ("--save", "", "--enable-protected-configs", "yes")
    with Server(tmp_path / "server", *options) as server:
        for n in range(700):
            record = json.dumps({"contractId": str(n), "contractName": f"C{n}"})
            server.client.hset("ime:contracts", str(n), record)
        refusing(server)
        command = ("publish", "-" if piped else "lines", "--redis-url", server.url)
        done = ime_live(*command, stdin=text if piped else "")
    assert done.returncode == 1
    first, bad, end = done.stderr.splitlines()
    source = "standard input" if piped else "lines"
    assert first.startswith(f"{source}, line 1: Redis at ")
    assert "refused a command" in first
    assert reason in first
    assert bad.startswith(f"{source}, line 701: ")
    assert end == (
        "0 published, 0 unchanged, 1 bad line, 700 lines refused by Redis (publish them again)"
    )


def test_file_ends_with_one_line_at_a_replica(ime_live: Run, line: Line, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("".join(line(n, contractId="1") for n in range(700)))
    with Server(tmp_path / "server", "--save", "") as server:
        record = json.dumps({"contractId": "1", "contractName": "A"})
        server.client.hset("ime:contracts", "1", record)
        server.client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
        done = ime_live("publish", "lines", "--redis-url", server.url)
    assert done.returncode == 1
    counts, error = done.stderr.splitlines()
    assert counts == "0 published, 0 unchanged, 0 bad lines"
    assert error.endswith("the server is a replica that cannot be written")
