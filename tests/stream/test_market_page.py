"""The market page, `/`: in a real browser, as a person uses it, against a real gateway."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path
from typing import Any

import jwt
import pytest

from ime_live.contracts import Contract, Market
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.spelling import fold, fold_name
from ime_live.status import FeedState, FeedStatus, MarketStatus
from ime_live.store.lease import LEASE, Lease
from ime_live.store.store import Store
from tests.stream.conftest import SECRET, Serve
from tests.support.chromium import Page, page_at
from tests.support.gateways import Gateway
from tests.support.marks import thorough

Payload = Callable[..., dict[str, Any]]

PREFIX = "page:"
SAFFRON = Contract(
    contract_id="203",
    contract_name="SAFOR01",
    market=Market.FUTURES,
    title="قرارداد آتی زعفران نگین تحویل اردیبهشت ماه 1401",
    expiration_date=date(2027, 5, 17),
    csize=100,
    initial_margin=100_000,
)
FUND = Contract(
    contract_id="900303", contract_name="کهربا", market=Market.FUND, title="صندوق طلای کهربا"
)
OPTIONS = [
    Contract(
        contract_id=str(900_000 + 2 * strike + (kind == "put")),
        contract_name=f"KAOR01{kind[0].upper()}{strike}",
        market=Market.OPTION,
        title=f"اختیار معامله {strike}",
        option_type=kind,
        strike_price=strike * 1000,
        expiration_date=date(2027, 1, 5),
        underlying_id="KA",
        underlying_title="صندوق طلای کهربا",
        underlying_name="کهربا",
    )
    for strike in (230, 250, 270)
    for kind in ("call", "put")
]
OTHERS = [
    Contract(
        contract_id=str(5000 + n), contract_name=f"GOLD{n:03}", market=Market.FUTURES, title="طلا"
    )
    for n in range(200)
]
CONTRACTS = [SAFFRON, FUND, *OPTIONS, *OTHERS]

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
DESKTOP = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}

_COMPLAINTS = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}


def _settings(valkey: EmbeddedValkey) -> StoreSettings:
    return StoreSettings(redis_url=valkey.url, key_prefix=PREFIX)


class Feed:
    """A feed that leads, and says how it is."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.status = self._status(FeedState.LIVE)

    @staticmethod
    def _status(state: FeedState, **fields: Any) -> FeedStatus:  # noqa: ANN401
        now = time.time_ns() // 1000
        market = MarketStatus(state, now, 3, now + 3_600_000_000)
        markets = {Market.FUTURES: market, Market.OPTION: market, Market.FUND: market}
        known: dict[str, Any] = {
            "since": now,
            "last_board": now,
            "markets": markets,
            "written": now,
        }
        return FeedStatus(state, **known | fields)

    async def says(self, state: FeedState, **fields: Any) -> None:  # noqa: ANN401
        """Be in this state."""
        self.status = self._status(state, **fields)
        await self._lease.write(self.status)

    async def live(self) -> None:
        """Lead until the test ends."""
        while True:
            await self._lease.take()
            await asyncio.sleep(LEASE / 4)


@pytest.fixture(scope="module", autouse=True)
def _registered(backend: EmbeddedValkey) -> None:
    async def register() -> None:
        async with Store(_settings(backend)) as store:
            await store.import_contracts(CONTRACTS)

    asyncio.run(register())


@pytest.fixture(scope="module")
def market_gateway(_serve_all: Serve) -> Gateway:
    """A gateway that serves the contracts of this file."""
    return _serve_all(key_prefix=PREFIX, status_interval=0.3)


@pytest.fixture(scope="module")
def strict_gateway(_serve_all: Serve) -> Gateway:
    """A gateway that asks for tokens, and allows few contracts."""
    return _serve_all(
        key_prefix=PREFIX,
        status_interval=0.3,
        auth="jwt",
        max_contracts=20,
        variables={"IME_LIVE_JWT_SECRET": SECRET},
    )


@pytest.fixture
async def feed(backend: EmbeddedValkey) -> AsyncIterator[Feed]:
    """A feed that is live."""
    async with Lease(_settings(backend), "test") as lease:
        assert (await lease.take()).leads
        feed = Feed(lease)
        await feed.says(FeedState.LIVE)
        task = asyncio.create_task(feed.live())
        yield feed
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await lease.release()


@pytest.fixture
async def publisher(backend: EmbeddedValkey) -> AsyncIterator[Publisher]:
    async with Publisher(backend.url, key_prefix=PREFIX) as made:
        yield made


