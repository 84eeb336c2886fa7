"""Targets: files that people and programs hand to commands."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fuzz.target import Target
from ime_live.archive.day_file import Cut, compressed, read_members
from ime_live.archive.line import read_line
from ime_live.cli.records import read_contracts
from ime_live.contracts import read_contract
from ime_live.errors import ContractError, FeedError, SettingsError
from ime_live.feeds.boards.frame_reader import FrameReader
from ime_live.feeds.recording.recording import read_recording
from ime_live.registry import Registry


def _in_file(read: Callable[[Path], None], name: str) -> Callable[[bytes], None]:
    """Return a function that reads bytes from a file."""

    def run(data: bytes) -> None:
        with TemporaryDirectory(prefix="ime-live-fuzz-", dir=_memory()) as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            read(path)

    return run


def _memory() -> str | None:
    shared = "/dev/shm"  # noqa: S108 - a folder of its own is made in it
    return shared if os.access(shared, os.W_OK) else None


def _read_registry(path: Path) -> None:
    with redirect_stderr(StringIO()):
        try:
            contracts = read_contracts(str(path))
        except (ContractError, SettingsError) as error:
            assert str(error).startswith(str(path)), "an error must name the file"
            raise
    for contract in contracts:
        assert read_contract(contract.to_json()) == contract, "the store would have another one"
    registry, result = Registry().with_import(contracts)
    assert len(registry) == len(result.added) == len(contracts)
    again, result = registry.with_import(contracts)
    assert again.has_same_contracts(registry), "another import changes them"
    assert not result.added
    assert not result.changed


def _read_recording(path: Path) -> None:
    cuts: list[int] = []
    reader = FrameReader()
    numbers = []
    for line in read_recording(path, cut_off=cuts.append):
        numbers.append(line.number)
        try:
            reader.read(line.frame)
        except FeedError as error:
            assert len(str(error)) < 2_000
    assert numbers == sorted(set(numbers))
    assert len(cuts) <= 1


def _read_day(path: Path) -> None:
    cuts: list[Cut] = []
    members = list(read_members(path, cut=cuts.append))
    ends = [member.end for member in members]
    size = path.stat().st_size
    assert ends == sorted(ends)
    assert all(end <= size for end in ends)
    assert len(cuts) <= 1
    if cuts:
        # A recorder keeps the whole part of a damaged file.
        assert cuts[0].offset <= size
        with path.open("r+b") as file:
            file.truncate(cuts[0].offset)
        kept = list(read_members(path, cut=cuts.append))
        assert len(cuts) == 1, "the kept part is damaged as well"
        assert kept == members
    for member in members:
        for line in member.lines:
            try:
                read_line(line)
            except FeedError as error:
                assert str(error)
        path.write_bytes(compressed(member.lines))
        written = [line for each in read_members(path, cut=cuts.append) for line in each.lines]
        assert written == member.lines, "not the same when it is written again"


_FRAME: Final = b'{"C":"d","M":[{"H":"marketsHub","M":"updateFutureMarketsInfo","A":[[]]}]}'
_LINES: Final = (
    b'{"channel":"IME Recording","event":"header","format":1,"day":"2026-05-23"}',
    b'{"channel":"IME Recording","event":"gap","from":"2026-05-23T12:00:00.000000","reason":"x"}',
    b'{"channel":"IME Stream","ContractId":"1","timestamp":"2026-05-23T12:00:00.000000","data":{}}',
)

TARGETS: Final = (
    Target(
        "registry-files",
        "files of contracts for `ime-live contracts import`: JSON, lines of JSON and CSV",
        _in_file(_read_registry, "contracts"),
        (ContractError, SettingsError),
        (
            b'{"contractId":"1","contractName":"KASH"}',
            b"[",
            b"]",
            b"contractId,contractName,aliases\n",
            b'"market":"IMEFutures",',
            b'"ExpirationDate":"1405/09/10",',
            b"sep=;\n",
            b"1;KASH;A|B\n",
            b'"a\nb"',
            b"\xff\xfe",
            b"\t",
            b"|",
            b";",
            "سكه۱".encode(),
            b'"canBuy":true,',
            b"1E+17",
            b"1,5",
            b"\x0b",
            b"\x1c",
            "\u2028".encode(),
            b"\x85",
            b"yes",
            b'"csize":1e400,',
            b'"strikePrice":',
        ),
    ),
    Target(
        "recordings",
        "recorded frames for `ime-live feed replay`",
        _in_file(_read_recording, "frames.ndjson"),
        (FeedError,),
        (
            b'{"received":1780000000000000,"frame":%b}\n' % _FRAME,
            _FRAME,
            b"\n",
            b'{"received":',
            b',"frame":',
            b"}",
            b"{}",
            b" ",
            b'{"frame":{},"received":1}\n',
        ),
    ),
    Target(
        "day-files",
        "files of `ime-live record`: gzip members of lines",
        _in_file(_read_day, "2026-05-23.ndjson.gz"),
        (FeedError,),
        (
            *(compressed([line]) for line in _LINES),
            compressed([b"\n".join(_LINES)]),
            gzip.compress(_LINES[0], mtime=0),
            bytes(20),
            b"\x1f\x8b\x08",
            compressed(list(_LINES))[:-8],
            compressed([]),
        ),
    ),
)
