"""The JSON Schemas that ship with the package, and the examples in docs/redis.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import redis as redis_sync
from jsonschema_rs import Draft7Validator
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ime_live.contracts import read_contract
from ime_live.errors import ContractError, PayloadError
from ime_live.feeds.synthetic.instruments import INSTRUMENTS
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market_json import read_payload, read_publication
from tests.support.fork_server import ForkedProcess
from tests.support.paths import ROOT
from tests.support.rows import each_row
from tests.test_documents import Block, blocks_of

MakePayload = Callable[..., dict[str, Any]]
NOW = 1_780_000_000_000_000
PATIENCE = 40.0


def schema(name: str) -> Draft7Validator:
    text = (files("ime_live") / "schemas" / f"{name}.json").read_text("utf-8")
    return Draft7Validator(json.loads(text))


CONTRACT, UPDATE = schema("contract"), schema("update")
A = {"contractId": "12345", "contractName": "ContractA"}


def test_contracts_of_the_demo_follow_the_schema() -> None:
    for instrument in INSTRUMENTS:
        record = instrument.contract.to_json()
        assert CONTRACT.is_valid(json.loads(record)), record


@each_row(
    "record",
    [
        A,
        A | {"market": None, "title": None, "strikePrice": 1.5, "canBuy": False},
        A | {"aliases": ["B"], "ExpirationDate": "2026-12-01", "optionType": "put"},
        A | {"somebody else's": 1},
        {},
        {"contractId": "1"},
        A | {"contractId": 12345},
        A | {"contractName": " "},
        A | {"market": 1},
        A | {"aliases": None},
        A | {"aliases": [1]},
        A | {"strikePrice": "5"},
        A | {"canBuy": 1},
        A | {"expired": None},
        [A],
    ],
)
def test_schema_of_a_contract_accepts_readable_contracts(record: Any) -> None:  # noqa: ANN401 - any JSON
    try:
        read_contract(json.dumps(record))
    except ContractError:
        good = False
    else:
        good = True
    assert CONTRACT.is_valid(record) is good


def test_schema_of_a_contract_names_the_markets_of_this_version() -> None:
    # A market of a newer version is read as none; a program must not write it.
    assert not CONTRACT.is_valid(A | {"market": "IME"})
    assert read_contract(json.dumps(A | {"market": "IME"})).market is None


@pytest.mark.parametrize(
    "record",
    [A | {"ExpirationDate": "1405/05/03"}, A | {"optionType": "Call"}],
)
def test_schema_of_a_contract_refuses_like_the_import(record: dict[str, Any]) -> None:
    assert not CONTRACT.is_valid(record)


@each_row(
    "change",
    [
        {},
        {"version": NOW},
        {"version": None},
        {"somebody else's": 1},
        {"version": 0},
        {"version": "1780000000000000"},
        {"version": 1.5},
        {"data": None},
        {"data": {}},
        {"data": {"Aggregate": {"last_price": "5"}}},
        {"data": {"Aggregate": {"date": 5}}},
        {"data": {"BestLimit": {"1": None}}},
        {"data": {"BestLimit": {"4": 5}}},
        {"data": {"ContractInfo": {"open_interest": True}}},
        {"data": {"ContractInfo": {"open_interest": 1.5}}},
    ],
)
def test_schema_of_an_update_accepts_readable_updates(
    payload: MakePayload, change: dict[str, Any]
) -> None:
    data = change.get("data", {})
    message = change | {"data": payload(**data) if data else change.get("data", payload())}
    try:
        read_publication(json.dumps(message).encode(), NOW)
    except PayloadError:
        good = False
    else:
        good = True
    assert UPDATE.is_valid(message) is good


# A substitute for valkey-cli, which is not in the embedded server's wheel. It imports no client
# of Redis, which takes 0.3 s for each command of the example.
VALKEY_CLI = """
import os, socket, sys
words = [os.fsencode(word) for word in sys.argv[1:]]
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(os.environ["VALKEY_URL"].removeprefix("unix://"))
    connection.sendall(b"*%d\\r\\n" % len(words))
    for word in words:
        connection.sendall(b"$%d\\r\\n%s\\r\\n" % (len(word), word))
    reply = connection.recv(65_536)
