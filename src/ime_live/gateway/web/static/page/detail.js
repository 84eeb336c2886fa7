/** Show one contract: price, candles of the day, range, depth, static fields. */

import {chart, withLast} from "./chart.js";
import {h, setAttribute, setText} from "./dom.js";
import {underlyingOf} from "./market.js";
import {preferences} from "./preferences.js";

const FEW = 12; // candles below which those of one minute say more
const REFRESH = 30_000; // milliseconds between two reads of candles
const RATES = new Set(["maxPriceChangeRate", "buyCommission", "sellCommission"]);
const DAYS = new Set(["ExpirationDate", "settlementDate"]);
const OPEN = 1e12; // no price of this exchange comes near it

export class Detail {
  #candles = null;
  #minutes = 5;
  #chartNote = null;
  #shown = null;
  #read = -Infinity;
  #cancel = new AbortController();

  constructor(app) {
    this.app = app;
    const {text} = app;
    this.heading = h("h2", {tabindex: "-1"});
    this.star = h("button", {class: "star", type: "button",
      onclick: () => app.toggleStar(app.chosen)}, "★");
    this.shut = h("button", {class: "shut", type: "button", "aria-label": text.close,
      onclick: () => app.choose(null)}, "✕");
    this.about = h("p", {class: "about"});
    this.price = h("span", {class: "price"});
    this.change = h("span", {class: "change"});
    this.chart = h("div", {class: "picture", dir: "ltr"});
    this.range = h("div", {class: "range"});
    this.depth = h("table", {class: "depth", dir: "ltr"});
    this.day = h("dl");
    this.fields = h("dl");
    this.chain = h("button", {class: "link", type: "button", onclick: () => this.#openChain()},
      text.toChain);
    this.content = h("div", {class: "content"},
      h("header", {}, this.star, this.heading, this.chain, this.shut), this.about,
      h("p", {class: "now", dir: "ltr"}, this.price, this.change),
      h("h3", {}, text.chart), this.chart,
      h("h3", {}, text.range), this.range,
      h("h3", {}, text.depth), this.depth,
      h("h3", {}, text.details), this.day, this.fields);
    this.node = h("aside", {class: "detail", "aria-label": text.details}, this.content);
    this.node.addEventListener("keydown", event => {
      if (event.key === "Escape") app.choose(null);
    });
    this.resized = new ResizeObserver(() => this.#draw());
    this.resized.observe(this.chart);
    this.show();
  }

  destroy() {
    this.#cancel.abort();
    this.resized.disconnect();
  }

  /** Show the chosen contract, or the hint. */
  show() {
    const {app} = this;
    const row = app.chosen;
    const same = row !== null && row === this.#shown;
    this.#shown = row;
    if (!same) {
      this.#cancel.abort();
      this.#cancel = new AbortController();
    }
    if (row === null) return;
    setText(this.heading, row.name);
    setText(this.about, row.title);
    const mark = String(preferences.starred(row.id));
    setAttribute(this.star, "aria-pressed", mark);
    setAttribute(this.star, "aria-label", `${app.text.star}: ${row.name}`);
    this.chain.hidden = !app.market.chains().has(underlyingOf(row));
    // Contracts are loaded again after each listing and reconnection: the reader's place stays.
    if (!same) {
      this.#candles = null;
      this.#chartNote = app.text.chartLoading;
      this.#read = -Infinity;
      this.node.scrollTop = 0;
      this.day.replaceChildren();
    }
    this.#describe(row);
    this.paint();
    this.tick();
  }

  /** Paint the newest state. */
  paint() {
    const {format, text} = this.app;
    const row = this.app.chosen;
    if (row === null) return;
    this.node.dataset.direction = !row.change ? "none" : row.change > 0 ? "up" : "down";
    setText(this.price, format.number(row.last));
    setText(this.change, row.change === null ? "" : `${format.signed(row.change)} `
      + `(${format.percent(row.percent)}${format.language === "fa" ? "٪" : " %"})`
      + `${row.change > 0 ? " ▲" : row.change < 0 ? " ▼" : ""}`);
    this.#paintRange(row);
    this.#paintDepth(row);
    this.#draw();
    if (row.data === null) {
      this.day.replaceChildren();
      return;
    }
    const values = {...row.data.Aggregate, ...row.data.ContractInfo};
    // The list is made once; then only its texts change.
    if (this.day.childElementCount === 0) {
      this.dayValues = {};
      for (const [key, label] of Object.entries(text.dayFields)) {
        this.dayValues[key] = h("dd", {dir: "ltr"});
        this.day.append(h("div", {}, h("dt", {}, label), this.dayValues[key]));
      }
    }
    for (const [key, node] of Object.entries(this.dayValues)) {
      setText(node, key === "open_interest_changes" ? format.signed(values[key])
        : format.number(values[key]));
    }
  }

  /** Once a second: read candles again when it is time. */
  tick() {
    const row = this.app.chosen;
    if (row === null || document.hidden || !this.app.stream) return;
    this.node.classList.toggle("old", !this.app.currentIn(row.market));
    if (performance.now() - this.#read < REFRESH || this.app.stream.state !== "open") return;
    this.#read = performance.now();
    const {signal} = this.#cancel;
    const read = async minutes => {
      const found = await this.app.client.get("/live/data/candles/contract/id",
        {contract_ids: row.id, interval: `${minutes}m`}, {signal});
      return {minutes, candles: found[row.id] ?? []};
    };
    read(5).then(long => (long.candles.length < FEW ? read(1) : long))
      .then(({minutes, candles}) => {
        if (signal.aborted) return;
        this.#candles = candles;
        this.#minutes = minutes;
        this.#chartNote = this.app.text.chartNone;
        this.#draw();
      }, error => {
        if (signal.aborted) return;
        this.#chartNote = error.status === 404 ? this.app.text.chartAbsent
          : this.app.text.failed(error.message);
        this.#draw();
      });
  }

  #openChain() {
    const row = this.app.chosen;
    this.app.openChain(underlyingOf(row), row.fields.ExpirationDate);
  }

  #draw() {
    const row = this.app.chosen;
    const width = this.chart.clientWidth;
    if (row === null || width === 0) return;
    if (!this.#candles?.length) {
      this.drawn = null;
      if (this.chart.textContent !== this.#chartNote) {
        this.chart.replaceChildren(h("p", {class: "note", dir: "auto"}, this.#chartNote));
      }
      return;
    }
    const drawn = `${width} ${row.last} ${this.#candles.length} ${row.id} ${this.#read}`;
    if (this.drawn === drawn) return;
    this.drawn = drawn;
    const {format, text} = this.app;
    const candles = withLast(this.#candles, row.last);
    const low = Math.min(...candles.map(each => each.low));
    const high = Math.max(...candles.map(each => each.high));
    this.chart.replaceChildren(chart(candles, {width, format, minutes: this.#minutes,
      previous: row.data?.Aggregate.previous_close ?? null,
      label: text.chartText(format.number(candles.length), format.number(this.#minutes), format.number(low),
        format.number(high))}));
  }

  #paintRange(row) {
    const {format, text} = this.app;
    const limits = row.data?.AllowedPriceRange;
    const {low_price: low, high_price: high} = row.data?.Aggregate ?? {};
    const min = limits?.minAllowedPrice ?? 0;
    const max = limits?.maxAllowedPrice ?? 0;
    const known = max > min && max < OPEN && !(min <= 1 && max >= 1e9);
    if (!known) {
      this.rangeParts = null;
      this.range.replaceChildren(h("p", {class: "note"}, row.data ? text.noLimits : text.noState));
      return;
    }
    if (!this.rangeParts) {
      const part = name => h("span", {class: name});
      this.rangeParts = {min: part("end"), max: part("end"), day: part("day"), dot: part("dot"),
        words: h("p", {class: "words"})};
      const {min: least, max: most, day, dot, words} = this.rangeParts;
      this.range.replaceChildren(
        h("div", {class: "track", dir: "ltr", "aria-hidden": "true"},
          least, h("span", {class: "bar"}, day, dot), most), words);
    }
    const at = price => Math.max(0, Math.min(100, (price - min) / (max - min) * 100));
    const parts = this.rangeParts;
    setText(parts.min, format.number(min));
    setText(parts.max, format.number(max));
    parts.day.hidden = !low || !high;
    if (low && high) {
      parts.day.style.insetInlineStart = `${at(low)}%`;
      parts.day.style.width = `${at(high) - at(low)}%`;
    }
    parts.dot.hidden = row.last === null;
    if (row.last !== null) parts.dot.style.insetInlineStart = `${at(row.last)}%`;
    setText(parts.words, low && high ? text.rangeText(format.number(low), format.number(high),
      format.number(min), format.number(max)) : "");
  }

  #paintDepth(row) {
    const {format, text} = this.app;
    if (this.depth.childElementCount === 0) {
      const head = label => h("th", {scope: "col"}, label);
      this.levels = [1, 2, 3].map(() => Array.from({length: 4}, () => h("span")));
      this.depth.append(h("thead", {}, h("tr", {}, head(text.quantity), head(text.buy),
        head(text.sell), head(text.quantity))),
      h("tbody", {}, ...this.levels.map(([buys, buy, sell, sells]) => h("tr", {},
        h("td", {class: "buy bar"}, buys), h("td", {class: "buy"}, buy),
        h("td", {class: "sell"}, sell), h("td", {class: "sell bar"}, sells)))));
    }
    const levels = ["1", "2", "3"].map(each => row.data?.BestLimit[each] ?? {});
    const most = Math.max(1, ...levels.flatMap(
      each => [each.buy_quantity ?? 0, each.sell_quantity ?? 0]));
    for (const [index, level] of levels.entries()) {
      const [buys, buy, sell, sells] = this.levels[index];
      setText(buys, level.buy_quantity ? format.number(level.buy_quantity) : "–");
      setText(buy, level.buy_price ? format.number(level.buy_price) : "–");
      setText(sell, level.sell_price ? format.number(level.sell_price) : "–");
      setText(sells, level.sell_quantity ? format.number(level.sell_quantity) : "–");
      for (const [node, quantity] of [[buys, level.buy_quantity], [sells, level.sell_quantity]]) {
        node.parentElement.style.setProperty("--part", `${(quantity ?? 0) / most * 100}%`);
      }
    }
  }

  #describe(row) {
    const {text} = this.app;
    const shown = [[text.code, row.name], [text.id, row.id], [text.market, text[row.market]
      ?? row.market]];
    for (const [key, label] of Object.entries(text.fields)) {
      const value = row.fields[key];
      if (value === null || value === undefined || value === "") continue;
      shown.push([label, this.#worded(key, value, row)]);
    }
    this.fields.replaceChildren(...shown.map(([label, value]) =>
      h("div", {}, h("dt", {}, label), h("dd", {}, h("bdi", {}, value)))));
  }

  #worded(key, value, row) {
    const {format, text} = this.app;
    if (DAYS.has(key)) return format.day(value);
    if (key === "optionType") return text[value] ?? value;
    if (key === "csize") return `${format.number(value)} ${row.fields.csizeUnit ?? ""}`;
    if (RATES.has(key)) {
      return `${format.number(value * 100)}${format.language === "fa" ? "٪" : " %"}`;
    }
    return typeof value === "number" ? format.number(value) : String(value);
  }
}
