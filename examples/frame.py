"""Collect messages into a table: a data frame if pandas is installed, else plain rows.

``python frame.py ws://127.0.0.1:8000 20 ContractA SAFOR01`` collects 20 messages.
"""

import itertools
import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import ime_live


def row_of(message: ime_live.Message[ime_live.Payload]) -> dict[str, Any]:
    """Return the contract's best level and its last trade as one row."""
    best, day = message.data.best_limit["1"], message.data.aggregate
    return {
        "timestamp": message.timestamp,
        "contract": message.contract_name,
        "buy_price": best.buy_price,
        "sell_price": best.sell_price,
        "last_price": day.last_price,
        "total_volume": day.total_volume,
    }


def collect(url: str, count: int, names: list[str]) -> list[dict[str, Any]]:
    """Receive ``count`` messages as rows."""
    with ime_live.connect(url, names, queue="block") as stream:
        return [row_of(message) for message in itertools.islice(stream, count)]


def main(url: str, count: int, names: list[str]) -> None:
    rows = collect(url, count, names)
    if find_spec("pandas"):
        pandas = import_module("pandas")
        print(pandas.DataFrame(rows).set_index("timestamp"))
    else:
        print(*rows[0], sep="\t")
        for row in rows:
            print(*row.values(), sep="\t")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    address, number, *contracts = sys.argv[1:] or ["ws://127.0.0.1:8000", "10", "ContractA"]
    try:
        main(address, int(number), contracts)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has gone, as after `| head -1`
        os._exit(1)  # at a normal exit Python would write the rest, and fail again
