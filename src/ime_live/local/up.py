"""Up: run the whole service on one machine, as supervised processes.

It runs an embedded Valkey that keeps its data, the exchange's feed, the bars and the gateway until
it is stopped. The processes get their options in the environment, which other users cannot see;
those that can be reloaded are in a file in the data folder.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from ime_live.errors import SettingsError, StoreError, system_reason
from ime_live.gateway.auth.keys import authenticator_from
from ime_live.local.embedded import KeptValkey, kept_valkey
from ime_live.local.supervisor import Child, Supervisor
from ime_live.process.listener import bind
from ime_live.process.reload import Reloader, log_refusal
from ime_live.settings import (
    ENVIRONMENT_PREFIX,
    AuthMode,
    BarsSettings,
    FeedSettings,
    GatewaySettings,
    StoreSettings,
    UpSettings,
    flag,
    local_address,
    options,
    url_host,
    variable,
)
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import Lease

log = structlog.get_logger()

_SECRET: Final = "jwt-secret"  # noqa: S105 - a file's name
_LIVE_FILE: Final = "live.env"
_RELOADING: Final = frozenset({"feed", "bars", "gateway"})
_LIVE: Final = tuple(option for option in options(UpSettings) if option.metadata["reloadable"])
"""Options that a running process reads again on SIGHUP."""

_POLL_INTERVAL: Final = 0.1  # seconds between two checks of the other processes
_FEED_TIMEOUT: Final = 5.0  # seconds that the greeting waits for the feed's first try to connect

# Seconds that a process has to end, in addition to those of its settings; and those of Valkey,
# which first writes its data to a disk that may be slow.
_MARGIN: Final = 15.0
_DATA_TIMEOUT: Final = 60.0


async def up(settings: UpSettings, reread: Callable[[], UpSettings]) -> None:
    """Run everything until cancelled.

    Args:
        settings: the settings.
        reread: reads them again from their sources, on SIGHUP; raises SettingsError.

    Raises:
        SettingsError: it cannot run with these settings; the text says why.
    """
    async with kept_valkey(Path(settings.data)) as valkey:
        secret_made = settings.auth is AuthMode.JWT and not settings.has_keys
        requested_port, port = settings.port, _port_of(settings)

        def complete(new: UpSettings) -> UpSettings:
            if new.auth is AuthMode.JWT and not new.has_keys:
                new = replace(new, jwt_secret=_secret_of(valkey.data))
            return replace(
                new, redis_url=valkey.url, port=port if new.port == requested_port else new.port
            )

        settings = complete(settings)
        _write_live(settings, valkey.data)
        supervisor = Supervisor(_children(settings, valkey))
        reloader = Reloader(settings, lambda: complete(reread()), check=authenticator_from)
        reload = partial(_reload, reloader, valkey.data, supervisor)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        greeting = asyncio.create_task(
            _print_greeting(settings, valkey.data, secret_made=secret_made)
        )
        try:
            await supervisor.run()
        finally:
            greeting.cancel()
            await asyncio.gather(greeting, return_exceptions=True)
            (valkey.data / _LIVE_FILE).unlink(missing_ok=True)  # it may hold a secret


def _reload(reloader: Reloader[UpSettings], data: Path, supervisor: Supervisor) -> None:
    reloaded = reloader.read()
    if reloaded is None:
        return
    try:
        _write_live(reloaded.settings, data)
    except SettingsError as error:
        log_refusal(error)
        return
    reloader.accept(reloaded)
    supervisor.send(signal.SIGHUP, _RELOADING)


def _write_live(settings: UpSettings, data: Path) -> None:
    """Write the options that can be reloaded to the environment file of the processes."""
    lines = [
        f"{variable(option.name)}={_quoted(_text_of(getattr(settings, option.name)))}\n"
        for option in _LIVE
    ]
    _write_private(data / _LIVE_FILE, "".join(lines))


def _quoted(value: str) -> str:
    """Return a value as environment files have it, whatever it contains."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _write_private(file: Path, text: str) -> None:
    """Write a file that only this user can read; it is replaced atomically.

    Raises:
        SettingsError: it cannot be written.
    """
    try:
        new = file.with_suffix(".new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:  # noqa: PTH123 - made with its rights, not given them later
            out.write(text.encode())
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {system_reason(error)}") from error


def _children(settings: UpSettings, valkey: KeptValkey) -> list[Child]:
    return [
        Child(
            "valkey",
            valkey.command,
            inherits=valkey.inherits,
            log=str(valkey.log),
            stop_timeout=_DATA_TIMEOUT,
        ),
        _command("feed", ["feed", "ime"], FeedSettings, settings, valkey.data),
        _command("bars", ["bars"], BarsSettings, settings, valkey.data),
        _command(
            "gateway",
            ["serve"],
            GatewaySettings,
            settings,
            valkey.data,
            stop_timeout=settings.shutdown_grace + settings.shutdown_spread + _MARGIN,
        ),
    ]


def _command(
    name: str,
    command: Sequence[str],
    kind: type[StoreSettings],
    settings: UpSettings,
    data: Path,
    *,
    stop_timeout: float = _MARGIN,
) -> Child:
    """Return a command line of ime-live with the settings that the command has."""
    values = {
        option.name: _text_of(getattr(settings, option.name))
        for option in options(kind)
        if option not in _LIVE
    }
    # Those of this process would override the file.
    live: dict[str, str | None] = {variable(option.name): None for option in _LIVE}
    return Child(
        name,
        # An empty variable counts as none, which would be the default.
        [sys.executable, "-m", "ime_live", *command]
        + [f"{flag(name)}=" for name, value in values.items() if not value],
        live
        | {variable(name): value for name, value in values.items() if value}
        | {f"{ENVIRONMENT_PREFIX}ENV_FILE": str((data / _LIVE_FILE).absolute())},
        stop_timeout=stop_timeout,
    )


def _text_of(value: object) -> str:
    return value.value if isinstance(value, StrEnum) else str(value)


def _port_of(settings: UpSettings) -> int:
    """Return the port to listen on if it is free; a free one for port 0.

    The gateway would report it as well, but clients would reach the other program until then.
    """
    with bind(settings.host, settings.port) as probe:
        port: int = probe.getsockname()[1]
        return port


def _secret_of(data: Path) -> str:
    """Return the secret kept in this folder; generate it if there is none."""
    file = data / _SECRET
    try:
        if not file.exists():
            _write_private(file, secrets.token_urlsafe(48))
        secret = file.read_text("ascii").strip()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"{file} cannot be read: {system_reason(error)}") from error
    if not secret:
        raise SettingsError(f"{file} must not be empty; without the file, a new secret is made")
    return secret


