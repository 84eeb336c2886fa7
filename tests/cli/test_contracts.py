from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ime_live.cli.contracts import read_contracts
from ime_live.errors import ContractError, SettingsError

Database = Any  # a client of redis-py, whose commands are loosely typed
Run = Callable[..., subprocess.CompletedProcess[str]]

A = {"contractId": "12345", "contractName": "ContractA"}
B = {"contractId": "67890", "contractName": "ContractB", "market": "IMEFutures", "title": "[b]ب"}


def stored(database: Database) -> dict[str, Any]:
    return {k: json.loads(v) for k, v in database.hgetall("ime:contracts").items()}


def lines(*contracts: dict[str, Any]) -> str:
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in contracts)


def test_imports(ime_live: Run, database: Database) -> None:
    done = ime_live("contracts", "import", "-", stdin=lines(A, B))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "2 added, 0 changed, 0 unchanged\n"
    assert stored(database) == {"12345": A, "67890": B}


@pytest.mark.parametrize(
    "text",
    [
        lines(A, B).replace("\n", "\r\n\r\n"),
        json.dumps([A, B], indent=2),
        "\ufeff" + json.dumps([{**A, "contractId": 12345}, {**B, "contractId": 67890}]),
        # As the REST calls answer: null for what is not known, and what depends on the day.
        lines(A, {**B, "strikePrice": None, "aliases": None, "DaysToExpiration": 3}),
    ],
    ids=["CRLF", "array", "numbers", "REST"],
)
def test_reads(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.json").write_text(text, newline="")
    contracts = read_contracts(str(tmp_path / "c.json"))
    assert [json.loads(each.to_json()) for each in contracts] == [A, B]
    assert capsys.readouterr().err == ""


def test_imports_again(ime_live: Run, database: Database, tmp_path: Path) -> None:
    store(database, A, B)
    renamed = {**A, "contractName": "ContractZ", "titel": "x"}
    (tmp_path / "b.json").write_text(json.dumps(renamed, indent=2))  # one, over several lines
    done = ime_live("contracts", "import", "b.json")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "b.json: no such fields, left out: titel",
        "0 added, 1 changed, 0 unchanged",
    ]
    assert stored(database)["12345"] == {
        "contractId": "12345",
        "contractName": "ContractZ",
        "aliases": ["ContractA"],
    }


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (lines(B, {**A, "contractName": "ContractB"}), "contracts 12345 and 67890 have one name"),
        (lines(B, {**A, "contractId": "1"}), "contracts 12345 and 1 have one name: ContractA"),
        (lines(B, {**B, "contractId": " "}), "standard input, line 2: contractId is empty"),
        ("[{]", "standard input: JSON is malformed: "),
    ],
    ids=["one name", "a name of another", "no id", "no JSON"],
)
def test_imports_all_or_nothing(
    ime_live: Run, database: Database, register: Callable[..., None], text: str, error: str
) -> None:
    register(("12345", "ContractA"))
    done = ime_live("contracts", "import", "-", stdin=text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ime-live: ")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1
    assert stored(database) == {"12345": A}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (lines(B, {**B, "contractName": ""}), "c.json, line 2: contractName of contract 67890 is"),
        (json.dumps([B, {"contractId": 1}]), "item 2: Object missing required field `contractNa"),
        (lines(B, {**A, "contractId": 1.5}), "line 2: Expected `str`, got `float` - at `$.contrac"),
        (lines(B, {**A, "contractId": True}), "line 2: Expected `str`, got `bool` - at `$.contra"),
        (lines(B, {**A, "market": "X"}), "line 2: Invalid enum value 'X' - at `$.market`"),
        (lines(B, {**A, "strikePrice": "9"}), "got `str` - at `$.strikePrice`"),
        (lines(B) + "\n{\n", "c.json, line 3: Input data was truncated"),
        ("\udcff", "c.json, line 1: JSON is malformed"),
        (lines(B) + '{"contractId": "1", "contractName": "\udcff"}', "json, line 2: not UTF-8"),
        ("\n", "c.json is empty"),
        ("[" * 100_000 + "]" * 100_000, "c.json: maximum recursion depth exceeded"),
        ('{"x":' + "[" * 100_000, "c.json, line 1: maximum recursion depth exceeded"),
    ],
)
def test_refuses(text: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ContractError, match=re.escape(error)):
        read_contracts(str(tmp_path / "c.json"))


def test_a_file_that_cannot_be_read(ime_live: Run) -> None:
    done = ime_live("contracts", "import", "nothing")
    assert (done.returncode, done.stderr) == (2, "ime-live: nothing: no such file or directory\n")
    with pytest.raises(SettingsError, match="is a directory"):
        read_contracts(".")


def store(database: Database, *contracts: dict[str, Any]) -> None:
    for each in contracts:
        database.hset("ime:contracts", each["contractId"], json.dumps(each))


def test_lists_and_shows_what_can_be_imported(ime_live: Run, database: Database) -> None:
    store(database, B, A)
    before = stored(database)
    listed = ime_live("contracts", "list", FORCE_COLOR="1")
    assert listed.stdout == "".join(
        json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in (A, B)
    )
    shown = ime_live("contracts", "show", "ContractA", "67890")
    assert shown.stdout == listed.stdout
    done = ime_live("contracts", "import", "-", stdin=listed.stdout)
    assert done.stderr == "0 added, 0 changed, 2 unchanged\n"
    assert stored(database) == before


def on_a_terminal(env: dict[str, str], *arguments: str) -> str:
    """Run a command with a terminal as its output."""
    ours, theirs = pty.openpty()
    subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "ime_live", *arguments],
        stdout=theirs,
        stderr=theirs,
        env=env | {"TERM": "dumb"},
        timeout=30,
        check=True,
    )
    os.write(theirs, b"END")
    said = b""
    while not said.endswith(b"END"):
        said += os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    return said.decode().replace("\r\n", "\n").removesuffix("END")


def test_lists_a_table_on_a_terminal(env: dict[str, str], database: Database) -> None:
    assert on_a_terminal(env, "contracts", "list") == "no contracts are registered\n"
    store(database, B, A)
    rows = [row.split() for row in on_a_terminal(env, "contracts", "list").splitlines()]
    assert rows == [
        ["id", "name", "market", "title"],
        ["12345", "ContractA"],
        ["67890", "ContractB", "IMEFutures", "[b]ب"],
    ]
    assert on_a_terminal(env, "contracts", "show", "12345") == json.dumps(A, indent=2) + "\n"


def test_removes(ime_live: Run, database: Database) -> None:
    store(database, B, A)
    done = ime_live("contracts", "remove", "ContractA", "Nobody")
    assert (done.returncode, done.stderr) == (1, "ime-live: unknown contract: Nobody\n")
    assert len(stored(database)) == 2
    done = ime_live("contracts", "remove", "ContractA", "12345")
    assert (done.returncode, done.stderr) == (0, "removed 12345 ContractA\n")
    assert stored(database) == {"67890": B}


def test_what_is_not_there_cannot_be_shown(ime_live: Run) -> None:
    done = ime_live("contracts", "show", "X")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ime-live: unknown contract: X\n"


def test_a_pipe_that_is_closed(start: Callable[..., Any], register: Callable[..., None]) -> None:
    """As in ``ime-live contracts list | head -1``, with more than a pipe holds."""
    register(*((str(n), f"Contract{n}") for n in range(3000)))
    process = start("contracts", "list")
    assert process.stdout.readline().startswith('{"contractId":')
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(timeout=10) == 1
    assert said == ""
