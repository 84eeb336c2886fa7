"""`ime-live tail`: reviews of messages on the channels of contracts."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from ime_live.local.embedded import EmbeddedValkey
from tests.cli.conftest import line_of
from tests.support.servers import until

Database = Any  # a client of redis-py, whose commands are loosely typed
Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
MakePayload = Callable[..., dict[str, Any]]

VERSION = 1_700_000_000_000_000


def listened(database: Database, channel: str) -> None:
    """Wait until somebody listens to a channel."""
    until(lambda: database.pubsub_numsub(channel)[0][1])


def test_tail_reviews_messages_of_several_contracts(
    start: Start, database: Database, register: Callable[..., None], payload: MakePayload
) -> None:
    register(("12345", "ContractA"))
    process = start("tail", "ContractA", "777", "--count", "6")
    listened(database, "ime:live:{12345}")
    text = json.dumps({"version": VERSION, "data": payload()})
    state = {"version": VERSION, "data": json.dumps(payload())}
    database.hset("ime:last:{12345}", mapping=state)
    database.publish("ime:live:{12345}", text)
    database.publish("ime:live:{12345}", text)
    database.publish("ime:live:12345", text)
    database.publish("ime:live:{ContractA}", text)
    database.publish("ime:live:{777}", text)
    database.publish("ime:live:{12345}", '{"data": {}}')
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "ContractA is a name; the channel is that of its id: ime:live:{12345}" in err
    assert "777 is not a registered contract" in err
    assert out.count(": ok") == 2
    assert out.count(": dropped") == 4
    assert "is equal to the last one" in out
    assert "it was published to ime:live:12345, without the braces" in out
    assert "it was published to ime:live:{ContractA}, that of its name" in out
    assert "no last state is stored in ime:last:{777}" in out
    assert "data must be complete" in out
    assert "\x1b" not in out


def test_tail_names_states_that_are_not_stored(
    start: Start, database: Database, register: Callable[..., None], payload: MakePayload
) -> None:
    register(("1", "A"))
    process = start("tail", "1", "--json", "--count", "2")
    listened(database, "ime:live:{1}")
    text = json.dumps({"version": VERSION, "data": payload()})
    database.publish("ime:live:{1}", text)
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert (first["accepted"], first["version"], first["contractName"]) == (True, VERSION, "A")
    assert "no last state is stored in ime:last:{1}" in first["notes"][0]
    database.hset("ime:last:{1}", mapping={"version": VERSION, "data": json.dumps(payload())})
    other = payload(Aggregate={"last_price": 5})
    database.publish("ime:live:{1}", json.dumps({"version": VERSION + 1, "data": other}))
    second = json.loads(process.stdout.readline())
    assert f"has version {VERSION}, which is older" in second["notes"][0]
    assert process.wait(30) == 0


def test_tail_goes_on_over_an_outage(
    start: Start, own_valkey: EmbeddedValkey, payload: MakePayload
) -> None:
    import redis

    process = start("tail", "1", "--redis-url", own_valkey.url)
    assert process.stderr is not None
    line_of(process.stderr, "connected to Redis")
    own_valkey.stop()
    line_of(process.stderr, "waiting until Redis answers")
    own_valkey.start()
    line_of(process.stderr, "connected to Redis")
    with redis.Redis.from_url(own_valkey.url) as client:
        client.publish("ime:live:{1}", json.dumps({"version": VERSION, "data": payload()}))
    assert process.stdout is not None
    line_of(process.stdout, ": ok")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 128 + signal.SIGINT


@pytest.mark.parametrize(
    ("arguments", "error", "status"),
    [
        (("1", "--count", "-1"), "--count must be 0 or more, got -1", 2),
        ((" ",), "an id must not be empty, got ' '", 2),
        (("1", "--redis-url", "redis://127.0.0.1:1"), "refused the connection", 1),
    ],
)
def test_tail_refuses_wrong_use(
    ime_live: Run, arguments: tuple[str, ...], error: str, status: int
) -> None:
    done = ime_live("tail", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert error in done.stderr