async def _print_greeting(settings: UpSettings, data: Path, *, secret_made: bool) -> None:
    try:
        host = local_address(settings.host)
        while not await _is_listening(host, settings.port):  # noqa: ASYNC110 - another process
            await asyncio.sleep(_POLL_INTERVAL)
        feed = await _wait_for_feed(settings)
        address = f"{url_host(host)}:{settings.port}"
        print(greeting(settings, data, address, feed, secret_made=secret_made), flush=True)
    except BrokenPipeError:
        log.warning("the greeting cannot be written: standard output is closed")
    except Exception:
        log.exception("the greeting has failed; everything else continues")


async def _is_listening(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _wait_for_feed(settings: UpSettings) -> FeedStatus | None:
    """Wait for the feed's state, and return the status, or the last one after a timeout."""
    status = None
    async with Lease(settings) as lease:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FEED_TIMEOUT):
                while status is None or (status.state is FeedState.DOWN and not status.error):
                    with suppress(StoreError):  # Valkey may still be reading its data
                        status_read, led = await lease.read()
                        status = status_read if led else None
                    await asyncio.sleep(_POLL_INTERVAL)
    return status


def _describe(feed: FeedStatus | None) -> str:
    if feed is None or (feed.state is FeedState.DOWN and not feed.error):
        return "not connected yet"
    if feed.state is FeedState.DOWN:
        return f"down: {feed.error}"
    return f"{feed.state.value}, by {feed.source}"


def greeting(
    settings: UpSettings,
    data: Path,
    address: str,
    feed: FeedStatus | None,
    *,
    secret_made: bool,
) -> str:
    """Return the text that `up` prints when the gateway listens.

    Args:
        settings: the settings in force.
        data: the data folder.
        address: host and port to connect to.
        feed: status of the feed; None if it has not written one.
        secret_made: whether the secret is the generated one in the data folder.
    """
    command = f"{shlex.quote(sys.executable)} -m ime_live"
    if settings.auth is AuthMode.NONE:
        how = "not required"
    elif secret_made:
        file = shlex.quote(str(data / _SECRET))
        how = f"{variable('jwt_secret')}=$(cat {file}) {command} token create --subject me"
    else:
        how = "from your issuer, or by: ime-live token create"
    store = shlex.quote(settings.redis_url)
    return f"""
ime-live is up.

  by name  ws://{address}/live/data/websocket/contract/name?contract_names=…
  by id    ws://{address}/live/data/websocket/contract/id?contract_id=…
  state    http://{address}/ready   http://{address}/live/status   http://{address}/metrics
  data     {data}
  token    {how}
  feed     {_describe(feed)}

The feed registers contracts when the exchange's boards arrive. List them with:
  {command} contracts list --redis-url {store}
The exchange only answers requests from Iran: use --proxy elsewhere. The feed keeps
trying, and the log reports changes of its state. Stop with Ctrl-C.
"""
