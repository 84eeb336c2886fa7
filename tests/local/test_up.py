"""`ime-live up`: Valkey, feed and gateway as real processes, against the test hub."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner
from websockets.asyncio.client import connect

from ime_live.cli.arguments import env_file
from ime_live.cli.arguments.options import with_settings
from ime_live.local.embedded import kept_valkey
from ime_live.local.up import _children, _quoted, _write_live, greeting
from ime_live.settings import FeedSettings, GatewaySettings, UpSettings, options
from tests.support.boards import future
from tests.support.gateways import Command
from tests.support.signalr.hub import Hub

Eventually = Callable[..., Awaitable[None]]
PATIENCE = 30.0


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Hub() as made:
        made.negotiation = {"KeepAliveTimeout": 5.0, "DisconnectTimeout": 10.0}
        yield made
        assert made.violations == []


class Up(Command):
    """A process of ``ime-live up``."""

    def __init__(self, folder: Path, hub: Hub, data: Path, *options: str) -> None:
        super().__init__(
            folder,
            [
                *("up", "--data", str(data), "--port", "0", "--shutdown-spread", "0"),
                *("--base-url", hub.base_url, "--polling-url", hub.polling_url),
                *("--log-format", "json", "--max-reconnect-delay", "0.5", *options),
            ],
        )

    @property
    def is_up(self) -> bool:
        return "ime-live is up" in self.output

    def found(self, pattern: str) -> str:
        match = re.search(pattern, self.output)
        assert match is not None, self.output
        return match[1]

    @property
    def address(self) -> str:
        return self.found(r"ws://(\S+?)/live")

    def pid(self, process: str) -> int:
        """Of the last process of that name."""
        return int(self.events_of(process)[-1]["pid"])

    def events_of(self, process: str) -> list[dict[str, str]]:
        return [e for e in self.events("process started") if e["process"] == process]


def token_of(up: Up) -> str:
    """Made as the greeting says."""
    line = up.found(r"token    (.*)\n")
    made = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return made.stdout.strip()


@pytest.mark.thorough
async def test_up_runs_everything_in_one_command(
    tmp_path: Path, hub: Hub, eventually: Eventually
) -> None:
    data = tmp_path / "data"
    up = Up(tmp_path / "first", hub, data)
    try:
        await eventually(lambda: up.is_up, PATIENCE)
        assert (data / "jwt-secret").stat().st_mode & 0o777 == 0o600
        assert data.stat().st_mode & 0o777 == 0o700
        secret = (data / "jwt-secret").read_text()
        for process in ("valkey", "feed", "gateway"):
            assert secret.encode() not in _command_line(up.pid(process))

        headers = {"Authorization": f"Bearer {token_of(up)}"}
        await hub.connected("webSockets")
        hub.push(future(1))
        stream = f"ws://{up.address}/live/data/websocket/contract/id?contract_id=901&snapshot=true"

        async def newest(price: int) -> None:
            # The contract is registered while we try.
            while True:
                async with connect(stream, additional_headers=headers, proxy=None) as client:
                    try:
                        async for message in client:
                            if json.loads(message)["data"]["Aggregate"]["last_price"] == price:
                                return
                    except Exception:  # noqa: BLE001, S110 - refused, or the gateway was killed
                        pass

        async with asyncio.timeout(PATIENCE):
            await newest(700_001)

        # Each of them is killed, and comes back.
        for process in ("valkey", "feed", "gateway"):
            before = len(up.events_of(process))
            os.kill(up.pid(process), signal.SIGKILL)
            await eventually(lambda p=process, n=before: len(up.events_of(p)) > n, PATIENCE)
        await hub.until(lambda: hub.live == "webSockets" and hub.reachable)
        hub.push(future(2))

        async def comes_back() -> None:
            while True:
                try:
                    return await newest(700_002)
                except OSError:
                    await asyncio.sleep(0.05)

        async with asyncio.timeout(PATIENCE):
            await comes_back()
        pids = [up.pid(each) for each in ("valkey", "feed", "gateway")]
        up.signal(signal.SIGTERM)
        assert await up.ended(PATIENCE) == 0
        assert not any(_lives(pid) for pid in pids)
    finally:
        up.end()

    # The data was kept; the same token is good.
    again = Up(tmp_path / "second", hub, data)
    try:
        await eventually(lambda: again.is_up, PATIENCE)
        stream = (
            f"ws://{again.address}/live/data/websocket/contract/id?contract_id=901&snapshot=true"
        )
        async with asyncio.timeout(PATIENCE):
            await newest(700_002)  # no board arrived since
        # A second one on the same data is refused.
        other = Up(tmp_path / "other", hub, data)
        assert await other.ended(PATIENCE) == 2
        assert "another ime-live up uses it" in other.output
        # Killed, it leaves nothing behind.
        pids = [again.pid(each) for each in ("valkey", "feed", "gateway")]
        again.signal(signal.SIGKILL)
        await eventually(
            lambda: not any(_lives(pid) for pid in pids),
            PATIENCE,
        )
    finally:
        again.end()


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


# That wrong settings of a process end all of them is shown by the supervisor's own test.
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hours-futures", "someday 10:00-11:00"], "someday"),
        (["--boards", "spot"], "spot"),
        (["--transports", "carrier-pigeon"], "carrier-pigeon"),
    ],
)
async def test_up_ends_with_the_error_of_wrong_settings(
    tmp_path: Path, hub: Hub, options: list[str], said: str
) -> None:
    up = Up(tmp_path / "up", hub, tmp_path / "data", *options)
    try:
        assert await up.ended(PATIENCE) == 2
        assert said in up.output
    finally:
        up.end()


def test_greeting_quotes_the_command_that_shows_a_token(tmp_path: Path) -> None:
    said = greeting(UpSettings(), tmp_path / "a folder", "127.0.0.1:1", None, secret_made=True)
    line = next(line for line in said.splitlines() if "token  " in line)
    assert shlex.quote(str(tmp_path / "a folder" / "jwt-secret")) in line
    assert sys.executable in line


def feed_of(address: str) -> object:
    """Return the feed's part of a ready gateway's status."""
    with urllib.request.urlopen(f"http://{address}/ready", timeout=10) as answer:
        assert answer.status == 200
        return json.load(answer)["feed"]


@pytest.mark.thorough
async def test_up_serves_clients_during_an_outage_of_the_exchange(
    tmp_path: Path, eventually: Eventually
) -> None:
    with socket.socket() as nobody:  # bound, but not listened on
        nobody.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        up = Command(
            tmp_path / "up",
            [
                *("up", "--data", str(tmp_path / "data"), "--port", "0", "--auth", "none"),
                *("--base-url", dead, "--polling-url", dead, "--max-reconnect-delay", "0.05"),
                *("--log-format", "json"),
            ],
        )
        try:
            await eventually(lambda: "Stop with Ctrl-C" in up.output, PATIENCE)
            assert re.search(r"feed     down: \S.*connect", up.output), up.output
            assert "token    not required" in up.output
            [address] = re.findall(r"http://(\S+)/ready", up.output)
            async with asyncio.timeout(PATIENCE):  # the gateway looks once a second
                while await asyncio.to_thread(feed_of, address) != "down":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            # The line of the greeting, as it stands there.
            [line] = re.findall(r"^  (\S+ -m ime_live contracts list .*)$", up.output, re.MULTILINE)
            listed = subprocess.run(["sh", "-c", line], capture_output=True, check=True)  # noqa: ASYNC221, S603, S607
            assert listed.stdout == b""
            up.signal(signal.SIGINT)
            assert await up.ended(PATIENCE) == 0
        finally:
            up.end()
    assert "Traceback" not in up.output
    # A try every few hundredths of a second, and one line.
    assert len(up.events("exchange cannot be reached")) == 1
    assert not (tmp_path / "data" / "jwt-secret").exists()


async def test_up_starts_no_process_on_a_used_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        up = Command(tmp_path / "up", ["up", "--data", str(tmp_path / "data"), "--port", port])
        assert await up.ended(PATIENCE) == 2
    assert up.output == (
        f"ime-live: cannot listen on 127.0.0.1:{port}: address already in use; "
        "stop the other program, or give another --port\n"
    )


async def test_up_reports_a_lost_secret(tmp_path: Path) -> None:
    (tmp_path / "jwt-secret").touch(0o600)
    up = Command(tmp_path / "up", ["up", "--data", str(tmp_path), "--port", "0"])
    assert await up.ended(PATIENCE) == 2
    assert up.output == (
        f"ime-live: {tmp_path}/jwt-secret must not be empty; "
        "without the file, a new secret is made\n"
    )


@pytest.mark.parametrize(("kind", "name"), [(FeedSettings, "feed"), (GatewaySettings, "gateway")])
async def test_up_passes_its_settings_to_each_command(
    tmp_path: Path, kind: type[Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every option, changed from its default; an empty one would be taken for none."""
    for each in [name for name in os.environ if name.startswith("IME_LIVE_")]:
        monkeypatch.delenv(each)
    changed: dict[str, Any] = {}
    for option in options(UpSettings):
        match option.default:
            case bool():
                changed[option.name] = not option.default
            case StrEnum():
                changed[option.name] = list(type(option.default))[-1]
            case str():
                changed[option.name] = "" if option.default else "something, with = and a space"
            case int() | float():
                changed[option.name] = option.default + 1
    changed |= {"host": "::1", "timezone": "UTC", "root_path": "/a", "jwt_secret": "s" * 40}
    changed |= {"key_prefix": "other:"}  # it cannot be empty
    changed |= {"public_url": "https://a.example/b", "cors_origins": "https://a.example, *"}
    changed |= {"trusted_proxies": "10.0.0.0/8, unix", "stream_origins": "https://a.example, *"}
    given = UpSettings(**changed)
    async with kept_valkey(tmp_path) as valkey:
        _write_live(given, valkey.data)
        [child] = [each for each in _children(given, valkey) if each.name == name]

    got: list[Any] = []

    @with_settings(kind)
    def command(*, settings: Any) -> None:  # noqa: ANN401 - of either kind
        got.append(settings)

    app = Typer()
    app.command()(command)
    arguments = [each for each in child.command if each.startswith("--")]
    result = CliRunner().invoke(app, arguments, env=dict(child.environment))
    assert result.exit_code == 0, result.output
    [settings] = got
    assert {f.name: getattr(settings, f.name) for f in options(kind)} == {
        f.name: getattr(given, f.name) for f in options(kind)
    }
    assert "s" * 40 not in " ".join(child.command)


