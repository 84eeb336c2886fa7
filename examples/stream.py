"""Print every change of some contracts: ``python stream.py ws://127.0.0.1:8000 ContractA``."""

import asyncio
import os
import signal
import sys

import ime_live


async def main(url: str, names: list[str]) -> None:
    async with ime_live.connect(url, names) as stream:
        async for message in stream:
            best = message.data.best_limit["1"]
            line = (
                f"{message.timestamp:%H:%M:%S.%f}  {message.contract_name}  "
                f"{best.buy_quantity} x {best.buy_price} / {best.sell_price} x {best.sell_quantity}"
            )
            print(line, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    address, *contracts = sys.argv[1:] or ["ws://127.0.0.1:8000", "ContractA", "SAFOR01"]
    try:
        asyncio.run(main(address, contracts))
    except BrokenPipeError:  # the reader of the output has gone, as after `| head -1`
        os._exit(1)  # at a normal exit Python would write the rest, and fail again
