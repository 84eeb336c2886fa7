"""A browser: what a script in a page sees, in headless Chromium."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from typing import Any

import jwt

from ime_live.publisher import Publisher
from tests.stream.conftest import SECRET, Market, Serve
from tests.support.chromium import page_at
from tests.support.gateways import Gateway

Payload = Callable[..., dict[str, Any]]

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


def _script(url: str, *subprotocols: str, messages: int = 1) -> str:
    return _SCRIPT % (json.dumps(url), json.dumps(subprotocols), messages)


async def test_script_sees_the_code_and_the_reason_of_a_refusal(
    browser: str, gateway: Gateway, guarded: Gateway
) -> None:
    unknown = gateway.url(gateway.stream("name", ["سکه"]))
    closed = guarded.url(guarded.stream("name", ["KASH0001"]))
    async with page_at(browser) as page:
        seen = await page.evaluate(_script(unknown))
        assert (seen["code"], seen["reason"]) == (1008, "unknown contract: سکه")
        assert seen["clean"] is True
        for subprotocols in ((), ("ime-live", "token.a.b.c")):
            seen = await page.evaluate(_script(closed, *subprotocols))
            assert seen["code"] == 1008
            assert seen["reason"] == (
                "invalid token" if subprotocols else "authentication required"
            )


async def test_script_brings_its_token_as_a_subprotocol_and_gets_messages(
    browser: str, guarded: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    token = jwt.encode({"sub": "web", "exp": time.time() + 60}, SECRET, algorithm="HS256")
    url = guarded.url(guarded.stream("name", [contract.contract_name]))
    script = _script(url, "ime-live", f"token.{token}", messages=2)
    async with page_at(browser) as page, page_at(browser) as observer:
        await observer.evaluate("window.state = null")
        waiting = asyncio.ensure_future(page.evaluate(script))
        await observer.until('window.state === "open"')
        sent = [payload(Aggregate={"trade_count": count}) for count in (1, 2)]
        for data in sent:
            await publisher.publish(contract.contract_id, data)
        seen = await waiting
    assert seen["protocol"] == "ime-live"
    messages = [json.loads(text) for text in seen["messages"]]
    assert [message["data"] for message in messages] == sent
    assert {message["contractName"] for message in messages} == {contract.contract_name}
    assert list(messages[0]) == ["channel", "contractName", "timestamp", "data"]


async def test_browser_reconnects_event_source_by_itself(
    browser: str, serve: Serve, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    gateway = serve(shutdown_spread=0.0)
    path = gateway.stream("id", [contract.contract_id]).replace("/websocket/", "/sse/")
    page_url = f"http://127.0.0.1:{gateway.port}/health"
    sent = [payload(Aggregate={"trade_count": count}) for count in (1, 2, 3)]
    async with page_at(browser) as page, page_at(browser) as observer:
        await page.visit(page_url)
        waiting = asyncio.ensure_future(page.evaluate(_EVENTS % (json.dumps(path), 3)))
        await observer.until('window.state === "open"')
        await publisher.publish(contract.contract_id, sent[0])
        await observer.until("window.state === 1")
        gateway.signal(signal.SIGTERM)
        await gateway.ended()
        await publisher.publish(contract.contract_id, sent[1])  # while nobody is there
        serve(port=gateway.port)
        await observer.until("window.state === 2")
        await publisher.publish(contract.contract_id, sent[2])
        seen = await waiting
    messages = [json.loads(text) for text in seen["messages"]]
    assert [message["data"] for message in messages] == sent
    assert [message["timestamp"] for message in messages] == seen["ids"]
    assert seen["end"] == {"code": 1001, "reason": "going away"}
