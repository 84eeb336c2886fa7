"""Print the candles of contracts: a data frame if pandas is installed, else plain rows.

``python candles.py http://127.0.0.1:8000 5m ContractA`` prints today's candles of five minutes.
"""

import sys
from importlib import import_module
from importlib.util import find_spec

import ime_live


def main(url: str, interval: str, names: list[str]) -> None:
    with ime_live.Client(url) as client:
        found = client.candles(names, interval=interval)
    rows = [
        {"contract": name} | candle.to_dict()
        for name, candles in found.items()
        for candle in candles or []
    ]
    if find_spec("pandas") and rows:
        pandas = import_module("pandas")
        frame = pandas.DataFrame(rows)
        frame["time"] = pandas.to_datetime(frame["time"])
        print(frame.set_index(["contract", "time"]))
    else:
        for row in rows:
            print(*row.values(), sep="\t")


if __name__ == "__main__":
    address, length, *contracts = sys.argv[1:] or ["http://127.0.0.1:8000", "1m", "ContractA"]
    main(address, length, contracts)
