"""Record every message as it was sent, one per line, and resume where an earlier run ended.

``python record.py ws://127.0.0.1:8000 recorded.ndjson ContractA SAFOR01``
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import ime_live


def last_timestamps(file: Path) -> dict[str, str]:
    """Return the last timestamp per contract, and cut off a last line that is not complete."""
    last: dict[str, str] = {}
    if not file.exists():
        return last
    with file.open("r+b") as recorded:
        complete = 0
        for line in recorded:
            if not line.endswith(b"\n"):
                print(f"{file}: the last line is not complete; it is cut off", file=sys.stderr)
                recorded.truncate(complete)
                break
            complete += len(line)
            message = json.loads(line)
            last[message["contractName"]] = message["timestamp"]
    return last


async def main(url: str, file: Path, names: list[str]) -> None:
    last = last_timestamps(file)
    # Resume from the oldest one, so that nothing is missed. A new contract needs its snapshot.
    since = min(last[name] for name in names) if set(names) <= set(last) else None
    # `block` keeps every message; `latest` would keep the newest one per contract.
    async with ime_live.connect(
        url, names, queue="block", queue_size=10_000, since=since
    ) as stream:
        with file.open("ab") as output:
            async for message in stream:
                # Messages of the other contracts come again; they are recorded already.
                name = message.contract_name or ""
                if message.timestamp_text <= last.get(name, ""):
                    continue
                last[name] = message.timestamp_text
                output.write(message.raw + b"\n")
                output.flush()
                print(message.timestamp, message.contract_name, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    defaults = ["ws://127.0.0.1:8000", "recorded.ndjson", "ContractA", "SAFOR01"]
    address, path, *contracts = sys.argv[1:] or defaults
    try:
        asyncio.run(main(address, Path(path), contracts))
    except BrokenPipeError:  # the reader of the output has gone, as after `| head -1`
        os._exit(1)  # at a normal exit Python would write the rest, and fail again
