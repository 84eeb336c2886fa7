"""Bun as a contender: µWebSockets in C++, with its own client of Redis."""

from __future__ import annotations

import shutil
from typing import Final

from benchmarks.processes import Contender, Running, start_process
from benchmarks.publications import RedisPublisher, query_of

_BUN: Final = shutil.which("bun")


def _start(port: int, redis: int) -> Running:
    process = start_process(
        [_BUN or "bun", "run", "benchmarks/servers/bun_topics.js", str(port)],
        port,
        REDIS_URL=f"redis://127.0.0.1:{redis}",
        BUN_CONFIG_NO_UPDATE_NOTIFIER="1",
    )
    return Running(
        [process],
        port,
        RedisPublisher(redis, whole=True),
        lambda contracts, token: (query_of(contracts), ()),
    )


BUN: Final = Contender(
    "Bun (µWebSockets)",
    None if _BUN else "no bun on PATH (npm install -g bun)",
    _start,
    "No tokens, no validation, no conflation; REST joins two texts of Redis and checks nothing.",
    (_BUN or "bun", "--version"),
)
