"""/docs in a real browser, which asks nobody but the gateway."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin, urlsplit

import jwt
import pytest

from ime_live.gateway.auth.tokens import create_token
from ime_live.publisher import Publisher
from tests.stream.conftest import SECRET, Market
from tests.support.chromium import Page, page_at
from tests.support.gateways import PATIENCE, Gateway
from tests.support.marks import thorough

Payload = Callable[..., dict[str, Any]]

# -- its files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/docs/nothing.js", "/docs/index.html", "/docs/..%2fpages.py", "/docs/%2e%2e/pages.py"]
)
def test_other_files_of_the_folder_are_not_served(gateway: Gateway, path: str) -> None:
    answer = gateway.get(path)
    assert answer.status == 404
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize("prefix", ["", "/data-engine/ime"])
def test_extra_slash_is_redirected_to_the_page(hasty: Gateway, prefix: str) -> None:
    answer = hasty.get(prefix + "/docs/")
    assert answer.status == 308
    assert urljoin(prefix + "/docs/", answer.headers["Location"]) == prefix + "/docs"


# -- in a browser -------------------------------------------------------------------------------

SHOWN = "document.documentElement?.dataset.shown === 'true'"


@pytest.fixture
async def page(browser: str) -> AsyncIterator[Page]:
    """A page that tells what it asks for, and which complains of nothing until the end."""
    async with page_at(browser) as page:
        for domain in ("Network", "Runtime", "Log", "Page"):
            await page.command(f"{domain}.enable")
        page.events.clear()
        yield page
        await page.visit("about:blank")
        said = [each for each in page.events if each["method"] in _COMPLAINTS]
        assert not said, said
        requested = {
            urlsplit(each["params"]["request"]["url"]).hostname
            for each in page.events
            if each["method"] == "Network.requestWillBeSent"
        }
        requested |= {
            urlsplit(each["params"]["url"]).hostname
            for each in page.events
            if each["method"] == "Network.webSocketCreated"
        }
        assert requested - {None} == {"127.0.0.1"}  # None: about:blank


_COMPLAINTS = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}


async def show(page: Page, gateway: Gateway, path: str = "/docs") -> None:
    """Go to the page of a gateway, and wait until it shows the documents."""
    await page.visit(f"http://127.0.0.1:{gateway.port}{path}")
    await page.until(SHOWN)


class Article:
    """An operation or a channel, as somebody uses it."""

    def __init__(self, page: Page, anchor: str) -> None:
        self._page = page
        self._self = f"document.getElementById({json.dumps(anchor)})"

    async def fill(self, name: str, value: str) -> None:
        """Write a value into a field, or choose it."""
        script = """(article => {
            const label = [...article.querySelectorAll("label")]
              .find(each => each.querySelector("code")?.textContent === %s);
            const field = document.getElementById(label.htmlFor);
            field.value = %s;
            field.dispatchEvent(new Event("input", {bubbles: true}));
        })(%s)"""
        await self._page.evaluate(script % (json.dumps(name), json.dumps(value), self._self))

    async def press(self, text: str) -> None:
        """Press a button."""
        script = """[...%s.querySelectorAll("button")]
            .find(each => each.textContent === %s && !each.disabled).click()"""
        await self._page.evaluate(script % (self._self, json.dumps(text)))

    async def program(self, language: str) -> str:
        """The program in a language."""
        script = """(article => {
            const chosen = article.querySelector(`.code [value="${%s}"]`);
            chosen.click();
            return article.querySelector(".code pre").textContent;
        })(%s)"""
        text: str = await self._page.evaluate(script % (json.dumps(language), self._self))
        return text

    async def write(self, text: str) -> None:
        """Write a request to send."""
        await self._page.evaluate(
            f"{self._self}.querySelector('.dialog textarea').value = {json.dumps(text)}"
        )

    async def state(self, *words: str) -> None:
        """Wait until it says these words of itself."""
        said = f"{self._self}.querySelector('.state').textContent"
        await self._page.until(f"{json.dumps(words)}.every(each => {said}.includes(each))")

    async def answer(self) -> Any:  # noqa: ANN401 - any JSON
        """The answer of a call."""
        shown = f"{self._self}.querySelector('.trial pre').textContent"
        return json.loads(await self._page.evaluate(shown))

    async def messages(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many messages; the newest first."""
        shown = f"[...{self._self}.querySelectorAll('.messages pre')]"
        await self._page.until(f"{shown}.length >= {count}")
        texts = await self._page.evaluate(f"{shown}.map(each => each.textContent)")
        return [json.loads(text) for text in texts]


