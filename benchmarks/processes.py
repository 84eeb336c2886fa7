"""The contenders: how each server is started, asked for contracts and fed.

A contender that cannot run here (a package, nginx's module or a compiler is missing) says why,
and is left out of the tables by that name.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.publications import HttpPublisher, Publisher, RedisPublisher, name_of
from ime_live.gateway.auth.tokens import create_token

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
_SECRET: Final = "a secret of the benchmarks, on loopback only"  # noqa: S105
_STREAM: Final = "/live/data/websocket/contract/name?"
_DEFLATE: Final = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
_ROOT: Final = Path(__file__).parent.parent
_NCHAN_MODULES: Final = (
    "/usr/lib/nginx/modules/ngx_nchan_module.so",
    "/usr/share/nginx/modules/ngx_nchan_module.so",
)


@dataclass
class Running:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    port: int
    publisher: Publisher
    headers: Sequence[str]
    path_of: Callable[[Sequence[int]], str]
    folder: str | None = None
    """Of its own, removed when it ends."""

    def cpu(self) -> float:
        """Microseconds of CPU that it has used so far, all its processes together."""
        return sum(_cpu(pid) for pid in _family(self.process.pid))

    def memory(self) -> int:
        """Bytes that are resident, all its processes together."""
        return sum(_memory(pid) for pid in _family(self.process.pid))

    def stop(self) -> None:
        """End it."""
        self.publisher.close()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.folder is not None:
            shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Contender:
    """A server that can be measured.

    Attributes:
        name: in the tables.
        missing: why it cannot run here, or None.
        start: starts it, given a port and that of Redis.
    """

    name: str
    missing: str | None
    start: Callable[[int, int], Running]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def tokens(count: int) -> list[str]:
    """Tokens of so many subjects, that all servers which ask for one take."""
    return [create_token(_SECRET, f"benchmark {n}", 1, now=time.time()) for n in range(count)]


def _family(pid: int) -> list[int]:
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            pids += _family(int(child))
    return pids


def _cpu(pid: int) -> float:
    # Nanoseconds on a CPU, first field (Documentation/scheduler/sched-stats.rst).
    total = 0.0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        total += int(task.read_text().split()[0]) / 1000
    return total


def _memory(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _begin(
    command: Sequence[str], port: int, cores: Collection[int] = (SERVER_CORE,), **variables: str
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(  # noqa: S603 - our own commands
        command,
        cwd=_ROOT,
        env={**os.environ, **variables},
        # Logs are written, as in earnest, but not to a terminal.
        stderr=tempfile.TemporaryFile(),  # noqa: SIM115 - the process holds it
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return process
    process.kill()
    raise RuntimeError(f"{' '.join(command)} does not listen")


def _query(contracts: Sequence[int]) -> str:
    return _STREAM + "&".join(f"contract_names={name_of(contract)}" for contract in contracts)


def gateway(*, deflate: bool = False, workers: int = 1) -> Contender:
    """This gateway, as it is shipped."""

    def start(port: int, redis: int) -> Running:
        process = _begin(
            [
                sys.executable,
                "-m",
                "ime_live",
                "serve",
                "--port",
                str(port),
                "--workers",
                str(workers),
                "--redis-url",
                f"redis://127.0.0.1:{redis}",
            ],
            port,
            (SERVER_CORE,) if workers == 1 else (SERVER_CORE, LOAD_CORE),
            IME_LIVE_JWT_SECRET=_SECRET,
            IME_LIVE_LOG_LEVEL="info",
        )
        time.sleep(0.5 * (1 + workers))  # contracts are loaded, in every process
        [token] = tokens(1)
        headers = [f"Authorization: Bearer {token}", *([_DEFLATE] if deflate else [])]
        publisher = RedisPublisher(redis, whole=False)
        return Running(process, port, publisher, headers, _query)

    name = (
        "ime-live"
        + (", deflate" if deflate else "")
        + (f", {workers} workers" if workers > 1 else "")
    )
    return Contender(name, None, start)


def _python(name: str, module: str, *packages: str) -> Contender:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]

    def start(port: int, redis: int) -> Running:
        process = _begin(
            [sys.executable, "-m", f"benchmarks.servers.{module}", str(port)],
            port,
            REDIS_URL=f"redis://127.0.0.1:{redis}",
            JWT_SECRET=_SECRET,
        )
        return Running(process, port, RedisPublisher(redis, whole=True), (), _query)

    return Contender(name, f"not installed: {', '.join(missing)}" if missing else None, start)


def _floor() -> Contender:
    compiler = shutil.which("cc") or shutil.which("gcc")

    def start(port: int, redis: int) -> Running:
        folder = tempfile.mkdtemp(prefix="ime-live-floor-")
        binary = f"{folder}/floor"
        source = str(Path(__file__).parent / "servers" / "floor.c")
        subprocess.run(  # noqa: S603 - our own source
            [compiler or "cc", "-O2", "-o", binary, source], check=True
        )
        try:
            process = _begin([binary, str(port), str(redis)], port)
        finally:
            shutil.rmtree(folder)
        return Running(process, port, RedisPublisher(redis, whole=True), (), _query)

    return Contender("floor: send() in C", None if compiler else "no C compiler", start)


_NCHAN: Final = """
load_module {module};
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile 40000;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  keepalive_requests 10000000;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ /publish/(.*)$ {{
      nchan_publisher;
      nchan_channel_id $1;
      nchan_message_buffer_length 50;
    }}
    location ~ /stream/(.*)$ {{
      nchan_subscriber websocket;
      nchan_channel_id $1;
      nchan_channel_id_split_delimiter ",";
      nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


def _nchan() -> Contender:
    nginx = shutil.which("nginx")
    module = next((path for path in _NCHAN_MODULES if Path(path).exists()), None)

    def start(port: int, redis: int) -> Running:
        del redis
        folder = tempfile.mkdtemp(prefix="ime-live-nchan-")
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(_NCHAN.format(module=module, folder=folder, port=port))
        process = _begin([nginx or "nginx", "-p", folder, "-c", str(configuration)], port)
        return Running(
            process,
            port,
            HttpPublisher(port),
            (),
            lambda contracts: "/stream/" + ",".join(name_of(contract) for contract in contracts),
            folder,
        )

    return Contender("Nchan (nginx)", None if nginx and module else "no nginx with Nchan", start)


IME_LIVE: Final = gateway()
IME_LIVE_DEFLATE: Final = gateway(deflate=True)
IME_LIVE_TWO: Final = gateway(workers=2)
FLOOR: Final = _floor()
NCHAN: Final = _nchan()
PICOWS: Final = _python("picows", "picows_shared", "picows", "uvloop")
BROADCAST: Final = _python("websockets.broadcast", "websockets_broadcast", "websockets")
STARLETTE: Final = _python("Starlette, shared", "starlette_shared", "starlette")
FASTAPI: Final = _python("FastAPI, as usual", "fastapi_usual", "fastapi")
FASTAPI_REST: Final = _python("FastAPI, as usual", "fastapi_rest", "fastapi")
