"""`ime-live contracts`: import, list, show and remove, on a real Valkey."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.contract_files import CSV, A, B, lines

Database = Any  # a client of redis-py, whose commands are loosely typed
Run = Callable[..., subprocess.CompletedProcess[str]]


def stored(database: Database) -> dict[str, Any]:
    return {k: json.loads(v) for k, v in database.hgetall("ime:contracts").items()}


def test_contracts_import_stores_every_contract(ime_live: Run, database: Database) -> None:
    done = ime_live("contracts", "import", "-", stdin=lines(A, B))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "2 added, 0 changed, 0 unchanged\n"
    assert stored(database) == {"12345": A, "67890": B}


def test_second_import_renames_a_contract(
    ime_live: Run, database: Database, tmp_path: Path
) -> None:
    store(database, A, B)
    renamed = {**A, "contractName": "ContractZ", "titel": "x"}
    (tmp_path / "b.json").write_text(json.dumps(renamed, indent=2))  # one, over several lines
    done = ime_live("contracts", "import", "b.json")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "b.json: unknown fields were left out: titel (did you mean title?)",
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
        (
            lines(B, {**A, "contractName": "ContractB"}),
            "contracts 12345 and 67890 must have different names",
        ),
        (lines(B, {**A, "contractId": "1"}), "contracts 12345 and 1 must have different names"),
        (lines(B, {**B, "contractId": " "}), "standard input, line 2: contractId must not be"),
        ("[{]", "standard input: JSON is malformed: "),
    ],
    ids=["one name", "a name of another", "no id", "no JSON"],
)
def test_contracts_import_is_all_or_nothing(
    ime_live: Run, database: Database, register: Callable[..., None], text: str, error: str
) -> None:
    register(("12345", "ContractA"))
    done = ime_live("contracts", "import", "-", stdin=text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ime-live: ")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1
    assert stored(database) == {"12345": A}


def test_unreadable_file_is_one_line(ime_live: Run) -> None:
    done = ime_live("contracts", "import", "nothing")
    assert (done.returncode, done.stderr) == (
        2,
        "ime-live: nothing cannot be read: no such file or directory\n",
    )


def store(database: Database, *contracts: dict[str, Any]) -> None:
    for each in contracts:
        database.hset("ime:contracts", each["contractId"], json.dumps(each))


def test_list_and_show_print_importable_contracts(ime_live: Run, database: Database) -> None:
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


@pytest.mark.thorough
def test_list_prints_a_table_on_a_terminal(env: dict[str, str], database: Database) -> None:
    assert on_a_terminal(env, "contracts", "list") == "no contracts are registered\n"
    store(database, B, A)
    rows = [row.split() for row in on_a_terminal(env, "contracts", "list").splitlines()]
    assert rows == [
        ["id", "name", "market", "title"],
        ["12345", "ContractA"],
        ["67890", "ContractB", "IMEFutures", "[b]ب"],
    ]
    assert on_a_terminal(env, "contracts", "show", "12345") == json.dumps(A, indent=2) + "\n"


def test_remove_deletes_contracts(ime_live: Run, database: Database) -> None:
    store(database, B, A)
    done = ime_live("contracts", "remove", "ContractA", "Nobody")
    assert (done.returncode, done.stderr) == (1, "ime-live: unknown contract: Nobody\n")
    assert len(stored(database)) == 2
    done = ime_live("contracts", "remove", "ContractA", "12345")
    assert (done.returncode, done.stderr) == (0, "removed 12345 ContractA\n")
    assert stored(database) == {"67890": B}


def test_show_of_an_unknown_contract_is_an_error(ime_live: Run) -> None:
    done = ime_live("contracts", "show", "X")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ime-live: unknown contract: X\n"


def test_closed_pipe_ends_the_list_quietly(
    start: Callable[..., Any], register: Callable[..., None]
) -> None:
    """The list is longer than a pipe holds, as in ``ime-live contracts list | head -1``."""
    register(*((str(n), f"Contract{n}") for n in range(3000)))
    process = start("contracts", "list")
    assert process.stdout.readline().startswith('{"contractId":')
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(timeout=10) == 1
    assert said == ""


def test_csv_file_is_imported(ime_live: Run, database: Database) -> None:
    done = ime_live("contracts", "import", "-", stdin=CSV.replace("title,", "Title,"))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "standard input: unknown fields were left out: Title (did you mean title?)",
        "2 added, 0 changed, 0 unchanged",
    ]
    assert set(stored(database)) == {"12345", "67890"}


def test_imported_ids_and_names_are_trimmed(ime_live: Run, database: Database) -> None:
    record = {
        "contractId": " ۱۲۳۴٥\u200f",
        "contractName": "\u202bContractA \u00a0",
        "aliases": [" OldA ", "\u200c", ""],
    }
    assert ime_live("contracts", "import", "-", stdin=lines(record)).returncode == 0
    assert stored(database) == {"12345": {**A, "aliases": ["OldA"]}}
    done = ime_live("contracts", "import", "-", stdin=lines({**A, "aliases": ["OldA"]}))
    assert done.stderr == "0 added, 0 changed, 1 unchanged\n"
