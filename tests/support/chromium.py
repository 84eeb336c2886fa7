"""Chromium: a real browser without a screen, driven by its debugging protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

_START_TIMEOUT = 30.0
_PATIENCE = 20.0


class Page:
    """A page of a browser, driven by its debugging protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        """Events that the browser has sent, of the domains that were enabled."""

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Give a command of the protocol; its answer."""
        number = next(self._ids)
        await self._connection.send(
            json.dumps({"id": number, "method": method, "params": parameters})
        )
        async with asyncio.timeout(_PATIENCE):
            while (answer := json.loads(await self._connection.recv())).get("id") != number:
                self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def evaluate(self, script: str) -> Any:  # noqa: ANN401 - any value of a script
        """Run a script to its end; its value."""
        result = await self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, script: str) -> Any:  # noqa: ANN401 - any value of a script
        """Run a script until its value is true; that value."""
        async with asyncio.timeout(_PATIENCE):
            while not (value := await self.evaluate(script)):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.03)
        return value

    async def visit(self, url: str) -> None:
        """Go to an address, and wait until all that it names is there."""
        await self.command("Page.navigate", url=url)
        complete = f"{url} complete"
        await self.until(f"location.href + ' ' + document.readyState === {json.dumps(complete)}")

    async def press(self, key: str) -> None:
        """Press a key, and let it go."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39, "Tab": 9}.get(key, 0)
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            await self.command(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                **({"text": text} if kind == "keyDown" else {}),
            )

    async def screenshot(self) -> bytes:
        """A picture of what is shown, as PNG."""
        shown = await self.command("Page.captureScreenshot", format="png")
        return base64.b64decode(shown["data"])


@asynccontextmanager
async def page_at(address: str) -> AsyncIterator[Page]:
    """Drive the page at an address of the debugging protocol."""
    async with connect(address, proxy=None, max_size=None) as connection:
        yield Page(connection)


def chromium(home: Path) -> Iterator[int]:
    """Run a headless Chromium; the port of its protocol. Without one the test is skipped.

    Args:
        home: an empty folder, for all that it writes.
    """
    program = shutil.which("chromium")
    if program is None:
        reason = "chromium is not installed, so nothing is shown in a browser"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        print(reason)
        pytest.skip(reason)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - found above
            [
                program,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-quic",
                "--disable-sync",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-extensions",
                "--no-first-run",
                "--no-proxy-server",
                "--remote-debugging-port=0",
                f"--user-data-dir={home / 'profile'}",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"HOME": str(home), "TMPDIR": str(home)},
        )
    try:
        yield _port_of(process, home)
    finally:
        process.terminate()
        process.wait(10)


def tab(port: int) -> Iterator[str]:
    """Open a tab of its own; the address of its page. One page's rules outlive it in its tab.

    Args:
        port: of the protocol of a Chromium.
    """
    opened = json.loads(_request(port, "PUT", "/json/new?about:blank"))
    yield opened["webSocketDebuggerUrl"]
    _request(port, "PUT", f"/json/close/{opened['id']}")


def _request(port: int, method: str, path: str) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, body
    return body


def _port_of(process: subprocess.Popen[bytes], home: Path) -> int:
    file = home / "profile" / "DevToolsActivePort"
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        assert process.poll() is None, (home / "log").read_text()
        with suppress(OSError, ValueError, IndexError):
            port = int(file.read_text().splitlines()[0])
            _request(port, "GET", "/json/version")
            return port
        time.sleep(0.02)
    raise AssertionError("chromium does not start: " + (home / "log").read_text())
