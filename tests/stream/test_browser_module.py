"""The browser module in Chromium, against a real gateway."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest

from ime_live.publisher import Publisher
from tests.stream.conftest import SECRET, Market, Serve
from tests.support.chromium import Page, page_at
from tests.support.gateways import Gateway
from tests.support.paths import ROOT
from tests.support.proxy import Proxy

Payload = Callable[..., dict[str, Any]]

# The page keeps what it has seen in `window`: a stream, and a promise for its import.
_START = """
import('/ime-live.js').then(module => {
  Object.assign(window, {module, batches: [], messages: [], events: [], failure: null});
  window.stream = module.connect(%s);
  stream.onMessage(each => messages.push(each));
  stream.onUpdates(each => batches.push(each));
  stream.onConnection(each => events.push(each.state));
  stream.closed.catch(error => { failure = [error.name, error.message]; });
})
"""


async def start(page: Page, gateway: Gateway, port: int = 0, **options: Any) -> None:  # noqa: ANN401 - JSON
    """Start a stream on a page of the gateway, by way of a port that leads to it."""
    await page.visit(f"http://127.0.0.1:{port or gateway.port}/health")
    await page.evaluate(_START % json.dumps(options))


async def counts(page: Page) -> list[int]:
    """The number that each message has, in the order of arrival."""
    seen = await page.evaluate("messages.map(each => each.data.Aggregate.trade_count)")
    return [int(count) for count in seen]


@pytest.fixture
async def page(browser: str) -> AsyncIterator[Page]:
    """A page."""
    async with page_at(browser) as page:
        yield page


async def test_browser_module_gets_states_and_status(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 1}))
    await start(page, gateway, contractNames=[contract.contract_name])
    await page.until("stream.status !== null && batches.length === 1")
    assert await page.evaluate("stream.state") == "open"
    await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 2}))
    await page.until("batches.length === 2")
    assert await counts(page) == [1, 2]
    message = await page.evaluate(f"stream.latest.get({json.dumps(contract.contract_name)})")
    assert message["data"] == payload(Aggregate={"trade_count": 2})
    assert await page.evaluate("stream.age(messages[1].timestamp)") < 60
    await page.evaluate("stream.close()")
    assert await page.evaluate("stream.closed.then(() => stream.state)") == "closed"


async def test_browser_module_changes_its_selection(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    first, second = market.take(2)
    for contract in (first, second):
        await publisher.publish(contract.contract_id, payload())
    await start(page, gateway, contractIds=[first.contract_id])
    await page.until("stream.latest.size === 1")
    await page.evaluate(f"stream.add({{contractNames: [{json.dumps(second.contract_name)}]}})")
    await page.until("stream.latest.size === 2")
    await page.evaluate(f"stream.remove({{contractIds: [{first.contract_id}]}})")
    assert await page.evaluate("[...stream.latest.keys()]") == [second.contract_name]
    refused = await page.evaluate(
        "stream.add({contractNames: ['no such']}).catch(error => [error.name, error.message])"
    )
    assert refused == ["UnknownContractError", "unknown contract: no such"]
    assert await page.evaluate("stream.state") == "open"


async def test_browser_module_resumes_after_a_restart(
    page: Page, serve: Serve, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    gateway = serve()
    await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 1}))
    await start(page, gateway, contractNames=[contract.contract_name], maxReconnectDelay=0.2)
    await page.until("messages.length === 1")
    gateway.signal(signal.SIGTERM)
    await gateway.ended()
    await page.until("stream.state === 'reconnecting' && stream.status === null")
    await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 2}))
    serve(port=gateway.port)
    await page.until("messages.length === 2 && stream.current")
    assert await counts(page) == [1, 2]
    states = await page.evaluate("events")
    assert [states[0], states[-1]] == ["open", "open"]
    assert set(states[1:-1]) == {"reconnecting"}


async def test_browser_module_names_the_error_of_a_refused_token(
    page: Page, guarded: Gateway, market: Market
) -> None:
    name = market.one().contract_name
    await start(page, guarded, contractNames=[name])
    assert await page.until("failure") == ["AuthenticationError", "authentication required"]
    await start(page, guarded, contractNames=[name], token="a.b.c")
    assert await page.until("failure") == ["AuthenticationError", "invalid token"]
    token = jwt.encode({"sub": "web", "exp": time.time() + 60}, SECRET, algorithm="HS256")
    await start(page, guarded, contractNames=[name], token=token)
    await page.until("stream.status !== null")
    found = await page.evaluate(
        f"new module.Client({{token: {json.dumps(token)}}})"
        f".snapshot('Aggregate', {{contractNames: [{json.dumps(name)}]}})"
    )
    assert found == {name: None}
    refused = await page.evaluate(
        "new module.Client().status().catch(error => [error.name, error.code])"
    )
    assert refused == ["AuthenticationError", 401]


async def test_browser_module_calls_back_once_per_frame(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contracts = market.take(20)
    await start(page, gateway, contractNames=[each.contract_name for each in contracts])
    await page.until("stream.status !== null")
    await page.evaluate(
        "window.frames = 0; (function count() { frames++; requestAnimationFrame(count); })()"
    )
    for count in range(1, 51):  # as fast as they go, which is more than 500 a second
        await asyncio.gather(
            *(
                publisher.publish(each.contract_id, payload(Aggregate={"trade_count": count}))
                for each in contracts
            )
        )
    done = "[...stream.latest.values()].every(each => each.data.Aggregate.trade_count === 50)"
    await page.until(f"stream.latest.size === 20 && {done}")
    await page.until("batches.at(-1).at(-1).data.Aggregate.trade_count === 50")
    # In one script, as a late batch may still come between two.
    batches, frames = await page.evaluate("[batches.map(each => each.map(one => one.key)), frames]")
    sizes = [len(set(keys)) for keys in batches]
    assert [len(keys) for keys in batches] == sizes
    assert len(sizes) <= frames + 2
    assert sum(sizes) <= len(await counts(page)) <= 1000


async def test_browser_module_works_without_frames(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await start(page, gateway, contractNames=[contract.contract_name])
    # As in a hidden tab, where no frame is drawn.
    await page.evaluate("window.requestAnimationFrame = () => 1")
    await page.until("stream.status !== null")
    await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 1}))
    await page.until("batches.length === 1")


async def test_browser_module_goes_on_after_the_exception_of_a_listener(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await start(page, gateway, contractNames=[contract.contract_name])
    await page.evaluate(
        "window.seen = []; addEventListener('error', event => seen.push(event.message));"
        "addEventListener('unhandledrejection', event => seen.push(event.reason.message));"
        "for (const kind of ['onMessage', 'onUpdates', 'onStatus']) {"
        "  stream[kind](() => { throw new Error(kind); });"
        "  stream[kind](async () => { throw new Error(`async ${kind}`); });"
        "}"
    )
    await page.until("stream.status !== null")
    for count in (1, 2):
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": count}))
    await page.until("messages.length === 2 && batches.length > 0")
    for kind in ("onMessage", "onUpdates", "onStatus"):
        await page.until(f"seen.includes('Uncaught Error: {kind}')")
        await page.until(f"seen.includes('async {kind}')")
    assert await page.evaluate("stream.state") == "open"


async def test_browser_module_divides_calls_for_candles(
    page: Page, gateway: Gateway, market: Market
) -> None:
    contract = market.one()
    await start(page, gateway, contractNames=[contract.contract_name])
    names = [contract.contract_name, *(f"no such {n}" for n in range(120))]
    found = await page.evaluate(
        f"new module.Client().candles({{contractNames: {json.dumps(names)}}}, "
        "{start: '2026-11-01', end: '2026-11-10'})"
    )
    assert found == {contract.contract_name: []} | dict.fromkeys(names[1:])
    pattern = contract.contract_name[:-1] + "*"
    listed = await page.evaluate(
        f"new module.Client().candles({{contractNames: [{json.dumps(pattern)}]}}, "
        "{start: '2026-11-01', end: '2026-11-27'})"
    )
    assert contract.contract_name in listed


async def test_browser_module_notices_a_silent_break(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 1}))
    async with Proxy(gateway.port) as proxy:
        await start(
            page,
            gateway,
            proxy.port,
            contractNames=[contract.contract_name],
            staleAfter=0.3,
            openTimeout=1,
            maxReconnectDelay=0.2,
        )
        await page.until("messages.length === 1 && stream.status !== null")
        proxy.half_open()
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 2}))
        await page.until("events.includes('reconnecting')")
        await page.until("messages.length === 2")
        assert await counts(page) == [1, 2]
        await page.visit("about:blank")


async def test_browser_module_runs_on_a_page_of_another_origin(
    page: Page, gateway: Gateway, hasty: Gateway, market: Market
) -> None:
    await page.visit(f"http://127.0.0.1:{gateway.port}/health")
    address = f"http://127.0.0.1:{hasty.port}/data-engine/ime/ime-live.js"
    await page.evaluate(
        f"import({json.dumps(address)}).then(module => {{ window.stream = "
        f"module.connect({{contractNames: [{json.dumps(market.one().contract_name)}]}}) }})"
    )
    await page.until("stream.status !== null")


async def test_example_of_documentation_runs(
    page: Page,
    gateway: Gateway,
    hasty: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
) -> None:
    contracts = market.take(2)
    for contract in contracts:
        await publisher.publish(contract.contract_id, payload(Aggregate={"last_price": 4711}))
    text = (ROOT / "docs" / "browser.md").read_text(encoding="utf-8")
    example = text.partition("```js\n")[2].partition("```")[0]
    own = example.replace("https://example.org", f"http://127.0.0.1:{gateway.port}")
    for name, contract in zip(("ContractA", "SAFOR01"), contracts, strict=True):
        own = own.replace(name, contract.contract_name)
    await page.visit(f"http://127.0.0.1:{hasty.port}/health")
    source = f"new Blob([{json.dumps(own)}], {{type: 'text/javascript'}})"
    await page.evaluate(f"import(URL.createObjectURL({source}))")
    for contract in contracts:
        shown = json.dumps(f"{contract.contract_name}: 4711")
        await page.until(f"document.body.textContent.includes({shown})")


def test_module_has_one_permission_beside_those_of_settings(serve: Serve) -> None:
    gateway = serve(cors_origins="https://page.example")
    for origin in ("https://page.example", "https://other.example"):
        answer = gateway.request("GET", "/ime-live.js", {"Origin": origin})
        assert answer.headers.get_all("Access-Control-Allow-Origin") == ["*"]
    refused = gateway.request("GET", "/live/status", {"Origin": "https://other.example"})
    assert refused.headers.get_all("Access-Control-Allow-Origin") is None
