"""Turn a recording of `ime-live record` into Parquet, a file per day. Needs: pip install pyarrow

``python parquet.py recording`` writes ``recording/2026-05-23.parquet`` and so on.
"""

import gzip
import itertools
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

TEHRAN = ZoneInfo("Asia/Tehran")
ROWS = 50_000  # rows that are held in memory at once


def messages_of(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file; one that is still being written may end in the middle."""
    try:
        with gzip.open(file) as lines:
            for line in lines:
                yield json.loads(line)
    except EOFError:
        print(f"{file}: its end is not finished", file=sys.stderr)


def rows_of(file: Path) -> Iterator[dict[str, Any]]:
    """One row for each state, with the name of its contract."""
    names: dict[str, str] = {}
    for message in messages_of(file):
        if message["channel"] != "IME Stream":
            # A line of the recorder: a contract, a gap, or the state before the day.
            if contract := message.get("contract"):
                names[contract["contractId"]] = contract["contractName"]
            continue
        data = message["data"]
        row = {
            "timestamp": datetime.fromisoformat(message["timestamp"]).replace(tzinfo=TEHRAN),
            "contract_id": message["ContractId"],
            "contract_name": names.get(message["ContractId"]),
        }
        for level, prices in data["BestLimit"].items():
            row |= {f"{name}_{level}": float(value) for name, value in prices.items()}
        for section in ("Aggregate", "AllowedPriceRange", "ContractInfo"):
            for name, value in data[section].items():
                row[name] = value if isinstance(value, str) else float(value)
        yield row


def convert(file: Path) -> int:
    """Write the Parquet file of a day; return the number of its rows."""
    pyarrow = import_module("pyarrow")
    parquet = import_module("pyarrow.parquet")
    target = file.with_name(file.name.removesuffix(".ndjson.gz") + ".parquet")
    rows, writer, count = rows_of(file), None, 0
    while chunk := list(itertools.islice(rows, ROWS)):
        table = pyarrow.Table.from_pylist(chunk, writer.schema if writer else None)
        writer = writer or parquet.ParquetWriter(target, table.schema, compression="zstd")
        writer.write_table(table)
        count += len(chunk)
    if writer:
        writer.close()
    return count


if __name__ == "__main__":
    if not find_spec("pyarrow"):
        sys.exit("pyarrow must be installed: pip install pyarrow")
    for path in sorted(Path(sys.argv[1] if sys.argv[1:] else "recording").glob("*.ndjson.gz")):
        print(path.name, convert(path), "rows")
