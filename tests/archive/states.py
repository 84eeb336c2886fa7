"""Messages with small states, and the lines of archives."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

DAY = "2026-05-23"


def timestamp(number: int, day: str = DAY) -> str:
    """A timestamp; those of larger numbers are later."""
    return f"{day}T10:00:00.{number:06}"


def state(contract_id: str, number: int, day: str = DAY) -> bytes:
    """A message, as it comes from the gateway."""
    return (
        f'{{"channel":"IME Stream","ContractId":"{contract_id}",'
        f'"timestamp":"{timestamp(number, day)}","data":{{"n":{number}}}}}'
    ).encode()


def lines(file: Path) -> list[dict[str, Any]]:
    """All lines of a file, as any reader of gzip sees them."""
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def numbers(file: Path) -> list[tuple[str, int]]:
    """Contract and number of each state in a file, without openings."""
    return [
        (line["ContractId"], line["data"]["n"])
        for line in lines(file)
        if line["channel"] == "IME Stream"
    ]


def events(file: Path) -> list[str]:
    """The events of the recorder in a file."""
    return [line["event"] for line in lines(file) if line["channel"] != "IME Stream"]
