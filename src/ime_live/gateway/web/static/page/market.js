/** The contracts of the service with their newest states: what all parts of the page show. */

import {preferences} from "./preferences.js";
import {searchable, termsOf} from "./spelling.js";

/** The markets that the service documents; it says itself which others it has. */
export const DOCUMENTED = ["IMEFutures", "IMEOption", "IMEDepositCertificate"];

const SEARCH = "/static/data/contract/search";

/** A contract: static fields, and the numbers of its newest state; null where there is none. */
class Row {
  constructor(id, market, fields) {
    this.id = id;
    this.timestamp = null;
    this.data = null;
    this.last = this.percent = this.change = null;
    this.bid = this.bidQuantity = this.ask = this.askQuantity = null;
    this.volume = this.interest = null;
    this.describe(market, fields);
  }

  describe(market, fields) {
    this.market = market;
    this.fields = fields;
    this.name = fields.contractName ?? this.id;
    this.title = fields.title ?? "";
    this.text = searchable(`${this.name} ${this.title} ${this.id}`);
    this.folded = searchable(this.name);
  }

  take({timestamp, data}) {
    const {Aggregate: day, BestLimit: limit, ContractInfo: info} = data;
    const best = limit["1"];
    this.timestamp = timestamp;
    this.data = data;
    this.last = day.last_price || null;
    const previous = day.previous_close;
    this.change = this.last !== null && previous ? this.last - previous : null;
    this.percent = this.change === null ? null : this.change / previous * 100;
    this.bid = best.buy_price || null;
    this.bidQuantity = best.buy_quantity || null;
    this.ask = best.sell_price || null;
    this.askQuantity = best.sell_quantity || null;
    this.volume = day.total_volume;
    this.interest = info.open_interest;
  }
}

/** Names in the order of people: GC9 before GC10. */
const COLLATOR = new Intl.Collator(["en", "fa"], {numeric: true});
export const byName = (a, b) => COLLATOR.compare(a.name, b.name);

export class Market {
  /** Contracts by id. */
  rows = new Map();
  /** Names of the markets that have contracts, in the order of the tabs. */
  markets = [];
  /** Whether the contracts have been loaded once. */
  loaded = false;
  /** All markets that are known of. */
  known = DOCUMENTED;

  /** Ask the service for its markets, and return those that are not documented. */
  async findMarkets(client) {
    const found = await client.get("/static/data/market").catch(error => {
      if (error.status === 404) return []; // an older gateway behind the same address
      throw error;
    });
    const names = found.map(each => each.market);
    this.known = [...DOCUMENTED, ...names.filter(each => !DOCUMENTED.includes(each))];
    return this.known.slice(DOCUMENTED.length);
  }

  /** Load the listed contracts of all markets; states that are known stay. */
  async load(client) {
    const found = await Promise.all(this.known.map(async market => {
      const listed = await client.get(SEARCH, {market, Search_char: "", details: true});
      return [market, listed.filter(each => !each.expired && !each.delisted)];
    }));
    const rows = new Map();
    for (const [market, listed] of found) {
      for (const fields of listed) {
        const id = String(fields.contractId);
        const row = this.rows.get(id) ?? new Row(id, market, fields);
        row.describe(market, fields);
        rows.set(id, row);
      }
    }
    this.rows = rows;
    this.markets = found.filter(([, listed]) => listed.length).map(([market]) => market);
    this.loaded = true;
  }

  /** Take the newest messages, and return the rows that have changed. */
  take(messages) {
    const changed = new Set();
    for (const message of messages) {
      const row = this.rows.get(message.contractId);
      // A state of a contract that is not loaded yet waits in the stream's `latest`.
      if (row === undefined) continue;
      row.take(message);
      changed.add(row);
    }
    return changed;
  }

  count(tab) { return this.select(tab, "", null).length; }

  /** The contract of a name or an id, in any spelling. */
  find(text) {
    const wanted = searchable(text);
    const found = [...this.rows.values()].find(each => each.name === text)
      ?? [...this.rows.values()].find(each => each.folded === wanted);
    return found ?? this.rows.get(text) ?? null;
  }

  /**
   * Select and order contracts.
   *
   * @param tab "all", "starred" or a market.
   * @param query the text of the search; codes that begin with it come first.
   * @param sort {key, down}, or null for favourites first, then by name.
   */
  select(tab, query, sort) {
    const terms = termsOf(query);
    const rows = [...this.rows.values()].filter(each =>
      (tab === "all" || each.market === tab || (tab === "starred" && preferences.starred(each.id)))
      && terms.every(term => each.text.includes(term)));
    const rank = row => terms.length && row.folded.startsWith(terms[0]) ? 0 : 1;
    const star = row => preferences.starred(row.id) ? 0 : 1;
    const order = sort === null ? byName : comparison(sort);
    return rows.sort((a, b) => rank(a) - rank(b) || star(a) - star(b) || order(a, b));
  }

  /** The options by underlying: id → {name, expirations: date → strikes with a call and a put}. */
  chains() {
    const chains = new Map();
    for (const row of this.rows.values()) {
      const {optionType, strikePrice, ExpirationDate} = row.fields;
      const id = underlyingOf(row);
      if (!optionType || strikePrice === null || !ExpirationDate || id === null) continue;
      if (!chains.has(id)) chains.set(id, {id, name: row.fields.UnderlyingAssets_title ?? id,
        symbol: row.fields.UnderlyingAssets_symbolName_or_contractName, expirations: new Map()});
      const {expirations} = chains.get(id);
      if (!expirations.has(ExpirationDate)) expirations.set(ExpirationDate, new Map());
      const strikes = expirations.get(ExpirationDate);
      if (!strikes.has(strikePrice)) strikes.set(strikePrice, {strike: strikePrice});
      strikes.get(strikePrice)[optionType] = row;
    }
    return chains;
  }

  /** The contract whose price is that of a chain's underlying: itself, or the future nearest to it. */
  priceOf(chain, expiration) {
    const rows = [...this.rows.values()].filter(each => each.market !== "IMEOption");
    const itself = this.rows.get(chain.id)
      ?? rows.find(each => each.name === chain.id || each.name === chain.symbol);
    if (itself) return itself;
    const distance = row => Math.abs(
      Date.parse(row.fields.ExpirationDate ?? "") - Date.parse(expiration));
    const futures = rows.filter(each =>
      underlyingOf(each) === chain.id && !Number.isNaN(distance(each)));
    return futures.sort((a, b) => distance(a) - distance(b))[0] ?? null;
  }
}

/** The key of a contract's underlying; null for one without. */
export const underlyingOf = row => row.fields.UnderlyingAssets_symbolIsin_or_contractId
  ?? row.fields.UnderlyingAssets_symbolName_or_contractName
  ?? row.fields.UnderlyingAssets_title ?? null;

function comparison({key, down}) {
  if (key === "name") return (a, b) => (down ? byName(b, a) : byName(a, b));
  return (a, b) => {
    const x = a[key];
    const y = b[key];
    if (x === y) return byName(a, b);
    if (x === null) return 1; // contracts without a number come last either way
    if (y === null) return -1;
    return (x < y ? -1 : 1) * (down ? -1 : 1);
  };
}
