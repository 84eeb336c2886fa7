"""Try a strategy on a recorded day, which the demo plays through the service's own interfaces.

``ime-live demo --source recording --speed 60 --wait`` plays the day; in another terminal,
``python backtest.py ws://127.0.0.1:8000 GCAB05`` trades on it, and prints the result at the end.
With the address of the real service, the same program watches the market.
"""

import os
import signal
import sys

import ime_live

SPAN = 20  # trades of the moving average


def trade(url: str, name: str) -> None:
    """Hold one contract while its price is above the average of its last trades."""
    prices: list[float] = []
    held, cash = 0, 0.0
    with ime_live.connect(url, [name], queue="block", status=True, skipped=True) as stream:
        while True:
            try:
                message = stream.receive(timeout=0.5)
            except TimeoutError:
                if stream.status is not None and stream.status.feed == "closed":
                    break  # the recording, or the session, has ended
                continue
            if message is None:
                break
            if message.skipped:
                print(f"{message.skipped} states were left out: play the day more slowly")
            price = message.data.aggregate.last_price
            if not price or (prices and price == prices[-1]):
                continue
            if not prices:
                print(message.timestamp, name, "first price", price, flush=True)
            prices = [*prices[1 - SPAN :], price]
            wanted = int(len(prices) == SPAN and price > sum(prices) / SPAN)
            if wanted != held:
                # A buyer pays the best offer, and a seller gets the best bid.
                best = message.data.best_limit["1"]
                cash -= best.sell_price if wanted else -best.buy_price
                held = wanted
                print(message.timestamp, name, "bought" if held else "sold", flush=True)
    print("result", cash + held * (prices[-1] if prices else 0), "rials per unit")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    address, contract = sys.argv[1:] or ["ws://127.0.0.1:8000", "ContractA"]
    try:
        trade(address, contract)
    except BrokenPipeError:  # the reader of the output has gone, as after `| head -1`
        os._exit(1)  # at a normal exit Python would write the rest, and fail again
