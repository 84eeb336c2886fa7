/** The market page: one stream of all markets, and what it is shown in. */

import {Client, connect} from "../ime-live.js";
import {refusal, tokenForm} from "./access.js";
import {Bar} from "./bar.js";
import {Chain} from "./chain.js";
import {Detail} from "./detail.js";
import {h} from "./dom.js";
import {Format, wallOf} from "./format.js";
import {Market} from "./market.js";
import {isToken, preferences} from "./preferences.js";
import {CURRENT, describe} from "./state.js";
import {Table} from "./table.js";
import {textOf} from "./text.js";

const REPORT = 15_000; // milliseconds between two reports about hours and lag
const LISTING = 1000; // milliseconds after which new listings are loaded together

class App {
  market = new Market();
  tab = "all";
  query = "";
  sort = null;
  chosen = null;
  absent = null;
  chain = null;
  stream = null;
  client = null;
  synthetic = false;
  narrow = matchMedia("(max-width: 720px)");
  calm = matchMedia("(prefers-reduced-motion: reduce)");
  view = null;
  #report = null;
  #reported = -Infinity;
  #clock = null;
  #newest = null;
  #token = null;
  #error = null;
  #current = new Map();
  #listing = null;

  run() {
    this.build();
    addEventListener("hashchange", () => {
      if (this.#takeToken()) this.start();
      this.#follow();
    });
    addEventListener("keydown", event => this.#key(event));
    addEventListener("themechange", () => this.view.bar.nameTheme());
    this.narrow.addEventListener("change", () => this.arrange());
    setInterval(() => this.tick(), 1000);
    this.#takeToken();
    this.start();
  }

  /** Make the page in the language that is chosen. */
  build() {
    const language = document.documentElement.lang;
    this.text = textOf(language);
    this.format = new Format(language);
    const {text} = this;
    for (const part of Object.values(this.view ?? {})) part.destroy?.();
    this.view = {bar: new Bar(this), table: new Table(this), detail: new Detail(this),
      chain: new Chain(this)};
    this.main = h("main", {}, this.view.table.node, this.view.chain.node, this.view.detail.node);
    document.body.replaceChildren(this.view.bar.node, this.main,
      h("footer", {}, h("span", {id: "keys"}, text.keys), h("span", {}, text.unit)));
    document.title = `${text.title} · ime-live`;
    this.#show();
    this.tick();
    if (this.#error !== null) this.#refuse(this.#error);
  }

  // The stream

  /** Take the token of a link such as the demo's out of the address, which may be shared. */
  #takeToken() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const token = wanted.get("token");
    if (token === null) return false;
    wanted.delete("token");
    const hash = wanted.toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
    if (isToken(token)) this.#token = token;
    return isToken(token);
  }

  /** Connect; with a token, it is kept once it was accepted. */
  start(token = this.#token ?? preferences.token) {
    this.#token = token;
    this.stream?.close();
    this.#error = null;
    this.#reported = -Infinity;
    this.#synchronize();
    this.client = new Client({token: token ?? undefined});
    const stream = connect({markets: this.market.known, by: "id", token: token ?? undefined});
    this.stream = stream;
    const own = call => (...given) => { if (this.stream === stream) call(...given); };
    stream.onUpdates(own(messages => this.#take(messages)));
    stream.onListing(own(() => {
      clearTimeout(this.#listing);
      this.#listing = setTimeout(own(() => this.#load()), LISTING);
    }));
    stream.onStatus(own(status => {
      this.#clock = wallOf(status.timestamp) - performance.now();
      this.tick();
    }));
    stream.onConnection(own(({state}) => {
      if (state === "open") {
        if (token !== preferences.token) preferences.token = token;
        this.#report = null;
        this.#reported = -Infinity;
        // Contracts may have been listed while the connection was away.
        this.#load();
      }
      this.tick();
    }));
    stream.closed.catch(own(error => this.#refuse(error)));
    this.tick();
  }

  forgetToken() {
    preferences.token = this.#token = null;
    this.market = new Market();
    this.choose(null);
    this.build();
    this.start();
  }

  async #load() {
    const {stream, client, market} = this;
    try {
      const more = market.loaded ? [] : await market.findMarkets(client);
      await market.load(client);
      if (this.stream !== stream) return;
      if (more.length) await stream.add({markets: more, by: "id"});
    } catch (error) {
      if (this.stream !== stream || stream.state === "closed") return;
      // The stream goes on; the next second tries again.
      clearTimeout(this.#listing);
      this.#listing = setTimeout(() => { if (this.stream === stream) this.#load(); }, 5 * LISTING);
      this.view.table.note.textContent = this.text.failed(error.message);
      return;
    }
    market.take(stream.latest.values());
    this.#note(stream.latest.values());
    this.#follow();
    this.view.bar.arrange();
    this.tick();
  }

  #take(messages) {
    const changed = this.market.take(messages);
    this.#note(messages);
    if (this.chain === null) this.view.table.paint(changed);
    else this.view.chain.paint(changed);
    if (changed.has(this.chosen)) this.view.detail.paint();
  }

  #note(messages) {
    for (const {timestamp} of messages) {
      if (this.#newest === null || timestamp > this.#newest) this.#newest = timestamp;
    }
  }

  #refuse(error) {
    this.#error = error;
    const asks = error.name === "AuthenticationError";
    if (asks) preferences.token = this.#token = null;
    const shown = asks ? tokenForm(this, error) : refusal(this, error);
    this.main.replaceChildren(shown.node);
    shown.focus();
    this.tick();
  }

  #synchronize() {
    // After a refusal the market takes the place of the form again.
    const {table, chain, detail} = this.view;
    if (!table.node.isConnected) {
      this.main.replaceChildren(table.node, chain.node, detail.node);
      this.#show();
    }
  }

  // How far the numbers can be trusted

  describe(market = null) {
    const {stream} = this;
    const status = stream?.status ?? null;
    const feed = status === null ? undefined : market === null ? status.feed
      : status.markets?.[market] ?? status.feed;
    const age = timestamp => (timestamp ? stream?.age(timestamp) ?? null : null);
    return describe({connection: stream?.state ?? "connecting", current: stream?.current ?? false,
      feed, changeAge: age(this.#newest), boardAge: age(status?.lastBoard),
      lag: this.#report?.lag ?? null});
  }

  /** Whether a market's prices are those of now; worked out once a second and state. */
  currentIn(market) {
    if (!this.#current.has(market)) {
      this.#current.set(market, CURRENT.has(this.describe(market).kind));
    }
    return this.#current.get(market);
  }

  age(row) { return row.timestamp === null ? null : this.stream?.age(row.timestamp) ?? null; }

  /** Milliseconds of Tehran's wall clock, by the gateway's clock once it is known. */
  now() {
    if (this.#clock !== null) return this.#clock + performance.now();
    return Date.now() + 3.5 * 3_600_000;
  }

  /** When the first market opens again; null if unknown. */
  opening() {
    const times = Object.values(this.#report?.markets ?? {}).map(each => each.until)
      .filter(each => each);
    return times.length ? Math.min(...times.map(wallOf)) : null;
  }

  async #ask() {
    if (performance.now() - this.#reported < REPORT || document.hidden
      || this.stream?.state !== "open" || !this.market.rows.size) return;
    this.#reported = performance.now();
    const {stream} = this;
    try {
      // One contract is enough: the answer would have all of them.
      const report = await this.client.status({contractIds: [this.market.rows.keys().next().value]});
      if (this.stream !== stream) return;
      this.#report = report;
      this.synthetic = report.source === "synthetic";
    } catch {
      this.#report = null; // hours and lag are not known; the stream tells the state
    }
    this.tick();
  }

  tick() {
    this.#current.clear();
    this.#ask();
    for (const part of Object.values(this.view)) part.tick?.();
    document.body.classList.toggle("old", !CURRENT.has(this.describe().kind));
  }

  // What is shown

  arrange() { return this.view.table.arrange(); }

  selectTab(tab) {
    this.tab = tab;
    if (this.chain !== null) this.closeChain();
    this.arrange();
    this.view.bar.arrange();
  }

  toggleStar(row) {
    if (row === null) return;
    preferences.toggleStar(row.id);
    this.arrange();
    this.view.bar.arrange();
    if (row === this.chosen) {
      this.view.detail.star.setAttribute("aria-pressed", String(preferences.starred(row.id)));
    }
  }

  choose(row) {
    const back = this.chosen;
    this.#go({contract: row?.name ?? null});
    if (row === null && back !== null) this.view.table.grid.focus();
  }

  openChain(underlying, expiration) { this.#go({underlying: underlying ?? "", expiration}); }

  closeChain() { this.#go({underlying: null, expiration: null}); }

  /** Change the address, which says what is shown and can be shared. */
  #go(changes) {
    const wanted = new URLSearchParams(location.hash.slice(1));
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined) wanted.delete(name);
      else wanted.set(name, value);
    }
    const hash = wanted.toString();
    history.pushState(null, "", hash ? `#${hash}` : location.pathname + location.search);
    this.#follow(true);
  }

  #follow(focus = false) {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const before = this.chosen;
    this.chosen = wanted.has("contract") ? this.market.find(wanted.get("contract")) : null;
    const absent = this.chosen === null && this.market.loaded ? wanted.get("contract") : null;
    this.absent = absent || null;
    this.chain = !wanted.has("underlying") ? null
      : {underlying: wanted.get("underlying"), expiration: wanted.get("expiration")};
    this.#show();
    if (focus && this.chosen !== null && this.chosen !== before) {
      this.view.detail.heading.focus({preventScroll: true});
    }
  }

  #show() {
    this.main.classList.toggle("with-chain", this.chain !== null);
    this.main.classList.toggle("with-detail", this.chosen !== null);
    if (this.chain !== null) this.view.chain.show();
    this.arrange();
    this.view.detail.show();
    this.view.bar.miss(this.absent);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) return;
    const {bar, table} = this.view;
    if (event.key === "/") {
      bar.search.focus();
      bar.search.select();
    } else if (event.key === "f" || event.key === "ب") {
      this.toggleStar(table.grid.contains(event.target) ? table.active ?? this.chosen
        : this.chosen ?? table.active);
    } else if (event.key === "Escape" && this.chosen !== null) {
      this.choose(null);
    } else if (event.key === "Escape" && this.chain !== null) {
      this.closeChain();
    } else return;
    event.preventDefault();
  }
}

const app = new App();
app.run();
