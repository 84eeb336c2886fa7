"""`ime-live up`: Valkey, feed and gateway as real processes, against the test hub."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.exchange.frames import future
from tests.exchange.hub import Hub
from tests.stream.harness import Command

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
                *("up", "--data", str(data), "--port", "0", "--drain", "0"),
                *("--base-url", hub.base_url, "--boards-url", hub.boards_url),
                *("--log-format", "json", "--retry-limit", "0.5", *options),
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


async def test_everything_in_one_command(tmp_path: Path, hub: Hub, eventually: Eventually) -> None:
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
            await newest(700_002)  # no board has come since
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hours-futures", "someday 10:00-11:00"], "someday"),
        (["--boards", "spot"], "spot"),
        (["--transports", "carrier-pigeon"], "carrier-pigeon"),
    ],
)
async def test_wrong_settings_are_said_and_end_it(
    tmp_path: Path, hub: Hub, options: list[str], said: str
) -> None:
    up = Up(tmp_path / "up", hub, tmp_path / "data", *options)
    try:
        assert await up.ended(PATIENCE) == 2
        assert said in up.output
    finally:
        up.end()


def test_the_token_s_line_can_be_pasted(tmp_path: Path) -> None:
    from ime_live.settings import UpSettings
    from ime_live.up import greeting

    said = greeting(UpSettings(), tmp_path / "a folder", "127.0.0.1:1", secret_made=True)
    line = next(line for line in said.splitlines() if "token  " in line)
    assert shlex.quote(str(tmp_path / "a folder" / "jwt-secret")) in line
    assert sys.executable in line
