"""Records of contracts: parse JSON or CSV files for an import.

Spreadsheets, exports and people write these files, so each error says where it is, what must hold
and what was given.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import Any, Final

import msgspec

from ime_live.cli.lines import name_of, open_input, reason_of
from ime_live.cli.running import write_stderr
from ime_live.contracts import OPTION_TYPES, Contract, Market, read_contract
from ime_live.errors import ContractError, SettingsError
from ime_live.spelling import fold, trim

_TYPES: Final[Mapping[str, Any]] = {
    attribute.encode_name: attribute.type for attribute in msgspec.structs.fields(Contract)
}
_ID: Final = "contractId"
_NAME: Final = "contractName"
_ALIASES: Final = "aliases"
_EXPIRATION: Final = "ExpirationDate"
_IDS: Final = (_ID, "UnderlyingAssets_symbolIsin_or_contractId")

# REST calls add it to the static fields; it is computed for the day of the call.
_COMPUTED: Final = "DaysToExpiration"

_SEPARATORS: Final = ",;\t|"
_BETWEEN_ALIASES: Final = "|"

# Finding the field that a key resembles takes a quarter of a millisecond.
_MAX_LISTED: Final = 50

_NUMBER: Final = re.compile(r"[-+]?\d{1,30}(\.\d+)?([eE][-+]?\d{1,9})?")
_SHORTENED: Final = re.compile(r"\d([.,]\d+)?[eE]\+?\d+|\d+\.0+")
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

_DATE: Final = re.compile(r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})")
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_JALALI_YEARS: Final = range(1300, 1500)
_FIRST_YEAR: Final = 1900

_read_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_object = msgspec.json.Decoder(dict[str, Any]).decode

_JSON_ERRORS: Final = (msgspec.MsgspecError, ValueError, RecursionError)

_Record = dict[str, Any]


def read_contracts(source: str) -> list[Contract]:
    """Read contracts from a file, or from standard input for ``-``.

    A file is a JSON array, a JSON object per line, a single one over several lines, or CSV whose
    first line names the fields. Warnings go to standard error.

    Raises:
        ContractError: a contract cannot be read; the text says which.
        SettingsError: the input cannot be read.
    """
    name = name_of(source)
    unknown: dict[str, None] = {}
    jalali: list[str] = []
    contracts = []
    for place, record in _records(source):
        unknown |= dict.fromkeys(record.keys() - _TYPES.keys() - {_COMPUTED})
        try:
            contract = _contract(record)
        except (*_JSON_ERRORS, ContractError) as error:
            raise ContractError(f"{place}: {reason_of(error)}") from error
        contracts.append(contract)
        written, expiration = record.get(_EXPIRATION), contract.expiration_date
        if (
            written is not None
            and expiration is not None
            and fold(written) != expiration.isoformat()
        ):
            jalali.append(
                f"{place}: {_EXPIRATION} {written} is Jalali; it is taken as {expiration}"
            )
    if unknown:
        write_stderr(f"{name}: unknown fields were left out: {_listed(sorted(unknown))}")
    if jalali:
        more = f" ({len(jalali)} such dates)" if len(jalali) > 1 else ""
        write_stderr(jalali[0] + more)
    return contracts


# -- files --------------------------------------------------------------------------------------


def _records(source: str) -> Iterator[tuple[str, _Record]]:
    """Iterate over the records, each with its place for error messages."""
    name = name_of(source)
    try:
        with open_input(source) as file:
            text = file.read()
    except OSError as error:
        raise SettingsError(f"{name} cannot be read: {reason_of(error)}") from error
    try:
        if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as spreadsheets do
            text = text.decode("utf-16").encode()
        text = text.removeprefix(codecs.BOM_UTF8)
        if not text.strip():
            raise ContractError(f"{name} is empty")
        if text.lstrip().startswith((b"[", b"{")):
            yield from _json_records(name, text)
        else:
            yield from _csv_records(name, text.decode())
    except UnicodeDecodeError as error:
        raise ContractError(f"{name}: not UTF-8") from error


def _json_records(name: str, text: bytes) -> Iterator[tuple[str, _Record]]:
    if text.lstrip().startswith(b"["):
        try:
            items = _read_array(text)
        except _JSON_ERRORS as error:
            raise ContractError(f"{name}: {reason_of(error)}") from error
        for number, item in enumerate(items, 1):
            yield f"{name}, item {number}", _object(f"{name}, item {number}", bytes(item))
        return
    try:
        record = _read_object(text)
    except _JSON_ERRORS:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield f"{name}, line {number}", _object(f"{name}, line {number}", line)
    else:
        yield name, record


def _object(place: str, raw: bytes) -> _Record:
    try:
        return _read_object(raw)
    except _JSON_ERRORS as error:
        raise ContractError(f"{place}: {reason_of(error)}") from error


def _csv_records(name: str, text: str) -> Iterator[tuple[str, _Record]]:
    separator, text = _separator_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    while True:
        place = f"{name}, line {reader.line_num + 1}"
        try:
            row = next(reader)
        except StopIteration:
            if header is None:  # `_records` does not strip the blanks of other scripts
                raise ContractError(f"{name} is empty") from None
            return
        except csv.Error as error:
            raise ContractError(f"{place}: {error}") from error
        cells = [trim(cell) for cell in row]
        if not any(cells):
            continue
        if header is None:
            header = _checked_header(name, cells)
            continue
        if any(cells[len(header) :]) or len(cells) < len(header):
            raise ContractError(
                f"{place}: a line must have as many cells as the header, {len(header)}, "
                f"got {len(cells)}"
            )
        record = {}
        for key, cell in zip(header, cells, strict=False):
            if cell:
                record[key] = _value(place, key, cell)
        yield place, record


def _separator_of(text: str) -> tuple[str, str]:
    """Return the separator of cells, and the text without a line that names it."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    if match := re.fullmatch(r'"?sep=(.)"?', first.strip("\r\n ")):  # as Excel writes it
        return match[1], text.replace(first, "", 1)

    def fields(separator: str) -> tuple[int, int]:
        cells = [trim(cell).strip('"') for cell in first.split(separator)]
        return sum(cell in _TYPES for cell in cells), len(cells)

    return max(_SEPARATORS, key=fields), text


