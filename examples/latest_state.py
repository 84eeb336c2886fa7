"""Keep the newest state of some contracts and look at it once a second, without ``async``.

``python latest_state.py ws://127.0.0.1:8000 ContractA SAFOR01``
"""

import sys
import threading
import time

import ime_live


def main(url: str, names: list[str]) -> None:
    latest: dict[str | None, ime_live.Message[ime_live.Payload]] = {}
    with ime_live.connect(url, names) as stream:

        def collect() -> None:
            for message in stream:
                latest[message.contract_name] = message

        threading.Thread(target=collect, daemon=True).start()
        while True:
            time.sleep(1)
            for name, message in sorted(latest.items(), key=str):
                print(name, message.timestamp, message.data.aggregate.last_price)


if __name__ == "__main__":
    address, *contracts = sys.argv[1:] or ["ws://127.0.0.1:8000", "ContractA", "SAFOR01"]
    main(address, contracts)
