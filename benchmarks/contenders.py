"""The contenders: every server that is measured beside the gateway.

A contender that cannot run here (a package, a program or a compiler is missing) says why, and is
left out of the tables by that name.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.bun import BUN
from benchmarks.centrifugo import CENTRIFUGO
from benchmarks.gateways import (
    IME_LIVE,
    IME_LIVE_DEFLATE,
    IME_LIVE_MARKET,
    IME_LIVE_PYTHON,
    IME_LIVE_TLS,
    IME_LIVE_TWO,
)
from benchmarks.nginx import NCHAN
from benchmarks.processes import SECRET, Contender, Running, start_process
from benchmarks.publications import RedisPublisher, query_of

_COMPILER: Final = shutil.which("cc") or shutil.which("gcc")
_NOTHING: Final = "No tokens, no validation, no conflation"


def _running(process: subprocess.Popen[bytes], port: int, redis: int) -> Running:
    return Running(
        [process],
        port,
        RedisPublisher(redis, whole=True),
        lambda contracts, token: (query_of(contracts), ()),
    )


def _python(name: str, module: str, lacks: str, *packages: str) -> Contender:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]

    def start(port: int, redis: int) -> Running:
        process = start_process(
            [sys.executable, "-m", f"benchmarks.servers.{module}", str(port)],
            port,
            REDIS_URL=f"redis://127.0.0.1:{redis}",
            JWT_SECRET=SECRET,
        )
        return _running(process, port, redis)

    reason = f"not installed: {', '.join(missing)}" if missing else None
    return Contender(name, reason, start, lacks)


def _start_floor(port: int, redis: int) -> Running:
    folder = tempfile.mkdtemp(prefix="ime-live-floor-")
    binary = f"{folder}/floor"
    source = str(Path(__file__).parent / "servers" / "floor.c")
    try:
        subprocess.run(  # noqa: S603 - our own source
            [_COMPILER or "cc", "-O2", "-o", binary, source], check=True
        )
        process = start_process([binary, str(port), str(redis)], port)
    finally:
        shutil.rmtree(folder)
    return _running(process, port, redis)


FLOOR: Final = Contender(
    "floor: send() in C",
    None if _COMPILER else "no C compiler",
    _start_floor,
    "Everything but sending: it waits for a client that does not read, and so for all.",
)
PICOWS: Final = _python(
    "picows", "picows_shared", f"{_NOTHING}, no limit of what waits.", "picows", "uvloop"
)
BROADCAST: Final = _python(
    "websockets.broadcast",
    "websockets_broadcast",
    f"{_NOTHING}, no limit of what waits.",
    "websockets",
)
STARLETTE: Final = _python(
    "Starlette, shared",
    "starlette_shared",
    f"{_NOTHING}: the oldest of a thousand messages that wait gives way.",
    "starlette",
)
FASTAPI: Final = _python("FastAPI, as usual", "fastapi_usual", f"{_NOTHING}.", "fastapi")
FASTAPI_REST: Final = _python(
    "FastAPI, as usual", "fastapi_rest", "REST verifies tokens; no limits, no caching.", "fastapi"
)

__all__ = [
    "BROADCAST",
    "BUN",
    "CENTRIFUGO",
    "FASTAPI",
    "FASTAPI_REST",
    "FLOOR",
    "IME_LIVE",
    "IME_LIVE_DEFLATE",
    "IME_LIVE_MARKET",
    "IME_LIVE_PYTHON",
    "IME_LIVE_TLS",
    "IME_LIVE_TWO",
    "NCHAN",
    "PICOWS",
    "STARLETTE",
    "Contender",
]
