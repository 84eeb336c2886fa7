"""A browser: what a script in a page sees, in headless Chromium."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import jwt
import pytest
from websockets.asyncio.client import ClientConnection, connect

from ime_live.publisher import Publisher

from .conftest import SECRET, Market, Serve
from .harness import Gateway

Payload = Callable[..., dict[str, Any]]

_START_TIMEOUT = 30.0

# Resolves to all that a script in a page can see of a stream, once it has got so many messages
# or was closed.
_SCRIPT = """
new Promise(resolve => {
  const seen = {messages: [], protocol: null, code: null, reason: null, clean: null};
  const socket = new WebSocket(%s, %s);
  window.state = "connecting";
  socket.onopen = () => { seen.protocol = socket.protocol; window.state = "open"; };
  socket.onmessage = event => {
    seen.messages.push(event.data);
    if (seen.messages.length === %d) resolve(seen);
  };
  socket.onclose = event => {
    seen.code = event.code; seen.reason = event.reason; seen.clean = event.wasClean;
    resolve(seen);
  };
})
"""


# The same of a stream of events. The page is the gateway's, so that no other's rules apply.
_EVENTS = """
new Promise((resolve, reject) => {
  const seen = {messages: [], ids: [], end: null};
  const source = new EventSource(%s);
  window.state = "connecting";
  source.onopen = () => { window.state = "open"; };
  source.onmessage = event => {
    seen.messages.push(event.data); seen.ids.push(event.lastEventId);
    window.state = seen.messages.length;
    if (seen.messages.length === %d) { source.close(); resolve(seen); }
  };
  source.addEventListener("end", event => { seen.end = JSON.parse(event.data); });
})
"""


class Page:
    """A page of a browser, driven by its debugging protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)

    async def visit(self, url: str) -> None:
        """Go to an address, and wait until it is there."""
        await self._connection.send(
            json.dumps({"id": next(self._ids), "method": "Page.navigate", "params": {"url": url}})
        )
        async with asyncio.timeout(20):
            complete = f"{url} complete"
            where = "location.href + ' ' + document.readyState"
            while await self.evaluate(where) != complete:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)

    async def evaluate(self, script: str) -> Any:  # noqa: ANN401 - any value of a script
        """Run a script to its end; its value."""
        number = next(self._ids)
        parameters = {"expression": script, "awaitPromise": True, "returnByValue": True}
        await self._connection.send(
            json.dumps({"id": number, "method": "Runtime.evaluate", "params": parameters})
        )
        async with asyncio.timeout(20):
            while (answer := json.loads(await self._connection.recv())).get("id") != number:
                pass
        assert "exceptionDetails" not in answer["result"], answer
        return answer["result"]["result"].get("value")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A headless Chromium; the address of its page."""
    program = shutil.which("chromium")
    if program is None:
        reason = "chromium is not installed, so nothing is shown in a browser"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        print(reason)
        pytest.skip(reason)
    home = tmp_path_factory.mktemp("chromium")
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
        yield _page_of(process, home)
    finally:
        process.terminate()
        process.wait(10)


def _page_of(process: subprocess.Popen[bytes], home: Path) -> str:
    file = home / "profile" / "DevToolsActivePort"
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        assert process.poll() is None, (home / "log").read_text()
        with suppress(OSError, ValueError, IndexError):
            port = int(file.read_text().splitlines()[0])
            with urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.02)
    raise AssertionError("chromium does not start: " + (home / "log").read_text())


def _script(url: str, *subprotocols: str, messages: int = 1) -> str:
    return _SCRIPT % (json.dumps(url), json.dumps(subprotocols), messages)


async def test_a_script_sees_the_code_and_the_reason_of_a_refusal(
    browser: str, gateway: Gateway, guarded: Gateway
) -> None:
    unknown = gateway.url(gateway.stream("name", ["سکه"]))
    closed = guarded.url(guarded.stream("name", ["KASH0001"]))
    async with connect(browser, proxy=None, max_size=None) as connection:
        page = Page(connection)
        seen = await page.evaluate(_script(unknown))
        assert (seen["code"], seen["reason"]) == (1008, "unknown contract: سکه")
        assert seen["clean"] is True
        for subprotocols in ((), ("ime-live", "token.a.b.c")):
            seen = await page.evaluate(_script(closed, *subprotocols))
            assert seen["code"] == 1008
            assert seen["reason"] == (
                "invalid token" if subprotocols else "authentication required"
            )


async def test_a_script_brings_its_token_as_a_subprotocol_and_gets_messages(
    browser: str, guarded: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    token = jwt.encode({"sub": "web", "exp": time.time() + 60}, SECRET, algorithm="HS256")
    url = guarded.url(guarded.stream("name", [contract.contract_name]))
    script = _script(url, "ime-live", f"token.{token}", messages=2)
    async with (
        connect(browser, proxy=None, max_size=None) as connection,
        connect(browser, proxy=None, max_size=None) as observing,
    ):
        page, observer = Page(connection), Page(observing)
        await observer.evaluate("window.state = null")
        waiting = asyncio.ensure_future(page.evaluate(script))
        async with asyncio.timeout(10):
            while await observer.evaluate("window.state") != "open":
                pass
        sent = [payload(Aggregate={"trade_count": count}) for count in (1, 2)]
        for data in sent:
            await publisher.publish(contract.contract_id, data)
        seen = await waiting
    assert seen["protocol"] == "ime-live"
    messages = [json.loads(text) for text in seen["messages"]]
    assert [message["data"] for message in messages] == sent
    assert {message["contractName"] for message in messages} == {contract.contract_name}
    assert list(messages[0]) == ["channel", "contractName", "timestamp", "data"]


async def test_a_script_reads_events_and_comes_back_by_itself(
    browser: str, serve: Serve, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    gateway = serve(drain=0.0)
    path = gateway.stream("id", [contract.contract_id]).replace("/websocket/", "/sse/")
    page_url = f"http://127.0.0.1:{gateway.port}/health"
    sent = [payload(Aggregate={"trade_count": count}) for count in (1, 2, 3)]
    async with (
        connect(browser, proxy=None, max_size=None) as connection,
        connect(browser, proxy=None, max_size=None) as observing,
    ):
        page, observer = Page(connection), Page(observing)
        await page.visit(page_url)

        async def until(state: object) -> None:
            async with asyncio.timeout(20):
                while await observer.evaluate("window.state") != state:  # noqa: ASYNC110 - the same
                    await asyncio.sleep(0.01)

        waiting = asyncio.ensure_future(page.evaluate(_EVENTS % (json.dumps(path), 3)))
        await until("open")
        await publisher.publish(contract.contract_id, sent[0])
        await until(1)
        gateway.signal(signal.SIGTERM)
        await gateway.ended()
        await publisher.publish(contract.contract_id, sent[1])  # while nobody is there
        serve(port=gateway.port)
        await until(2)
        await publisher.publish(contract.contract_id, sent[2])
        seen = await waiting
    messages = [json.loads(text) for text in seen["messages"]]
    assert [message["data"] for message in messages] == sent
    assert [message["timestamp"] for message in messages] == seen["ids"]
    assert seen["end"] == {"code": 1001, "reason": "going away"}
