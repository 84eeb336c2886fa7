"""Record every message as it came, one a line, and go on where an earlier run has ended.

``python record.py ws://127.0.0.1:8000 recorded.ndjson ContractA SAFOR01``
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import ime_live


def last_stamps(file: Path) -> dict[str, str]:
    """The last time stamp of each contract; a last line that is not whole is cut off."""
    last: dict[str, str] = {}
    if not file.exists():
        return last
    with file.open("r+b") as recorded:
        whole = 0
        for line in recorded:
            if not line.endswith(b"\n"):
                print(f"{file}: the last line is not whole; it is cut off", file=sys.stderr)
                recorded.truncate(whole)
                break
            whole += len(line)
            message = json.loads(line)
            last[message["contractName"]] = message["timestamp"]
    return last


async def main(url: str, file: Path, names: list[str]) -> None:
    last = last_stamps(file)
    # The smallest of them, so that nothing is missed; a contract that is new needs its state.
    since = min(last[name] for name in names) if set(names) <= set(last) else None
    # All messages, not only the newest ones; a file is fast enough for a queue of this size.
    async with ime_live.connect(
        url, names, queue="block", queue_size=10_000, since=since
    ) as stream:
        with file.open("ab") as output:
            async for message in stream:
                # Of the other contracts, what was recorded already comes again.
                name = message.contract_name or ""
                if message.timestamp_text <= last.get(name, ""):
                    continue
                last[name] = message.timestamp_text
                output.write(message.raw + b"\n")
                output.flush()
                print(message.timestamp, message.contract_name, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it, without a traceback
    defaults = ["ws://127.0.0.1:8000", "recorded.ndjson", "ContractA", "SAFOR01"]
    address, path, *contracts = sys.argv[1:] or defaults
    try:
        asyncio.run(main(address, Path(path), contracts))
    except BrokenPipeError:  # nobody reads the output any more, as after `| head -1`
        os._exit(1)  # what is left of it would be written at the exit, and fail again