async def test_both_documents_are_shown(page: Page, gateway: Gateway) -> None:
    await show(page, gateway)
    titles = await page.evaluate(
        "[...document.querySelectorAll('article .path')].map(each => each.textContent)"
    )
    calls = [*gateway.get("/openapi.json").json()["paths"]]
    channels = gateway.get("/asyncapi.json").json()["channels"].values()
    assert sorted(titles) == sorted(calls + [channel["address"] for channel in channels])
    heads = await page.evaluate(
        "[...document.querySelectorAll('h2, .group')].map(each => each.textContent)"
    )
    tags = [tag["name"] for tag in gateway.get("/openapi.json").json()["tags"]]
    assert heads == ["Streams", "Calls", *tags]
    links = "[...document.querySelectorAll('nav a')]"
    cards = {re.sub("/(name|id)$", "", title) for title in titles}
    assert await page.evaluate(f"{links}.length") == len(cards) + 2
    lost = f"{links}.filter(each => !document.getElementById(each.hash.slice(1))).length"
    assert await page.evaluate(lost) == 0
    bare = "[...document.querySelectorAll('.side')].filter(each => !each.querySelector('.shown'))"
    assert await page.evaluate(f"{bare}.map(each => each.parentElement.textContent)") == []


async def test_schemas_are_shown_to_their_last_property(page: Page, gateway: Gateway) -> None:
    await show(page, gateway)
    shown = await page.evaluate(
        "[...document.querySelectorAll('#websocket-by-name .message .name')]"
        ".map(each => each.textContent)"
    )
    names = {"contractName", "timestamp", "data", "BestLimit", "2", "sell_price", "skipped"}
    assert names | {"open_interest", "lastBoard", "action", "errors"} <= set(shown)


async def test_each_of_several_objects_is_shown(page: Page, gateway: Gateway) -> None:
    await show(page, gateway)
    shown = await page.evaluate(
        "[...document.querySelectorAll('#get-static-data-contract-name .answer .name')]"
        ".map(each => each.textContent)"
    )
    of_one_market_each = {"StorageCost", "initialMargin", "strikePrice"}
    assert of_one_market_each <= set(shown)


async def test_every_field_has_a_label_and_every_article_a_heading(
    page: Page, gateway: Gateway
) -> None:
    await show(page, gateway)
    unlabelled = await page.evaluate(
        "[...document.querySelectorAll('input, select, textarea')]"
        ".filter(each => !each.labels.length).map(each => each.outerHTML)"
    )
    assert unlabelled == []
    levels = await page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5')].map(each => Number(each.tagName[1]))"
    )
    assert levels[0] == 1
    steps = itertools.pairwise(levels)
    assert all(after <= before + 1 for before, after in steps)
    twice = await page.evaluate(
        "[...document.querySelectorAll('[id]')].map(each => each.id)"
        ".filter((id, at, all) => all.indexOf(id) !== at)"
    )
    assert twice == []


async def test_page_is_not_wider_than_the_screen(page: Page, gateway: Gateway) -> None:
    await show(page, gateway)
    await page.evaluate("document.querySelectorAll('main details').forEach(d => { d.open = true })")
    for width in (320, 390, 1280):
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        await page.command("Emulation.setDeviceMetricsOverride", **metrics)
        await page.until(f"innerWidth === {width}")
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
    await page.command("Emulation.clearDeviceMetricsOverride")