@pytest.mark.parametrize(
    "value", ["", "a b", "it's", "\\", "a\\'b", "x=y #z", "two\nlines", "$HOME", "\u0642"]
)
def test_live_values_survive_the_environment_file(tmp_path: Path, value: str) -> None:
    file = tmp_path / "live.env"
    file.write_text(f"NAME={_quoted(value)}\nOTHER='1'\n", encoding="utf-8")
    assert env_file.variables_of(file) == {"NAME": value, "OTHER": "1"}


@pytest.mark.thorough
async def test_hangup_of_up_reloads_its_processes(
    tmp_path: Path, hub: Hub, eventually: Eventually
) -> None:
    file = tmp_path / "up.env"
    file.write_text("IME_LIVE_MAX_CONTRACTS=7\n")
    up = Up(tmp_path / "up", hub, tmp_path / "data", "--env-file", str(file))
    try:
        await eventually(lambda: up.is_up, PATIENCE)
        file.write_text("IME_LIVE_MAX_CONTRACTS=5\nIME_LIVE_STALE_AFTER=9\n")
        up.signal(signal.SIGHUP)
        # Of up itself, and of the gateway.
        change = "--max-contracts 7 -> 5"
        async with asyncio.timeout(PATIENCE):
            while [e["changes"] for e in up.events("settings reloaded")].count([change]) < 2:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        [waiting] = up.events("changed settings take effect at the next start")
        assert waiting["settings"] == ["--stale-after"]
        with urllib.request.urlopen(f"http://{up.address}/openapi.json") as answer:  # noqa: ASYNC210
            assert b'"maxItems":5' in answer.read()
        assert (tmp_path / "data" / "live.env").stat().st_mode & 0o777 == 0o600
        # A process that starts anew has the new settings.
        os.kill(up.pid("gateway"), signal.SIGKILL)
        await eventually(lambda: len(up.events("contracts loaded")) == 2, PATIENCE)
        with urllib.request.urlopen(f"http://{up.address}/openapi.json") as answer:  # noqa: ASYNC210
            assert b'"maxItems":5' in answer.read()
        file.write_text("IME_LIVE_MAX_CONTRACTS=0\n")
        up.signal(signal.SIGHUP)
        await up.logged("settings cannot be reloaded; nothing has changed")
        up.signal(signal.SIGTERM)
        await up.ended(PATIENCE)
        assert not (tmp_path / "data" / "live.env").exists()
    finally:
        up.end()