def _checked_header(name: str, cells: list[str]) -> list[str]:
    while cells and not cells[-1]:  # unnamed columns of a spreadsheet
        cells.pop()
    missing = [key for key in (_ID, _NAME) if key not in cells]
    if missing:
        raise ContractError(
            f"{name} must be JSON, or CSV whose first line names {_ID} and {_NAME}, got: "
            f"{_listed(cells)[:200]}"
        )
    for cell, count in Counter(cells).items():
        if count > 1:
            raise ContractError(f"{name}: the header names {cell or 'an empty column'} twice")
    return cells


def _value(place: str, key: str, cell: str) -> object:
    """Return a cell converted to the type of its field."""
    kind = str(_TYPES.get(key, str))
    if key == _ALIASES:
        return cell.split(_BETWEEN_ALIASES)
    if "float" in kind:
        number = fold(cell)
        if not _NUMBER.fullmatch(number):
            raise ContractError(f"{place}: {key} must be a number, got {cell}")
        value = int(number) if number.lstrip("+-").isdigit() else float(number)
        if not math.isfinite(value):
            raise ContractError(f"{place}: {key} must be a finite number, got {cell}")
        return value
    if "bool" in kind:
        if cell.lower() not in _BOOLEANS:
            raise ContractError(f"{place}: {key} must be true or false, got {cell}")
        return _BOOLEANS[cell.lower()]
    return cell


# -- records ------------------------------------------------------------------------------------