async def test_page_tries_a_rest_call(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    await show(page, gateway)
    article = Article(page, "get-live-data-best-limit-contract-name")
    await article.fill("contract_names", f"{contract.contract_name}\nno such contract")
    await article.press("Try it")
    await article.state("200")
    data = (await article.answer())["Data"]
    expected = {contract.contract_name: payload()["BestLimit"], "no such contract": None}
    assert data == expected


async def test_page_tries_a_websocket_stream(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    first, second = market.take(2)
    await show(page, gateway)
    article = Article(page, "websocket-by-name")
    await article.fill("contract_names", first.contract_name)
    await article.press("Connect")
    await article.state("Connected")
    await publisher.publish(first.contract_id, payload())
    [message] = await article.messages(1)
    assert (message["contractName"], message["data"]) == (first.contract_name, payload())
    await article.write(json.dumps({"action": "subscribe", "contract_ids": [second.contract_id]}))
    await article.press("Send")
    answer, _ = await article.messages(2)
    assert answer["data"]["contract_ids"] == [second.contract_id]
    await article.press("Disconnect")
    await article.state("Disconnected.")


async def test_page_tries_server_sent_events(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    await show(page, gateway)
    article = Article(page, "events-by-id")
    await article.fill("contract_id", contract.contract_id)
    await article.fill("snapshot", "true")
    await article.press("Connect")
    [message] = await article.messages(1)
    assert (message["ContractId"], message["data"]) == (contract.contract_id, payload())
    await article.press("Disconnect")
    await article.state("Disconnected.")


async def test_refusal_is_explained_and_a_token_helps(
    page: Page, guarded: Gateway, market: Market
) -> None:
    contract = market.one()
    await show(page, guarded)
    article = Article(page, "websocket-by-id")
    await article.fill("contract_id", contract.contract_id)
    await article.press("Connect")
    await article.state("1008 authentication required", "Do not repeat the same request.")
    token = jwt.encode({"sub": "web", "exp": time.time() + 60}, SECRET, algorithm="HS256")
    await page.evaluate(f"document.getElementById('token').value = {json.dumps(token)}")
    await article.press("Connect")
    await article.state("Connected")
    await article.press("Disconnect")
    call = Article(page, "get-live-status")
    await call.fill("contract_ids", contract.contract_id)
    await call.press("Try it")
    await call.state("200")
    assert set((await call.answer())["contracts"]) == {contract.contract_name}


async def test_every_call_is_answered_at_the_first_click(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    await publisher.publish(market.one().contract_id, payload())
    await show(page, gateway)
    count = "document.querySelectorAll('#calls .trial').length"
    assert await page.evaluate(count) == len(gateway.get("/openapi.json").json()["paths"])
    await page.evaluate(
        "document.querySelectorAll('#calls .trial').forEach(each => each.requestSubmit())"
    )
    states = "[...document.querySelectorAll('#calls .trial .state')].map(each => each.textContent)"
    await page.until(f"{states}.every(each => /^[1-5N]/.test(each))")
    assert {state[:3] for state in await page.evaluate(states)} == {"200"}
    answers = "[...document.querySelectorAll('#calls .trial pre')].map(each => each.textContent)"
    live = [text for text in await page.evaluate(answers) if "buy_price" in text]
    assert len(live) >= 4  # best limits and overview, by name and by id


async def test_every_stream_sends_at_the_first_click(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    await publisher.publish(market.one().contract_id, payload())
    await show(page, gateway)
    for channel in gateway.get("/asyncapi.json").json()["channels"]:
        article = Article(page, re.sub("([A-Z])", r"-\1", channel).lower())
        await article.press("Connect")
        [message] = await article.messages(1)
        assert message["data"].keys() == payload().keys()
        await article.press("Disconnect")


async def test_field_that_was_changed_is_not_filled_again(page: Page, gateway: Gateway) -> None:
    await show(page, gateway)
    article = Article(page, "get-live-data-aggregate-contract-id")
    await article.fill("contract_ids", "mine")
    await page.evaluate(
        "document.getElementById('token').dispatchEvent(new Event('change')),"
        "new Promise(done => setTimeout(done, 200))"
    )
    assert "contract_ids=mine" in await article.program("curl")


async def test_form_names_a_contract_of_the_token(
    page: Page, guarded: Gateway, market: Market
) -> None:
    contract = market.one()
    await show(page, guarded)
    article = Article(page, "get-live-data-aggregate-contract-name")
    assert "contract_names=ContractA" in await article.program("curl")
    token = create_token(SECRET, "web", 1, contracts=[contract.contract_name], now=time.time())
    await page.evaluate(
        f"(field => {{ field.value = {json.dumps(token)};"
        "field.dispatchEvent(new Event('change')) })(document.getElementById('token'))"
    )
    field = "#get-live-data-aggregate-contract-name textarea"
    await page.until(
        f"document.querySelector('{field}').value === {json.dumps(contract.contract_name)}"
    )
    assert contract.contract_name in await article.program("curl")


async def test_variant_of_a_card_is_chosen_by_toggle_or_address(
    page: Page, gateway: Gateway
) -> None:
    shown = (
        "[...document.querySelectorAll('#websocket > div[id]')]"
        ".filter(each => !each.hidden).map(each => each.id).join()"
    )
    await show(page, gateway)
    assert await page.evaluate(shown) == "websocket-by-name"
    await page.evaluate("document.querySelector('#websocket [value=id]').focus()")
    await page.press(" ")
    assert await page.evaluate(shown) == "websocket-by-id"
    assert await page.evaluate("location.hash") == "#websocket-by-id"
    await page.press("ArrowLeft")
    assert await page.evaluate(shown) == "websocket-by-name"
    await page.evaluate("location.hash = '#websocket-by-id'")
    await page.until(f"{shown} === 'websocket-by-id'")
    assert await page.evaluate("document.querySelector('#websocket [value=id]').checked")


async def test_page_is_used_by_keyboard(
    page: Page, gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    await publisher.publish(market.one().contract_id, payload())
    await show(page, gateway)
    await page.press("Tab")
    assert await page.evaluate("document.activeElement.className") == "skip"
    await page.press("Enter")
    await page.until("document.activeElement.id === 'content'")
    seen = set()
    while "Connect" not in seen:
        await page.press("Tab")
        focus = "document.activeElement"
        seen.add(await page.evaluate(f"{focus}.value || {focus}.textContent"))
        assert len(seen) < 20
    assert "name" in seen  # the toggle comes first
    await page.press("Enter")
    await Article(page, "websocket-by-name").messages(1)
    await Article(page, "websocket-by-name").press("Disconnect")


@pytest.mark.parametrize("anchor", [*map(thorough, ("#nothing", "#%E0%A4%A")), "#%"])
async def test_page_with_an_unknown_anchor_shows_all_articles(
    page: Page, gateway: Gateway, anchor: str
) -> None:
    await show(page, gateway, f"/docs{anchor}")
    assert await page.evaluate("document.querySelectorAll('article').length") > 10


async def test_contents_are_filtered(page: Page, gateway: Gateway) -> None:
    await show(page, gateway)
    await page.evaluate("document.getElementById('contents').open = true")
    write = (
        "(field => { field.value = %s; field.dispatchEvent(new Event('input')) })"
        "(document.getElementById('filter'))"
    )
    shown = (
        "[...document.querySelectorAll('nav li a')].filter(each => each.checkVisibility())"
        ".map(each => each.hash)"
    )
    everything = await page.evaluate(shown)
    for text, expected in {
        "best LIMIT": ["#get-live-data-best-limit-contract"],
        "sse": ["#events"],
        "no such call": [],
        " ": everything,
    }.items():
        await page.evaluate(write % json.dumps(text))
        assert await page.evaluate(shown) == expected
    await page.evaluate(write % '"search"')
    await page.evaluate("document.getElementById('filter').focus()")
    await page.press("Enter")
    await page.until("location.hash === '#get-static-data-contract-search'")


SMALL = """
[...document.querySelectorAll("a, button, input, select, textarea, summary, .toggle label")]
  .filter(each => each.checkVisibility() && each.type !== "radio" && !each.closest("p, dd"))
  .filter(each => Math.min(each.offsetWidth, each.offsetHeight) < 24)
  .map(each => each.outerHTML)
"""


async def test_targets_are_large_enough_for_a_finger(page: Page, gateway: Gateway) -> None:
    await show(page, gateway)
    await page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    await page.command(
        "Emulation.setDeviceMetricsOverride",
        width=390,
        height=800,
        deviceScaleFactor=1,
        mobile=True,
    )
    await page.until("innerWidth === 390")
    assert await page.evaluate(SMALL) == []  # WCAG 2.2, 2.5.8; links in sentences are exempt
    await page.command("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize("guard", [False, True], ids=["open", "guarded"])
async def test_programs_of_the_page_run(
    page: Page,
    gateway: Gateway,
    guarded: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    guard: bool,
) -> None:
    server = guarded if guard else gateway
    token = jwt.encode({"sub": "web", "exp": time.time() + 60}, SECRET, algorithm="HS256")
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    await show(page, server)
    name = contract.contract_name
    for anchor, text in {
        "get-live-data-overview-contract-name": name,
        "websocket-by-name": name,
        "events-by-name": name,
        "get-live-status": '"contracts"',
        "get-metrics": "ime_live_",
    }.items():
        article = Article(page, anchor)
        if text == name:
            await article.fill("contract_names", text)
        await programs_say(text, page, article, token)


async def programs_say(text: str, page: Page, article: Article, token: str) -> None:
    """Run the programs of an article until they print a text."""
    programs = [
        ["/bin/sh", "-c", "exec " + (await article.program("curl")).split("\n")[-1]],
        [sys.executable, "-u", "-c", await article.program("Python")],
    ]
    environment = {"PATH": os.environ["PATH"], "TOKEN": token, "NO_PROXY": "*"}
    processes = [
        await asyncio.create_subprocess_exec(
            *program, env=environment, stdout=PIPE, stderr=DEVNULL, stdin=DEVNULL
        )
        for program in programs
    ]
    for process, program in zip(processes, programs, strict=True):
        assert process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                await process.stdout.readuntil(text.strip('"').encode())
        except (asyncio.IncompleteReadError, TimeoutError) as error:
            raise AssertionError(f"{text} is not printed by {program[-1]}") from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
    for process in processes:
        await process.communicate()
    script = (await article.program("JavaScript")).replace('"…"', json.dumps(token))
    script = re.sub(r"import (\{.*?\}) from (.*?);", r"const \1 = await import(\2);", script)
    printed = await page.evaluate(
        f"new Promise((done, fail) => {{ const console = {{log: done, error: fail}};"
        f"(async () => {{ {script} }})().catch(fail); }}).then(each => typeof each === 'string'"
        " ? each : JSON.stringify(each))"
    )
    assert text in printed


async def test_page_works_behind_a_prefix(page: Page, hasty: Gateway, market: Market) -> None:
    contract = market.one()
    await show(page, hasty, "/data-engine/ime/docs#websocket-by-id")
    article = Article(page, "websocket-by-id")
    await article.fill("contract_id", contract.contract_id)
    await article.fill("status", "true")
    await article.press("Connect")
    [message, *_] = await article.messages(1)
    assert message["channel"] == "IME Status"
    assert await page.evaluate("scrollY") > 0
    requested = {
        urlsplit(each["params"]["request"]["url"]).path
        for each in page.events
        if each["method"] == "Network.requestWillBeSent"
    }
    requested |= {
        urlsplit(each["params"]["url"]).path
        for each in page.events
        if each["method"] == "Network.webSocketCreated"
    }
    assert "/data-engine/ime/openapi.json" in requested
    assert "/data-engine/ime/live/data/websocket/contract/id" in requested
    assert all(path.startswith("/data-engine/ime/") for path in requested)


async def test_text_never_becomes_markup(page: Page, gateway: Gateway) -> None:
    await show(page, gateway)
    hostile = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) [b](https://b.example/) `<c>`"
    made = await page.evaluate(
        "import('/docs/dom.js').then(({prose, element}) => "
        f"element('div', {{}}, ...prose({json.dumps(hostile)})).outerHTML)"
    )
    assert made == (
        "<div><p>&lt;img src=x onerror=alert(1)&gt; a) "
        '<a href="https://b.example/">b</a> <code>&lt;c&gt;</code></p></div>'
    )


LAID_OUT: dict[str, str | None] = {
    '{"a":1.50,"b":[1e3,-0.0]}': '{\n  "a": 1.50,\n  "b": [\n    1e3,\n    -0.0\n  ]\n}',
    '{"a":9007199254740993}': '{\n  "a": 9007199254740993\n}',
    '{"a,b":"{\\"x\\":[1]}","c":{},"d":[]}': None,  # as Python does it
    "no JSON {": "no JSON {",
}


async def test_json_is_laid_out_as_it_was_sent(page: Page, gateway: Gateway) -> None:
    await show(page, gateway)
    for text, expected in LAID_OUT.items():
        made = await page.evaluate(
            f"import('/docs/json.js').then(({{laidOut}}) => laidOut({json.dumps(text)}))"
        )
        assert made == (json.dumps(json.loads(text), indent=2) if expected is None else expected)
