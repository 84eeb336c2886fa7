"""redis-py alone: a subscriber that tells how old each message is when it has it.

usage: bare_subscriber <redis port> <messages>; writes "ready", then a line for each message.
"""

from __future__ import annotations

import gc
import sys

from redis import Redis

from benchmarks.load import age_of


def main() -> None:
    """Take so many messages of one channel."""
    port, count = int(sys.argv[1]), int(sys.argv[2])
    pubsub = Redis(port=port, protocol=2).pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe("bench:B0000")
    pubsub.get_message(timeout=5)  # the confirmation
    print("ready", flush=True)
    gc.freeze()
    ages: list[int] = []
    for message in pubsub.listen():
        age = age_of(message["data"])
        if age is not None:
            ages.append(age)
        if len(ages) == count:
            break
    print("\n".join(str(age) for age in ages))


if __name__ == "__main__":
    main()
