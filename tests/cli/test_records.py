"""Records of contracts: the formats that are read, and what a refusal says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ime_live.cli.records import read_contracts
from ime_live.contracts import Market
from ime_live.errors import ContractError, SettingsError
from tests.cli.contract_files import CSV, A, B, lines
from tests.support.nesting import NESTED, TOO_DEEP


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
def test_json_is_read_as_an_array_or_as_lines(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.json").write_text(text, newline="")
    contracts = read_contracts(str(tmp_path / "c.json"))
    assert [json.loads(each.to_json()) for each in contracts] == [A, B]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (lines(B, {**B, "contractName": ""}), "line 2: contractName of contract 67890 must"),
        (json.dumps([B, {"contractId": 1}]), "item 2: Object missing required field `contractNa"),
        (lines(B, {**A, "contractId": 1.5}), "line 2: Expected `str`, got `float` - at `$.contrac"),
        (lines(B, {**A, "contractId": True}), "line 2: Expected `str`, got `bool` - at `$.contra"),
        (
            lines(B, {**A, "market": "X"}),
            f"line 2: market must be one of {', '.join(Market)}, got X",
        ),
        (lines(B, {**A, "market": "imefuture"}), ", got imefuture; did you mean IMEFutures?"),
        (lines(B, {**A, "market": ""}), "line 2: market must be one of IMEFutures, "),
        (
            lines({**A, "optionType": "Call"}),
            "one of call, put, got Call; did you mean call?",
        ),
        (lines({**A, "optionType": "خرید"}), "optionType must be one of call, put, got خرید"),
        (lines({**A, "ExpirationDate": "2026/12/01"}), "ExpirationDate must be YYYY-MM-DD (Gregor"),
        (lines({**A, "ExpirationDate": "20261201"}), "ExpirationDate must be YYYY-MM-DD (Gregor"),
        (lines({**A, "ExpirationDate": "2026-02-30"}), "ExpirationDate must be YYYY-MM-DD (Gregor"),
        (lines({**A, "ExpirationDate": "1405-13-01"}), "ExpirationDate must be YYYY-MM-DD (Gregor"),
        (lines({**A, "ExpirationDate": "1404-12-30"}), "ExpirationDate must be YYYY-MM-DD (Gregor"),
        (lines({**A, "ExpirationDate": "2026-W18-7"}), "ExpirationDate must be YYYY-MM-DD (Gregor"),
        (lines({**A, "ExpirationDate": "0405-01-01"}), "ExpirationDate must be YYYY-MM-DD (Gregor"),
        (
            lines({**A, "ExpirationDate": "2026-12-01T00:00"}),
            "must be YYYY-MM-DD (Gregorian, or J",
        ),
        (lines({**A, "ExpirationDate": "soon"}), "or Jalali as 1405-09-10), got soon"),
        (lines({**A, "ExpirationDate": ""}), "ExpirationDate must be YYYY-MM-DD (Gregorian"),
        (lines({**A, "ExpirationDate": 20261201}), "got `int` - at `$.ExpirationDate`"),
        (
            lines({"contractid": "1", "contractName": "A"}),
            "Object missing required field `contractId`; did you mean it by `contractid`?",
        ),
        (
            lines({"contractId": "1", "contract_name": "A"}),
            "Object missing required field `contractName`; did you mean it by `contract_name`?",
        ),
        (
            lines({**A, "contractId": "9E+16"}),
            "contractId must be given whole, got 9E+16, as a ",
        ),
        (lines({**A, "contractName": "A\nB"}), "contractName must be one line without control ch"),
        (lines(B, {**A, "strikePrice": "9"}), "got `str` - at `$.strikePrice`"),
        (lines(B) + "\n{\n", "c.json, line 3: Input data was truncated"),
        ("\udcff", "c.json: not UTF-8"),
        ("nonsense\n", "must be JSON, or CSV whose first line names contractId and contractName"),
        ("\n\n{\n}\n{", "c.json, line 3: Input data was truncated"),
        (lines(B) + '{"contractId": "1", "contractName": "\udcff"}', "json, line 2: not UTF-8"),
        ("\n", "c.json is empty"),
    ],
)
def test_malformed_json_file_is_refused(text: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ContractError, match=re.escape(error)):
        read_contracts(str(tmp_path / "c.json"))


@pytest.mark.parametrize(("text", "place"), [("", "c.json"), ('{"x":', "c.json, line 1")])
def test_deeply_nested_file_is_refused(text: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text + NESTED, encoding="utf-8")
    with pytest.raises(ContractError, match=rf"{re.escape(place)}: {TOO_DEEP}"):
        read_contracts(str(tmp_path / "c.json"))


CSV_RECORDS: list[dict[str, Any]] = [
    A,
    {
        "contractId": "67890",
        "contractName": "ContractB",
        "market": "IMEOption",
        "title": 'a "title", of\ntwo lines',
        "aliases": ["OldB", "OlderB"],
        "strikePrice": 1500.5,
        "canBuy": True,
        "ExpirationDate": "2026-12-01",
    },
]


def unquoted(text: str) -> str:
    """The same with simpler cells, so that another separator may be put in."""
    return text.replace('"a ""title"", of\ntwo lines"', "title")


def read(folder: Path, text: str | bytes) -> list[dict[str, Any]]:
    """Return the contracts of a file with this text."""
    file = folder / "c.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [json.loads(each.to_json()) for each in read_contracts(str(file))]


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV.rstrip("\n"),
        "\n\n" + CSV + "\n\n,,,,,,,\n",
        "\ufeff" + CSV,
        CSV.encode("utf-16"),
        CSV.replace("\r\n", "\n").replace("ContractA,,,,,,", "ContractA , ,,,,\u200f,"),
        CSV.replace("contractId,", "\u200e contractId ,").replace("12345", "\u00a012345\u200c"),
        CSV.replace("TRUE", "1").replace("1500.5", "۱۵۰۰.۵").replace("2026-12-01", "۲۰۲۶-۱۲-۰۱"),
        # Columns that a spreadsheet has beside those with a name.
        "\n".join(
            line + ",," if line.startswith(("contract", "123", "two")) else line
            for line in CSV.splitlines()
        ),
    ],
    ids=[
        *("LF", "no last line end", "blank lines", "BOM", "UTF-16", "blanks around cells"),
        *("blanks around names", "Persian digits", "empty columns"),
    ],
)
def test_csv_file_is_read(
    text: str | bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read(tmp_path, text) == CSV_RECORDS
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("first", ["", "sep=X\n", '"sep=X"\n'])
def test_csv_file_with_other_separators_is_read(
    separator: str, end: str, first: str, tmp_path: Path
) -> None:
    text = unquoted(CSV).replace("OldB|OlderB", "OldB").replace(",", separator)
    text = (first.replace("X", separator) + text).replace("\n", end)
    plain = [A, CSV_RECORDS[1] | {"title": "title", "aliases": ["OldB"]}]
    assert read(tmp_path, text) == plain


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (CSV.replace("contractId", "contractid"), "got: contractid (did you mean contractId?), "),
        (
            "id,name\n1,A\n",
            "or CSV whose first line names contractId and contractName, got: id, ",
        ),
        (CSV.replace("title,", "title,title,"), "c.csv: the header names title twice"),
        (
            CSV.replace("ContractA,", "ContractA"),
            "line 2: a line must have as many cells as the ",
        ),
        (CSV.replace("ContractA,,,,,,", "ContractA,,,,,,,,x"), "the header, 8, got 10"),
        (CSV.replace("1500.5", '"1,500.5"'), "line 3: strikePrice must be a number, got 1,500.5"),
        (CSV.replace("1500.5", "nan"), "line 3: strikePrice must be a number, got nan"),
        (CSV.replace("1500.5", "1e999"), "line 3: strikePrice must be a finite number, got 1e999"),
        (CSV.replace("1500.5", "1_000"), "line 3: strikePrice must be a number, got 1_000"),
        (CSV.replace("TRUE", "ja"), "line 3: canBuy must be true or false, got ja"),
        (
            CSV.replace("IMEOption", "imeoption"),
            "line 3: market must be one of IMEFutures, IMEOp",
        ),
        (CSV.replace("12345", ""), "line 2: Object missing required field `contractId`"),
        (CSV.replace("67890", "67890.0"), "line 3: contractId must be given whole, got 67890.0"),
        (CSV.replace("67890", "9.00E+16"), "line 3: contractId must be given whole, got 9.00E+16"),
        (
            CSV.replace("2026-12-01", "1/12/2026"),
            "ExpirationDate must be YYYY-MM-DD (Gregorian, ",
        ),
        (CSV.replace('lines",', "lines,"), "c.csv, line 3: "),
        (CSV.replace("ContractA", '"Contract\nA"'), "line 2: contractName must be one line"),
        (CSV.replace("ContractA", "ContractA\0"), "c.csv, line 2: "),
        (CSV.encode().replace(b"title", b"\xff"), "c.csv: not UTF-8"),
    ],
)
def test_malformed_csv_file_is_refused(text: str | bytes, error: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=re.escape(error)):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["\u2028", "\x85\n\u2003", "\u200c\n", " ;\u200c; \n"])
def test_file_of_blanks_of_any_script_is_empty(text: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"c\.csv is empty$"):
        read(tmp_path, text)


def test_only_some_of_many_unknown_columns_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # To look for what each of them resembles would take minutes.
    columns = [f"column{number}" for number in range(300_000)]
    with pytest.raises(ContractError, match=r"must be JSON, or CSV .*, got: column0, column1, "):
        read(tmp_path, ",".join(columns))
    header = ",".join(["contractId", "contractName", *columns[:20_000]])
    read(tmp_path, f"{header}\n1,A{',x' * 20_000}\n")
    assert capsys.readouterr().err.endswith(", and 19950 more\n")


def test_many_jalali_dates_are_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{**A, "contractId": str(n), "ExpirationDate": "1405-01-01"} for n in range(9)]
    found = read(tmp_path, lines(*records))
    assert {each["ExpirationDate"] for each in found} == {"2026-03-21"}
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.endswith("it is taken as 2026-03-21 (9 such dates)\n")


def test_gregorian_date_is_read_without_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [found] = read(tmp_path, lines({**A, "ExpirationDate": "2028-02-29"}))
    assert found["ExpirationDate"] == "2028-02-29"
    assert capsys.readouterr().err == ""


def test_folder_is_refused_as_a_file() -> None:
    with pytest.raises(SettingsError, match="is a directory"):
        read_contracts(".")


@pytest.mark.parametrize(
    "given", ["1405-09-10", "1405/09/10", "1405/9/10", "۱۴۰۵/۰۹/۱۰", " ١٤٠٥-٠٩-١٠"]
)
def test_jalali_date_is_converted_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    [_, found] = read(tmp_path, lines(B, {**A, "ExpirationDate": given}))
    assert found["ExpirationDate"] == "2026-12-01"
    assert capsys.readouterr().err == (
        f"{tmp_path}/c.csv, line 2: ExpirationDate {given} is Jalali; it is taken as 2026-12-01\n"
    )