def _contract(record: _Record) -> Contract:
    """Return the contract in a record, without unknown keys.

    Raises:
        ContractError: a field is missing or wrong.
        msgspec.MsgspecError: a field is of the wrong type.
    """
    fields = {key: value for key, value in record.items() if value is not None}
    _check_required(fields)
    for key in _IDS:
        if type(fields.get(key)) is int:  # sources give them as numbers, too
            fields[key] = str(fields[key])
    for key in (*_IDS, _NAME):
        if isinstance(fields.get(key), str):
            fields[key] = _one_line(key, trim(fields[key]))
    digits = fold(str(fields[_ID]))
    if digits.isdigit():  # of any keyboard
        fields[_ID] = digits
    elif _SHORTENED.fullmatch(digits):
        raise ContractError(
            f"{_ID} must be given whole, got {fields[_ID]}, as a spreadsheet changes it"
        )
    if isinstance(fields.get(_ALIASES), list):
        fields[_ALIASES] = _aliases(fields[_ALIASES])
    _check_choice(fields, "market", list(Market))
    _check_choice(fields, "optionType", OPTION_TYPES)
    if isinstance(fields.get(_EXPIRATION), str):
        fields[_EXPIRATION] = _read_date(fields[_EXPIRATION])
    return read_contract(msgspec.json.encode(fields))


def _check_required(fields: Mapping[str, object]) -> None:
    for key in (_ID, _NAME):
        if key not in fields:
            near = [other for other in islice(fields, _MAX_LISTED) if _suggestion(other) == key]
            hint = f"; did you mean it by `{near[0]}`?" if near else ""
            raise ContractError(f"Object missing required field `{key}`{hint}")


def _one_line(key: str, text: str) -> str:
    if any(unicodedata.category(letter) in {"Cc", "Zl", "Zp"} for letter in text):
        raise ContractError(f"{key} must be one line without control characters, got {text!r}")
    return text


def _aliases(aliases: list[object]) -> list[object]:
    trimmed = [trim(alias) if isinstance(alias, str) else alias for alias in aliases]
    return [alias for alias in trimmed if alias != ""]


def _check_choice(fields: Mapping[str, object], key: str, allowed: Collection[str]) -> None:
    value = fields.get(key)
    if isinstance(value, str) and value not in allowed:
        lower = {choice.lower(): choice for choice in allowed}
        near = [lower[choice] for choice in difflib.get_close_matches(value.strip().lower(), lower)]
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ContractError(f"{key} must be one of {', '.join(allowed)}, got {value}{hint}")


def _read_date(text: str) -> str:
    """Return a date as ``YYYY-MM-DD`` (Gregorian), converted from the Jalali calendar if necessary.

    Raises:
        ContractError: the text is not a date.
    """
    folded = fold(text)
    match = _DATE.fullmatch(folded)
    try:
        if match is not None and int(match[1]) in _JALALI_YEARS:
            from persiantools.jdatetime import JalaliDate

            year, month, day = int(match[1]), int(match[3]), int(match[4])
            jalali = JalaliDate(year, month, day)  # type: ignore[no-untyped-call]
            return str(jalali.to_gregorian().isoformat())
        if _ISO.fullmatch(folded) and date.fromisoformat(folded).year >= _FIRST_YEAR:
            return folded
    except ValueError:  # such as a thirteenth month
        pass
    raise ContractError(
        f"{_EXPIRATION} must be YYYY-MM-DD (Gregorian, or Jalali as 1405-09-10), got {text}"
    )


# -- keys ---------------------------------------------------------------------------------------


def _suggestion(key: str) -> str | None:
    """Return the field that an unknown key resembles."""
    by_lower_case = {name.lower(): name for name in _TYPES}
    near = difflib.get_close_matches(key.lower(), by_lower_case, n=1, cutoff=0.75)
    return by_lower_case[near[0]] if near else None


def _listed(keys: Sequence[str]) -> str:
    """Return the first of some unknown keys, each with what it resembles."""
    more = f", and {len(keys) - _MAX_LISTED} more" if len(keys) > _MAX_LISTED else ""
    return ", ".join(map(_with_suggestion, keys[:_MAX_LISTED])) + more


def _with_suggestion(key: str) -> str:
    suggestion = _suggestion(key)
    return key if suggestion in {None, key} else f"{key} (did you mean {suggestion}?)"
