"""Say when the spread of a contract goes beyond a limit, or comes back.

``python spread_alarm.py ws://127.0.0.1:8000 0.2 ContractA SAFOR01`` — the limit is in per cent.
"""

import asyncio
import signal
import sys
from contextlib import suppress

import ime_live


def spread_of(best: ime_live.Level) -> float | None:
    """The spread in per cent of the middle; None if a side is empty."""
    if not best.buy_price or not best.sell_price:
        return None
    return 200 * (best.sell_price - best.buy_price) / (best.sell_price + best.buy_price)


async def main(url: str, limit: float, names: list[str]) -> None:
    wide: dict[str | None, bool] = {}
    # Only the part of the state that the alarm looks at, and only when that changes.
    async with ime_live.connect(url, names, sections=["BestLimit"]) as stream:
        async for message in stream:
            if not message.data.best_limit:
                continue
            spread = spread_of(message.data.best_limit["1"])
            is_wide = spread is None or spread > limit
            if wide.get(message.contract_name) != is_wide:
                wide[message.contract_name] = is_wide
                shown = "one side is empty" if spread is None else f"{spread:.3f} %"
                print(message.timestamp, message.contract_name, "ALARM" if is_wide else "ok", shown)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it, without a traceback
    defaults = ["ws://127.0.0.1:8000", "0.2", "ContractA", "SAFOR01"]
    address, per_cent, *contracts = sys.argv[1:] or defaults
    with suppress(KeyboardInterrupt):  # Ctrl-C ends it
        asyncio.run(main(address, float(per_cent), contracts))
