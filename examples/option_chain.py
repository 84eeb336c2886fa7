"""Print an option chain: a data frame if pandas is installed, else plain rows.

``python option_chain.py http://127.0.0.1:8000 KA`` prints all expirations of one underlying.
"""

import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import ime_live

COLUMNS = (
    "call_open_interest",
    "call_last_price",
    "call_buy_price_1",
    "call_sell_price_1",
    "expiration_date",
    "strike_price",
    "put_buy_price_1",
    "put_sell_price_1",
    "put_last_price",
    "put_open_interest",
)


def chain(url: str, underlying: str) -> list[dict[str, Any]]:
    """Return one row per strike: calls on the left, puts on the right."""
    with ime_live.Client(url) as client:
        rows = [pair.to_dict() for pair in client.option_chain(underlying)]
    return [{column: row.get(column) for column in COLUMNS} for row in rows]


def main(url: str, underlying: str) -> None:
    rows = chain(url, underlying)
    if not rows:
        print(f"no options of {underlying}", file=sys.stderr)
    elif find_spec("pandas"):
        pandas = import_module("pandas")
        print(pandas.DataFrame(rows).set_index(["expiration_date", "strike_price"]).to_string())
    else:
        print(*COLUMNS, sep="\t")
        for row in rows:
            print(*row.values(), sep="\t")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    address, about = sys.argv[1:] or ["http://127.0.0.1:8000", "KA"]
    try:
        main(address, about)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has gone, as after `| head -1`
        os._exit(1)  # at a normal exit Python would write the rest, and fail again
