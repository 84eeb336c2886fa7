"""Print an alarm when the spread of a contract exceeds a limit, and when it is back.

``python spread_alarm.py ws://127.0.0.1:8000 0.2 ContractA SAFOR01`` — the limit is a percentage.
"""

import asyncio
import os
import signal
import sys

import ime_live


def spread_of(best: ime_live.Level) -> float | None:
    """Return the spread as a percentage of the mid price; None if a side is empty."""
    if not best.buy_price or not best.sell_price:
        return None
    return 200 * (best.sell_price - best.buy_price) / (best.sell_price + best.buy_price)


async def main(url: str, limit: float, names: list[str]) -> None:
    wide: dict[str | None, bool] = {}
    # Receive only the section that the alarm needs, and only when it changes.
    async with ime_live.connect(url, names, sections=["BestLimit"]) as stream:
        async for message in stream:
            if not message.data.best_limit:
                continue
            spread = spread_of(message.data.best_limit["1"])
            is_wide = spread is None or spread > limit
            if wide.get(message.contract_name) != is_wide:
                wide[message.contract_name] = is_wide
                shown = "one side is empty" if spread is None else f"{spread:.3f} %"
                word = "ALARM" if is_wide else "ok"
                print(message.timestamp, message.contract_name, word, shown, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    defaults = ["ws://127.0.0.1:8000", "0.2", "ContractA", "SAFOR01"]
    address, per_cent, *contracts = sys.argv[1:] or defaults
    try:
        asyncio.run(main(address, float(per_cent), contracts))
    except BrokenPipeError:  # the reader of the output has gone, as after `| head -1`
        os._exit(1)  # at a normal exit Python would write the rest, and fail again