sys.exit(reply.decode() if reply.startswith(b"-") or not reply else None)
"""


EXAMPLES = [
    (word, block)
    for word, block in blocks_of(ROOT / "docs" / "redis.md")
    if word in {"bash", "python", "js"}
]


def command_of(word: str, program: str, folder: Path) -> list[str]:
    """The command that runs an example; the test is skipped without the program for it."""
    if word == "bash":
        command = folder / "valkey-cli"
        command.write_text(f"#!{sys.executable} -SI\n{VALKEY_CLI}")
        command.chmod(0o700)
        return ["/bin/sh", "-e", "-c", program]
    if word == "python":
        return [sys.executable, "-c", program]
    node, package = shutil.which("node"), node_package("redis")
    if node is None or package is None:
        reason = "node or its package redis is not in NODE_PATH, so its publisher is not run"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        print(reason)
        pytest.skip(reason)
    # This client takes the path of a socket apart from addresses.
    program = re.sub(r'url: "unix://([^"]+)"', r'socket: {path: "\1"}', program)
    # A module finds packages beside itself only.
    (folder / "node_modules").symlink_to(package.parent)
    (folder / "publish.mjs").write_text(program, encoding="utf-8")
    return [node, str(folder / "publish.mjs")]


def node_package(name: str) -> Path | None:
    """The folder of a package of Node, from NODE_PATH."""
    folders = [Path(each) for each in os.environ.get("NODE_PATH", "").split(os.pathsep) if each]
    return next((each / name for each in folders if (each / name).is_dir()), None)


def test_publisher_is_shown_in_three_languages() -> None:
    assert [word for word, _ in EXAMPLES] == ["bash", "python", "js"]


@pytest.mark.parametrize(("word", "block"), EXAMPLES, ids=[word for word, _ in EXAMPLES])
def test_example_of_a_publisher_reaches_a_client(
    word: str, block: Block, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    program = block.text.replace("redis://127.0.0.1:6379", valkey.url)
    command = command_of(word, program, tmp_path)
    gateway = ForkedProcess[str](
        "ime_live",
        [
            *("serve", "--auth", "none", "--port", "0"),
            *("--shutdown-spread", "0", "--redis-url", valkey.url),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with gateway, ExitStack() as stack:
        stack.callback(gateway.kill)
        assert gateway.stderr is not None
        port = next(
            found[1]
            for line in gateway.stderr
            if (found := re.search(r"listening.*port=(\d+)", line))
        )
        next(line for line in gateway.stderr if "contracts loaded" in line)
        url = f"ws://127.0.0.1:{port}/live/data/websocket/contract/name?contract_names=ContractA"
        streamed = []
        for _ in range(2):  # it may be pasted again
            done = subprocess.run(  # noqa: S603 - our own example
                command,
                env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "VALKEY_URL": valkey.url},
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, ""), done
            streamed.append(first_message(url + "&snapshot=true"))
    with redis_sync.Redis.from_url(valkey.url, decode_responses=True) as client:
        [record] = client.hvals("ime:contracts")
        state: Any = client.hgetall("ime:last:{12345}")
    assert CONTRACT.is_valid(json.loads(record))
    data = json.loads(state["data"])
    assert UPDATE.is_valid({"version": int(state["version"]), "data": data})
    read_payload(data)  # strictly: no key is misspelt
    for message in streamed:
        assert message["data"] == data
    assert streamed[0]["timestamp"] < streamed[1]["timestamp"]


def first_message(url: str) -> dict[str, Any]:
    """The first message of a stream; the gateway may hear of the contract only in a moment."""
    while True:
        with connect(url) as client, suppress(ConnectionClosed):
            message: dict[str, Any] = json.loads(client.recv(timeout=PATIENCE))
            return message