@pytest.fixture
async def page(browser: str) -> AsyncIterator[Page]:
    """A page that complains of nothing until the end: no error, no violation of its policy."""
    async with page_at(browser) as page:
        for domain in ("Runtime", "Log", "Page", "Network"):
            await page.command(f"{domain}.enable")
        await page.command("Emulation.setDeviceMetricsOverride", **DESKTOP)
        await page.command("Storage.clearDataForOrigin", origin="*", storageTypes="all")
        page.events.clear()
        yield page
        await page.evaluate("1")
        said = [
            each
            for each in page.events
            if each.get("method") in _COMPLAINTS and "favicon.ico" not in json.dumps(each)
        ]
        assert not said, "\n".join(json.dumps(each["params"])[:400] for each in said)


def prices(last: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Sections of a state with a last price, against a previous close of 80,000."""
    return {
        "BestLimit": {
            "1": {
                "buy_price": last - 100,
                "buy_quantity": 12,
                "sell_price": last + 100,
                "sell_quantity": 4,
            }
        },
        "Aggregate": {
            "last_price": last,
            "previous_close": 80_000,
            "low_price": 79_000,
            "high_price": 81_000,
            **more,
        },
        "AllowedPriceRange": {"minAllowedPrice": 76_000, "maxAllowedPrice": 84_000},
    }


async def open_page(page: Page, gateway: Gateway, hash_: str = "", **choices: Any) -> None:  # noqa: ANN401
    """Open the page with these choices, and wait until it shows contracts."""
    base = f"http://127.0.0.1:{gateway.port}/"
    await page.visit(base + "page/icon.svg")  # of the same origin
    chosen = json.dumps(json.dumps({"language": "en"} | choices))
    await page.evaluate(
        f"localStorage.clear(); sessionStorage.clear(); localStorage.setItem('ime-live', {chosen})"
    )
    await page.visit(base + hash_)


async def shown(page: Page, name: str) -> str:
    """The text of a contract's row, once it is in view."""
    row = f"[...document.querySelectorAll('.row:not([hidden])')].find(each => \
each.querySelector('.code')?.textContent === {json.dumps(name)})"
    await page.until(f"!!{row}")
    return str(await page.evaluate(f"{row}.innerText"))


async def wait_for_text(page: Page, selector: str, text: str) -> None:
    """Wait until an element shows a text."""
    element = f"document.querySelector({json.dumps(selector)})"
    try:
        await page.until(f"{element}?.innerText.includes({json.dumps(text)})")
    except TimeoutError:
        said = await page.evaluate(f"{element}?.innerText + ' ' + document.body.innerText")
        raise AssertionError(f"{selector} must show {text!r}, got {said!r}") from None


async def press(page: Page, *keys: str) -> None:
    """Press keys, as a keyboard does."""
    for key in keys:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        await page.command("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
        await page.command("Input.dispatchKeyEvent", type="keyUp", key=key)


async def click(page: Page, selector: str, text: str = "") -> None:
    """Click the first element of a selector that shows a text."""
    await page.until(
        f"(found => found && (found.click(), true))([...document.querySelectorAll("
        f"{json.dumps(selector)})].find(each => each.textContent.includes({json.dumps(text)})))"
    )


# -- Table and panel ------------------------------------------------------------------------------


async def test_values_move_while_the_page_is_open(
    page: Page, market_gateway: Gateway, feed: Feed, publisher: Publisher, payload: Payload
) -> None:
    await publisher.publish(SAFFRON.contract_id, payload(**prices(80_400)))
    await open_page(page, market_gateway, "#contract=SAFOR01")
    await wait_for_text(page, ".detail .price", "80,400")
    await wait_for_text(page, ".state", "live")
    await publisher.publish(SAFFRON.contract_id, payload(**prices(79_600, total_volume=1630)))
    await wait_for_text(page, ".detail .price", "79,600")
    await wait_for_text(page, ".detail .change", "−400 (−0.50 %) ▼")
    await page.evaluate("document.querySelector('.search input').focus()")
    await press(page, *"SAFOR")
    text = await shown(page, "SAFOR01")
    for part in ("79,600", "−0.50", "79,500", "×12", "79,700", "×4", "1,630"):
        assert part in text
    assert await page.evaluate("document.body.classList.contains('old')") is False


async def test_rows_out_of_view_have_no_elements(
    page: Page, market_gateway: Gateway, feed: Feed
) -> None:
    await open_page(page, market_gateway)
    await page.until("document.querySelector('.grid').ariaRowCount > 200")
    count = "document.querySelectorAll('.row').length"
    assert await page.evaluate(count) < 50
    await page.evaluate("document.querySelector('.grid').scrollTop = 3000")
    await page.until(
        "[...document.querySelectorAll('.row')].some(each => each.ariaRowIndex === '97')"
    )
    assert await page.evaluate(count) < 50


async def test_flood_is_painted_once_a_frame(
    page: Page, market_gateway: Gateway, feed: Feed, publisher: Publisher, payload: Payload
) -> None:
    await open_page(page, market_gateway)
    await wait_for_text(page, ".state", "live")
    await page.evaluate("""
      window.painted = 0; window.frames = 0; window.flashes = 0;
      new MutationObserver(() => { painted++; }).observe(
        document.querySelector('.rows'), {subtree: true, childList: true});
      const animate = Element.prototype.animate;
      Element.prototype.animate = function (...given) {
        flashes++;
        return animate.apply(this, given);
      };
      (function count() { frames++; requestAnimationFrame(count); })()
    """)
    visible = OTHERS[:20]
    began = time.monotonic()
    for step in range(1, 26):
        await asyncio.gather(
            *(
                publisher.publish(each.contract_id, payload(**prices(80_000 + step)))
                for each in visible
            )
        )
    lasted = time.monotonic() - began
    await page.until(
        "[...document.querySelectorAll('.row:not([hidden]) .last')]"
        ".filter(each => each.textContent === '80,025').length >= 20"
    )
    painted, frames, flashes = await page.evaluate("[painted, frames, flashes]")
    # Ages are painted once a second besides.
    assert painted <= frames + lasted + 10
    assert flashes <= 20 * (lasted + 2)


async def test_reduced_motion_has_no_flash(
    page: Page, market_gateway: Gateway, feed: Feed, publisher: Publisher, payload: Payload
) -> None:
    contract = OTHERS[0]
    await page.command(
        "Emulation.setEmulatedMedia",
        features=[{"name": "prefers-reduced-motion", "value": "reduce"}],
    )
    await publisher.publish(contract.contract_id, payload(**prices(70_000)))
    await open_page(page, market_gateway)
    assert "70,000" in await shown(page, contract.contract_name)
    await page.evaluate("window.flashes = 0; Element.prototype.animate = () => { flashes++; }")
    await publisher.publish(contract.contract_id, payload(**prices(70_100)))
    await wait_for_text(page, f"#contract-{contract.contract_id}", "70,100")
    assert await page.evaluate("flashes") == 0
    await page.command("Emulation.setEmulatedMedia", features=[])


async def test_detail_shows_depth_range_and_fields(
    page: Page, market_gateway: Gateway, feed: Feed, publisher: Publisher, payload: Payload
) -> None:
    await publisher.publish(SAFFRON.contract_id, payload(**prices(80_400)))
    await open_page(page, market_gateway, "#contract=SAFOR01")
    await wait_for_text(page, ".range", "79,000 to 81,000 today; allowed 76,000 to 84,000")
    await wait_for_text(page, ".depth", "80,300")
    await wait_for_text(page, ".detail", "27 Ordibehesht 1406 (17 May 2027)")
    # Without recorded bars the page says so in words, and all else is there.
    await page.until("document.querySelector('.picture').innerText.length > 10")
    await click(page, ".shut")
    await page.until("location.hash === ''")
    await page.evaluate("history.back()")
    await wait_for_text(page, ".detail h2", "SAFOR01")


async def test_option_chain_has_calls_and_puts_around_the_price(
    page: Page, market_gateway: Gateway, feed: Feed, publisher: Publisher, payload: Payload
) -> None:
    for option in OPTIONS:
        price = int(option.strike_price or 0) // 10 + (option.option_type == "put")
        await publisher.publish(option.contract_id, payload(**prices(price)))
    await publisher.publish(FUND.contract_id, payload(**prices(252_000)))
    await open_page(page, market_gateway, "#underlying=KA")
    await wait_for_text(page, ".spot", "کهربا 252,000")
    rows = await page.evaluate(
        "[...document.querySelectorAll('.chain tbody tr')].map(each => "
        "each.classList.contains('spot') ? 'line' : [each.querySelector('.strike').textContent, "
        "each.querySelector('.call.last span').textContent, "
        "each.querySelector('.put.last span').textContent, "
        "each.className])"
    )
    assert rows == [
        ["230,000", "23,000", "23,001", "call-in"],
        ["250,000", "25,000", "25,001", "call-in"],
        "line",
        ["270,000", "27,000", "27,001", "put-in"],
    ]
    await publisher.publish(FUND.contract_id, payload(**prices(248_000)))
    await page.until(
        "[...document.querySelectorAll('.chain tbody tr')].findIndex("
        "each => each.classList.contains('spot')) === 1"
    )
    await click(page, ".call.last button", "25,000")
    await wait_for_text(page, ".detail h2", "KAOR01C250")
    assert "underlying=KA" in await page.evaluate("location.hash")
    await click(page, ".detail .shut")
    await click(page, ".chains .link")
    await page.until("location.hash === '' && document.querySelector('.grid').clientHeight > 0")


async def test_column_head_sorts_both_ways_and_back(
    page: Page, market_gateway: Gateway, feed: Feed, publisher: Publisher, payload: Payload
) -> None:
    chosen = OTHERS[150:153]  # no other test gives these a price
    for contract, last in zip(chosen, (81_000, 83_000, 82_000), strict=True):
        await publisher.publish(contract.contract_id, payload(**prices(last)))
    await open_page(page, market_gateway)
    await shown(page, "GOLD000")
    await page.evaluate("document.querySelector('.search input').focus()")
    await page.command("Input.insertText", text="GOLD15")
    await page.until("document.querySelector('.grid').ariaRowCount === '11'")
    order = (
        "[...document.querySelectorAll('.row:not([hidden])')].sort((a, b) => a.ariaRowIndex -"
        " b.ariaRowIndex).map(each => each.querySelector('.code').textContent).slice(0, 3)"
    )
    head = "document.querySelector('.head .percent')"
    for sort, names in (
        ("descending", ["GOLD151", "GOLD152", "GOLD150"]),
        ("ascending", ["GOLD150", "GOLD152", "GOLD151"]),
        ("none", ["GOLD150", "GOLD151", "GOLD152"]),
    ):
        await click(page, ".head .percent button")
        assert await page.evaluate(f"[{head}.ariaSort, {order}]") == [sort, names]


async def test_candles_of_the_day_are_drawn(
    page: Page, market_gateway: Gateway, feed: Feed
) -> None:
    await open_page(page, market_gateway)
    await shown(page, "GOLD000")
    # The picture alone; tests/bars and tests/gateway/rest show how the service makes candles.
    drawn = await page.evaluate("""
      Promise.all([import('/page/chart.js'), import('/page/format.js')])
        .then(([{chart, withLast}, {Format}]) => {
        const candle = (minute, open, high, low, close) =>
          ({time: `2026-11-27T10:${minute}:00.000000`, open, high, low, close});
        const candles = withLast([candle("00", 10, 14, 9, 12), candle("05", 12, 13, 8, 9)], 15);
        const picture = chart(candles, {width: 300, minutes: 5, previous: 11,
          format: new Format("en"), label: "two"});
        document.body.append(picture);
        const box = each => each.getBoundingClientRect();
        const [first, second] = picture.querySelectorAll("g.up, g.down");
        const found = [first.className.baseVal, second.className.baseVal,
          box(first).left < box(second).left, box(second).top <= box(first).top,
          picture.querySelector(".last").textContent, picture.textContent.includes("10:00"),
          picture.querySelectorAll(".previous").length];
        picture.remove();
        return found;
      })
    """)
    assert drawn == ["up", "up", True, True, "15", True, 1]


async def test_first_rows_are_painted_within_three_seconds(
    page: Page, market_gateway: Gateway, feed: Feed
) -> None:
    await open_page(page, market_gateway)
    await shown(page, "GOLD000")
    script = await page.command(
        "Page.addScriptToEvaluateOnNewDocument",
        source="""new MutationObserver((_, observer) => {
          if (!document.querySelector(".row .code")) return;
          observer.disconnect();
          requestAnimationFrame(() => requestAnimationFrame(now => {
            window.painted = now - performance.getEntriesByType("navigation")[0].responseStart;
          }));
        }).observe(document, {subtree: true, childList: true});""",
    )
    found = []
    for _ in range(3):
        await page.command("Page.reload")
        found.append(await page.until("window.painted"))
        if found[-1] < 300:
            break
    await page.command("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
    print(f"first rows after {min(found):.0f} ms")
    # The design's limit is 300 ms on an idle machine; a busy one may take longer.
    assert min(found) < 3000


async def test_page_reports_a_contract_that_is_not_listed(
    page: Page, market_gateway: Gateway, feed: Feed
) -> None:
    await open_page(page, market_gateway, "#contract=%3Cb%3ENOSUCH%E0%A4")
    await wait_for_text(page, ".bar", "<b>NOSUCH")
    await wait_for_text(page, ".bar", "is not listed on this server.")
    assert await page.evaluate("document.querySelector('main').className") == ""
    await page.evaluate("location.hash = '#contract=SAFOR01'")
    await wait_for_text(page, ".detail h2", "SAFOR01")
    assert "NOSUCH" not in await page.evaluate("document.querySelector('.bar').innerText")


async def test_panel_stays_where_it_is_when_contracts_are_loaded_again(
    page: Page,
    market_gateway: Gateway,
    feed: Feed,
    publisher: Publisher,
    payload: Payload,
    backend: EmbeddedValkey,
) -> None:
    await publisher.publish(SAFFRON.contract_id, payload(**prices(80_400)))
    await open_page(page, market_gateway, "#contract=SAFOR01")
    await wait_for_text(page, ".detail .price", "80,400")
    await page.evaluate("document.querySelector('.detail').scrollTop = 100")
    extra = Contract(contract_id="7777", contract_name="NEW7777", market=Market.FUTURES)
    async with Store(_settings(backend)) as store:
        await store.import_contracts([extra])
        try:
            rows = "Number(document.querySelector('.grid').ariaRowCount)"
            await page.until(f"{rows} === {len(CONTRACTS) + 2}")
            assert await page.evaluate("document.querySelector('.detail').scrollTop") == 100
            await page.evaluate("location.hash = '#contract=NEW7777'")
            await wait_for_text(page, ".detail h2", "NEW7777")
        finally:
            await store.remove_contracts(["7777"])
    await wait_for_text(page, ".bar", "NEW7777 is not listed on this server.")
    assert await page.evaluate("document.querySelector('main').className") == ""


async def test_both_languages_have_the_same_words(page: Page, market_gateway: Gateway) -> None:
    await page.visit(f"http://127.0.0.1:{market_gateway.port}/page/icon.svg")
    english, persian = await page.evaluate("""
      import('/page/text.js').then(({textOf}) => ["en", "fa"].map(language => {
        const text = textOf(language);
        return [text, text.fields, text.dayFields].map(each => Object.keys(each).sort());
      }))
    """)
    assert english == persian


# -- Search and keys ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["زعفرانِ نگين", *map(thorough, ("SAFOR01", "safor", "زعفران", "۲۰۳", "اردیبهشت saf"))],
)
async def test_search_finds_codes_titles_and_ids_in_any_spelling(
    page: Page, market_gateway: Gateway, feed: Feed, query: str
) -> None:
    await open_page(page, market_gateway)
    await page.until("document.querySelector('.grid').ariaRowCount > 200")
    await press(page, "/")
    assert await page.evaluate("document.activeElement.type") == "search"
    await page.command("Input.insertText", text=query)
    assert await shown(page, "SAFOR01")
    assert await page.evaluate("document.querySelector('.row:not([hidden]) .code').textContent")
    await press(page, "Enter")
    await wait_for_text(page, ".detail h2", "SAFOR01")
    assert await page.evaluate("location.hash") == "#contract=SAFOR01"


async def test_keys_move_open_star_and_close(
    page: Page, market_gateway: Gateway, feed: Feed
) -> None:
    await open_page(page, market_gateway)
    await page.until("document.querySelector('.grid').ariaRowCount > 200")
    await page.evaluate("document.querySelector('.grid').focus()")
    await press(page, "ArrowDown", "ArrowDown", "f")
    assert await page.evaluate("JSON.parse(localStorage.getItem('ime-live')).stars") == ["5002"]
    first = ".row[aria-rowindex='2'] .code"
    assert await page.evaluate(f"document.querySelector({json.dumps(first)}).textContent") == (
        "GOLD002"
    )
    await press(page, "Enter")
    await wait_for_text(page, ".detail h2", "GOLD002")
    await press(page, "Escape")
    await page.until("location.hash === '' && document.activeElement.classList.contains('grid')")
    await press(page, "End")
    await page.until(
        "document.querySelector('.grid').getAttribute('aria-activedescendant') !== null"
        " && document.querySelector('.grid').scrollTop > 3000"
    )
    await press(page, "/")
    await page.command("Input.insertText", text="no such contract")
    await wait_for_text(page, ".table .note", "No contract matches.")
    await press(page, "Escape")
    await page.until("document.querySelector('.search input').value === ''")


SPELLINGS = [
    "سِکّـه0312پ01", "سكه۰۳۱۲پ٠١", "نیم‌سکه", "نیم سکه", "آتي", "أحمد",
    "ئ ؤ ة ۀ", "ﷲ ﻻ ﮐ", "é e\u0301",
    "K\u2066ASH\u2069", "\ufeffSAF 01 ", "ﬁ Ⅳ ½ ｆ",
    "ہھە یى", "آ آ", "۱۲ ٣٤", "a\u00adb", "سکه 1 طلا x",
]  # fmt: skip


async def test_search_folds_spellings_as_the_service_does(
    page: Page, market_gateway: Gateway
) -> None:
    await page.visit(f"http://127.0.0.1:{market_gateway.port}/page/icon.svg")
    points = itertools.chain(range(0xA0, 0x250), range(0x600, 0x780), range(0x2000, 0x2070))
    texts = [*SPELLINGS, *(f"س{chr(point)}ا" for point in points)]
    folded = await page.evaluate(
        f"import('/page/spelling.js').then(({{fold, foldName}}) => "
        f"{json.dumps(texts)}.map(each => [fold(each), foldName(each)]))"
    )
    assert folded == [[fold(each), fold_name(each)] for each in texts]


# -- Language, theme and storage ------------------------------------------------------------------


async def test_language_and_theme_are_kept(
    page: Page, market_gateway: Gateway, feed: Feed, publisher: Publisher, payload: Payload
) -> None:
    await publisher.publish(SAFFRON.contract_id, payload(**prices(80_400)))
    await open_page(page, market_gateway, "#contract=SAFOR01")
    await wait_for_text(page, ".detail .price", "80,400")
    await click(page, ".choices button", "فارسی")
    await wait_for_text(page, ".detail .price", "۸۰٬۴۰۰")
    assert await page.evaluate("[document.documentElement.dir, document.title]") == [
        "rtl",
        "بازار · ime-live",
    ]
    before = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    for scheme, theme in (("dark", "dark"), ("light", "light")):  # of the system
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await page.command("Emulation.setEmulatedMedia", features=[feature])
        await page.until(f"document.documentElement.dataset.theme === '{theme}'")
        label = {"dark": "نمای روشن", "light": "نمای تیره"}[theme]
        await page.until(f"document.querySelector('.choices [title]').title === '{label}'")
    await click(page, ".choices button[title]")
    after = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert before != after
    await page.command("Page.reload")
    await page.until("document.documentElement?.dir === 'rtl'")
    await wait_for_text(page, ".detail .price", "۸۰٬۴۰۰")
    await page.until(f"getComputedStyle(document.body).backgroundColor === {json.dumps(after)}")
    # Jalali and Gregorian, on Tehran's clock.
    await wait_for_text(page, ".clock", "تهران")
    assert "۱۴۰" in await page.evaluate("document.querySelector('.clock').textContent")


async def test_page_works_without_storage(page: Page, market_gateway: Gateway, feed: Feed) -> None:
    await open_page(page, market_gateway)
    refuse = """for (const name of ["localStorage", "sessionStorage"]) {
      Object.defineProperty(window, name, {get() { throw new DOMException("denied"); }});
    }"""
    script = await page.command("Page.addScriptToEvaluateOnNewDocument", source=refuse)
    await page.command("Page.reload")
    await page.until("document.querySelector('.grid')?.ariaRowCount > 200")
    await click(page, ".row .star")
    await page.until("document.querySelector('.row .star').ariaPressed === 'true'")
    await click(page, ".choices button[lang]")
    await page.until("document.querySelector('.grid')?.ariaRowCount > 200")
    await page.command("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])


# -- Tokens and refusals --------------------------------------------------------------------------


async def test_token_is_asked_for_and_kept_for_the_session_only(
    page: Page, strict_gateway: Gateway, feed: Feed
) -> None:
    claims = {"sub": "web", "exp": time.time() + 600, "contracts": ["SAF*"]}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    await open_page(page, strict_gateway)
    await wait_for_text(page, ".access", "This server requires a token.")
    assert await page.evaluate("document.activeElement.id") == "token"
    for wrong, words in (
        ("not a token", "may contain only letters"),
        ("a.b.c", "This token is not valid."),
    ):
        await page.evaluate("document.querySelector('#token').value = ''")
        await page.command("Input.insertText", text=wrong)
        await press(page, "Enter")
        await wait_for_text(page, ".problem", words)
    await page.command("Input.insertText", text=token)
    await press(page, "Enter")
    assert await shown(page, "SAFOR01")
    assert await page.evaluate("sessionStorage.getItem('ime-live.token')") == token
    assert token not in await page.evaluate("JSON.stringify(localStorage) + location.href")
    await page.command("Page.reload")
    assert await shown(page, "SAFOR01")
    addresses = [
        each["params"].get("url", each["params"].get("request", {}).get("url", ""))
        for each in page.events
        if each["method"] in {"Network.webSocketCreated", "Network.requestWillBeSent"}
    ]
    assert addresses
    assert not [each for each in addresses if token in each]
    await click(page, ".forget")
    await wait_for_text(page, ".access", "This server requires a token.")
    assert await page.evaluate("sessionStorage.getItem('ime-live.token')") is None


async def test_token_of_a_link_is_taken_out_of_the_address(
    page: Page, strict_gateway: Gateway, feed: Feed
) -> None:
    claims = {"sub": "web", "exp": time.time() + 600, "contracts": ["SAF*"]}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    link = f"http://127.0.0.1:{strict_gateway.port}/#token={token}&contract=SAFOR01"
    await page.command("Page.navigate", url=link)
    assert await shown(page, "SAFOR01")
    assert (await page.evaluate("location.href")).endswith("/#contract=SAFOR01")
    assert await page.evaluate("sessionStorage.getItem('ime-live.token')") == token
    # The page is open, and another link is followed.
    await page.evaluate("location.hash = 'token=a.b.c'")
    await wait_for_text(page, ".access", "This token is not valid.")
    assert "token" not in await page.evaluate("location.href")


async def test_page_explains_a_refusal_in_words(
    page: Page, strict_gateway: Gateway, feed: Feed
) -> None:
    token = jwt.encode({"sub": "web", "exp": time.time() + 600}, SECRET, algorithm="HS256")
    await open_page(page, strict_gateway)
    await wait_for_text(page, ".access", "This server requires a token.")
    await page.command("Input.insertText", text=token)
    await press(page, "Enter")
    await wait_for_text(page, ".access", "allows fewer contracts on one connection")
    await wait_for_text(page, ".state", "disconnected")
    await click(page, ".access button", "Try again")
    await wait_for_text(page, ".access", "allows fewer contracts on one connection")


# -- States ---------------------------------------------------------------------------------------


async def test_page_shows_nothing_stale_after_a_restart(
    page: Page, serve: Serve, feed: Feed, publisher: Publisher, payload: Payload
) -> None:
    gateway = serve(key_prefix=PREFIX, status_interval=0.3)
    await publisher.publish(SAFFRON.contract_id, payload(**prices(80_400)))
    await open_page(page, gateway, "#contract=SAFOR01")
    await wait_for_text(page, ".detail .price", "80,400")
    await wait_for_text(page, ".state", "live")
    gateway.signal(signal.SIGTERM)
    await gateway.ended()
    await wait_for_text(page, ".state", "reconnecting")
    assert await page.evaluate("document.querySelector('.detail').classList.contains('old')")
    assert await page.evaluate(
        "[...document.querySelectorAll('.row:not([hidden])')]"
        ".every(each => each.classList.contains('old'))"
    )
    await publisher.publish(SAFFRON.contract_id, payload(**prices(80_500)))
    serve(port=gateway.port, key_prefix=PREFIX, status_interval=0.3)
    await page.evaluate("dispatchEvent(new Event('online'))")  # as when the network is back
    await wait_for_text(page, ".detail .price", "80,500")
    await wait_for_text(page, ".state", "live")
    await page.until("!document.querySelector('.detail').classList.contains('old')")
    # The browser itself writes each failed attempt to the console, some of them late.
    await page.command("Page.navigate", url="about:blank")
    await page.evaluate("1")
    page.events[:] = [
        each
        for each in page.events
        if "WebSocket connection" not in json.dumps(each)
        and "ERR_CONNECTION_REFUSED" not in json.dumps(each)
    ]


async def test_page_shows_the_state_of_the_feed(
    page: Page, market_gateway: Gateway, feed: Feed
) -> None:
    await open_page(page, market_gateway)
    await wait_for_text(page, ".state", "live")
    for state, words in (
        (FeedState.STALE, "no data for"),
        (FeedState.CLOSED, "opens"),
    ):
        await feed.says(state)
        await wait_for_text(page, ".state", words)
        await page.until("document.querySelector('.row')?.classList.contains('old')")
    await feed.says(FeedState.LIVE)
    await page.until("!document.querySelector('.row').classList.contains('old')")
    spoken = await page.evaluate("document.querySelector('[role=status]').textContent")
    assert spoken in {"live", "quiet"}  # by the newest change of the tests before


WORST_STATES: list[tuple[dict[str, Any], str]] = [
    ({}, "live"),
    ({"connection": "connecting"}, "connecting"),
    ({"connection": "reconnecting"}, "reconnecting"),
    ({"connection": "closed"}, "ended"),
    ({"feed": "stale"}, "stale"),
    ({"feed": "closed"}, "closed"),
    ({"feed": "down"}, "down"),
    ({"feed": None}, "down"),
    ({"current": False}, "checking"),
    ({"lag": 34}, "late"),
    ({"lag": 34, "changeAge": 40}, "late"),
    ({"changeAge": 40}, "quiet"),
    ({"feed": "closed", "changeAge": 40_000}, "closed"),
]
"""What is known, besides that all is well → the state that is shown."""


async def test_market_page_shows_the_worst_known_state_of_the_feed(
    page: Page, market_gateway: Gateway
) -> None:
    await page.visit(f"http://127.0.0.1:{market_gateway.port}/page/icon.svg")
    well = {
        "connection": "open", "current": True, "feed": "live", "changeAge": 1, "boardAge": 1,
        "lag": None,
    }  # fmt: skip
    known = [well | facts for facts, _ in WORST_STATES]
    described = await page.evaluate(
        f"import('/page/state.js').then(({{describe}}) => "
        f"{json.dumps(known)}.map(each => describe(each).kind))"
    )
    assert list(zip(known, described, strict=True)) == [
        (each, kind) for each, (_, kind) in zip(known, WORST_STATES, strict=True)
    ]


async def test_page_works_behind_a_prefix(page: Page, hasty: Gateway) -> None:
    base = "/data-engine/ime"
    answer = hasty.get(base)
    assert (answer.status, answer.headers["Location"]) == (308, "ime/")
    assert hasty.get(f"{base}/").status == hasty.get("/").status == 200
    await page.visit(f"http://127.0.0.1:{hasty.port}{base}/")
    # The page has read the contracts. Whether one is of a market depends on the tests before.
    await page.until(
        "document.querySelector('.table .note, .grid')?.textContent.includes('ontract')"
    )


# -- Screens and readers --------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "fa"])
async def test_page_does_not_scroll_sideways_on_a_phone(
    page: Page, market_gateway: Gateway, feed: Feed, language: str
) -> None:
    await page.command("Emulation.setDeviceMetricsOverride", **PHONE)
    for hash_ in ("", "#contract=SAFOR01", "#underlying=KA"):
        await open_page(page, market_gateway, hash_, language=language)
        await page.until("document.querySelector('.grid')?.ariaRowCount > 200")
        for width in (390, 320):
            await page.command("Emulation.setDeviceMetricsOverride", **PHONE | {"width": width})
            await page.until(f"innerWidth === {width}")
            wide = await page.evaluate(
                "[document.documentElement, ...document.querySelectorAll('main, .grid, .detail, "
                ".board')].filter(each => each.scrollWidth > each.clientWidth)"
                ".map(each => `${each.className} ${each.scrollWidth}`)"
            )
            assert wide == [], (hash_, width)
    small = await page.evaluate(
        "[...document.querySelectorAll('button, a, select, input')].map(each => [each.outerHTML, "
        "each.getBoundingClientRect()]).filter(([, box]) => box.width > 0 && "
        "(box.width < 24 || box.height < 24)).map(([html]) => html)"
    )
    assert small == []


@pytest.mark.parametrize("hash_", ["", "#contract=SAFOR01"])
async def test_columns_are_not_cut_off(
    page: Page, market_gateway: Gateway, feed: Feed, hash_: str
) -> None:
    await open_page(page, market_gateway, hash_)
    await page.until("document.querySelector('.grid')?.ariaRowCount > 200")
    for width in (1440, 1401, 1280, 1191, 1024, 961, 900, 721):
        await page.command("Emulation.setDeviceMetricsOverride", **DESKTOP | {"width": width})
        await page.until(f"innerWidth === {width}")
        cut = await page.evaluate(
            "[...document.querySelectorAll('.head .cell')].filter(each => "
            "each.getBoundingClientRect().right > "
            "document.querySelector('.grid').getBoundingClientRect().right)"
            ".map(each => each.className)"
        )
        assert cut == [], width


async def test_chosen_contract_covers_a_phone(
    page: Page, market_gateway: Gateway, feed: Feed
) -> None:
    await page.command("Emulation.setDeviceMetricsOverride", **PHONE)
    await open_page(page, market_gateway)
    await click(page, ".row .code", "GOLD000")
    await wait_for_text(page, ".detail h2", "GOLD000")
    assert (
        await page.evaluate("document.querySelector('.detail').getBoundingClientRect().height")
        == 844
    )
    await click(page, ".shut")
    await page.until("getComputedStyle(document.querySelector('.detail')).display === 'none'")


def axe() -> str:
    """The script of axe-core; the test is skipped where it is not installed."""
    found = os.environ.get("AXE_CORE", "")
    if not found:
        reason = "AXE_CORE does not name axe.min.js (npm's package axe-core)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        print(reason)
        pytest.skip(reason)
    return Path(found).read_text(encoding="utf-8")


SCREENS = {"desktop": DESKTOP, "phone": PHONE}

AXE_CASES = [
    (language, theme, screen, hash_)
    for language in ("en", "fa")
    for theme in ("light", "dark")
    for screen in SCREENS
    for hash_ in ("", "#contract=SAFOR01", "#underlying=KA")
]


@pytest.mark.parametrize(
    ("language", "theme", "screen", "hash_"),
    AXE_CASES,
)
async def test_axe_finds_no_violation(
    page: Page,
    market_gateway: Gateway,
    feed: Feed,
    publisher: Publisher,
    payload: Payload,
    language: str,
    theme: str,
    screen: str,
    hash_: str,
) -> None:
    script = axe()
    await publisher.publish(SAFFRON.contract_id, payload(**prices(80_400)))
    await page.command("Emulation.setDeviceMetricsOverride", **SCREENS[screen])
    await open_page(page, market_gateway, hash_, language=language, theme=theme)
    await page.until("document.querySelector('.grid')?.ariaRowCount > 200")
    await page.until("['live', 'quiet'].includes(document.querySelector('.bar').dataset.state)")
    await page.evaluate(script)
    found = await page.evaluate(
        "axe.run({resultTypes: ['violations']}).then(({violations}) => violations.map(each"
        " => [each.id, each.nodes.map(node => node.html + node.failureSummary)]))"
    )
    assert found == []
