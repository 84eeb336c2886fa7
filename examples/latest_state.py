"""Print the newest state of some contracts once a second, without ``async``.

``python latest_state.py ws://127.0.0.1:8000 ContractA SAFOR01``
"""

import os
import signal
import sys
import time
from contextlib import suppress

import ime_live


def main(url: str, names: list[str]) -> None:
    latest: dict[str | None, ime_live.Message[ime_live.Payload]] = {}
    # The stream receives in a thread of its own and keeps the newest message of each contract.
    with ime_live.connect(url, names, queue="latest") as stream:
        while True:
            time.sleep(1)
            # Take the messages that have arrived. This raises the error that ended the stream.
            with suppress(TimeoutError):
                while message := stream.receive(timeout=0):
                    latest[message.contract_name] = message
            for name, message in sorted(latest.items(), key=str):
                print(name, message.timestamp, message.data.aggregate.last_price, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    address, *contracts = sys.argv[1:] or ["ws://127.0.0.1:8000", "ContractA", "SAFOR01"]
    try:
        main(address, contracts)
    except BrokenPipeError:  # the reader of the output has gone, as after `| head -1`
        os._exit(1)  # at a normal exit Python would write the rest, and fail again
