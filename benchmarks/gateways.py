"""This gateway as a contender: as it is shipped, without its extension, with TLS before it."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.nginx import missing_tls, start_tls
from benchmarks.processes import (
    LOAD_CORE,
    SECRET,
    SERVER_CORE,
    Contender,
    Running,
    free_port,
    start_process,
)
from benchmarks.publications import MARKET, STREAM, RedisPublisher, query_of

_DEFLATE: Final = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
_MARKET: Final = f"{STREAM}market={MARKET.value}"
_NO_EXTENSION: Final = "IME_LIVE_NO_EXTENSIONS"


def has_extension() -> bool:
    """Whether the gateway's fan-out in C is built here."""
    return importlib.util.find_spec("ime_live.gateway.stream._fanout") is not None


def gateway(
    name: str,
    *,
    deflate: bool = False,
    workers: int = 1,
    extension: bool = True,
    tls: bool = False,
    market: bool = False,
    options: Sequence[str] = ("--max-subject-connections", "0"),
) -> Contender:
    """This gateway.

    Args:
        name: in the tables.
        deflate: whether its clients ask for permessage-deflate.
        workers: its processes; several share the load's core.
        extension: whether it may use its fan-out in C.
        tls: whether nginx stands before it, and clients connect by TLS.
        market: whether clients of several contracts ask for the whole market, by its name.
        options: of its command line; by default one subject may have all connections.
    """

    def start(port: int, redis: int) -> Running:
        own_port = free_port() if tls else port
        process = start_process(
            [
                sys.executable,
                "-m",
                "ime_live",
                "serve",
                *options,
                "--port",
                str(own_port),
                "--workers",
                str(workers),
                "--redis-url",
                f"redis://127.0.0.1:{redis}",
            ],
            own_port,
            (SERVER_CORE,) if workers == 1 else (SERVER_CORE, LOAD_CORE),
            IME_LIVE_JWT_SECRET=SECRET,
            IME_LIVE_LOG_LEVEL="info",
            IME_LIVE_SHUTDOWN_GRACE="0",
            IME_LIVE_SHUTDOWN_SPREAD="0",
            **({} if extension else {_NO_EXTENSION: "1"}),
        )
        time.sleep(0.5 * (1 + workers))  # contracts are loaded, in every process
        more = (_DEFLATE,) if deflate else ()
        running = Running(
            [process],
            port,
            RedisPublisher(redis, whole=False),
            lambda contracts, token: (
                _MARKET if market and len(contracts) > 1 else query_of(contracts),
                (f"Authorization: Bearer {token}", *more),
            ),
        )
        if tls:
            try:
                front, running.folder, running.tls = start_tls(port, own_port)
            except RuntimeError:
                running.stop()
                raise
            running.processes = [process, front]
        return running

    missing = missing_tls() if tls else None
    if not extension and not has_extension():
        missing = "the extension is not built, so that ime-live itself is pure Python"
    return Contender(name, missing, start)


IME_LIVE: Final = gateway("ime-live")
IME_LIVE_DEFLATE: Final = gateway("ime-live, deflate", deflate=True)
IME_LIVE_PYTHON: Final = gateway("ime-live, pure Python", extension=False)
IME_LIVE_TWO: Final = gateway("ime-live, 2 workers", workers=2)
IME_LIVE_MARKET: Final = gateway("ime-live, by market", market=True)
IME_LIVE_TLS: Final = gateway("ime-live behind nginx with TLS", tls=True)
