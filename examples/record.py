"""Record every message as it came, one a line, and go on where an earlier run has ended.

``python record.py ws://127.0.0.1:8000 recorded.ndjson ContractA SAFOR01``
"""

import asyncio
import json
import sys
from pathlib import Path

import ime_live


def last_stamp(file: Path) -> str | None:
    """The time stamp to resume from: the smallest of the contracts' last ones."""
    if not file.exists():
        return None
    last: dict[str, str] = {}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            last[message["contractName"]] = message["timestamp"]
    return min(last.values(), default=None)


async def main(url: str, file: Path, names: list[str]) -> None:
    since = last_stamp(file)
    # All messages, not only the newest ones; a file is fast enough for a queue of this size.
    async with ime_live.connect(
        url, names, queue="block", queue_size=10_000, since=since
    ) as stream:
        with file.open("ab") as output:
            async for message in stream:
                output.write(message.raw + b"\n")
                output.flush()
                print(message.timestamp, message.contract_name)


if __name__ == "__main__":
    defaults = ["ws://127.0.0.1:8000", "recorded.ndjson", "ContractA", "SAFOR01"]
    address, path, *contracts = sys.argv[1:] or defaults
    asyncio.run(main(address, Path(path), contracts))
