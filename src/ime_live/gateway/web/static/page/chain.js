/** Show an option chain: strikes down the middle, calls before them, puts after them. */

import {h, setText} from "./dom.js";

const FIELDS = ["interest", "volume", "bid", "ask", "last"];
const LABELS = {bid: "buy", ask: "sell"};
const PRICES = new Set(["bid", "ask", "last"]);

export class Chain {
  #lines = new Map();
  #spot = null;
  #strikes = [];

  constructor(app) {
    this.app = app;
    const {text} = app;
    this.underlying = h("select", {onchange: () => app.openChain(this.underlying.value, null)});
    this.expiration = h("select", {
      onchange: () => app.openChain(this.underlying.value, this.expiration.value)});
    this.back = h("button", {class: "link", type: "button", onclick: () => app.closeChain()},
      text.back);
    this.body = h("tbody");
    const heads = [...FIELDS, "strike", ...FIELDS.toReversed()];
    this.board = h("table", {class: "chain"},
      h("caption", {class: "unseen"}, text.chain),
      h("colgroup", {}, ...heads.map(key => h("col", {
        class: key === "strike" ? "middle" : PRICES.has(key) ? `wide of-${key}` : null}))),
      h("thead", {},
        h("tr", {}, h("th", {colspan: "5", scope: "colgroup"}, text.calls), h("td"),
          h("th", {colspan: "5", scope: "colgroup"}, text.puts)),
        h("tr", {}, ...heads.map(key => h("th", {scope: "col", class: key}, text[LABELS[key] ?? key])))),
      this.body);
    this.note = h("p", {class: "note"});
    this.scroll = h("div", {class: "board", tabindex: "0", role: "region", "aria-label": text.chain},
      this.board, this.note);
    this.node = h("div", {class: "chains"},
      h("div", {class: "choices"}, this.back,
        h("label", {}, text.underlying, " ", this.underlying),
        h("label", {}, text.expiration, " ", this.expiration)), this.scroll);
    this.node.addEventListener("keydown", event => {
      if (event.key === "Escape" && event.target.tagName !== "SELECT") app.closeChain();
    });
  }

  /** Show the chain of the address; without one the first. */
  show() {
    const {app} = this;
    const {text, format} = app;
    const chains = app.market.chains();
    const chain = chains.get(app.chain.underlying) ?? [...chains.values()].find(each =>
      each.symbol === app.chain.underlying) ?? this.#first(chains);
    this.note.hidden = chain !== undefined;
    this.board.hidden = chain === undefined;
    if (chain === undefined) {
      setText(this.note, app.market.loaded ? text.noOptions : text.loading);
      this.body.replaceChildren();
      return;
    }
    const dates = [...chain.expirations.keys()].sort();
    const date = dates.includes(app.chain.expiration) ? app.chain.expiration : dates[0];
    const options = (pairs, chosen) => pairs.map(([value, label]) =>
      h("option", {value, selected: value === chosen}, label));
    this.underlying.replaceChildren(...options(
      [...chains.values()].map(each => [each.id, each.name]), chain.id));
    this.expiration.replaceChildren(...options(dates.map(each => [each, format.day(each)]), date));
    this.#spot = app.market.priceOf(chain, date);
    this.#strikes = [...chain.expirations.get(date).values()].sort((a, b) => a.strike - b.strike);
    this.#lines.clear();
    this.line = h("tr", {class: "spot"}, h("td", {colspan: "11"}, h("bdi")));
    const name = row => row === undefined ? null : h("button", {type: "button", class: "option",
      onclick: () => app.choose(row)}, h("span"), h("span", {class: "quote"}),
      h("span", {class: "unseen"}, ` ${row.name}`));
    this.rows = this.#strikes.map(each => {
      const nodes = {node: null, call: {}, put: {}};
      const cells = (side, fields) => fields.map(field => {
        const content = field === "last" ? name(each[side]) : h("span");
        if (content !== null) nodes[side][field] = content.firstElementChild ?? content;
        if (field === "last" && content !== null) nodes[side].quote = content.children[1];
        return h("td", {class: `${side} ${field}`}, content);
      });
      nodes.node = h("tr", {}, ...cells("call", FIELDS),
        h("th", {scope: "row", class: "strike"}, format.number(each.strike)),
        ...cells("put", FIELDS.toReversed()));
      for (const side of ["call", "put"]) {
        if (each[side] !== undefined) this.#lines.set(each[side], nodes[side]);
      }
      return nodes.node;
    });
    this.body.replaceChildren(...this.rows);
    this.paint(null);
    this.line.scrollIntoView({block: "center"});
  }

  /** The chain to begin with: one whose underlying has a price. */
  #first(chains) {
    const all = [...chains.values()];
    return all.find(each => this.app.market.priceOf(each, [...each.expirations.keys()][0])) ?? all[0];
  }

  /** Paint options that have changed, or all, and the line of the underlying's price. */
  paint(changed) {
    const {format, text} = this.app;
    if (this.body.childElementCount === 0) return;
    for (const [row, nodes] of this.#lines) {
      if (changed !== null && !changed.has(row)) continue;
      for (const field of FIELDS) {
        setText(nodes[field],
          PRICES.has(field) ? format.number(row[field]) : format.quantity(row[field]));
      }
      // On a phone, where there is no room for columns of them.
      setText(nodes.quote, `${format.number(row.bid)} / ${format.number(row.ask)}`);
    }
    if (changed !== null && !changed.has(this.#spot)) return;
    const price = this.#spot?.last ?? null;
    this.note.hidden = price !== null;
    if (price === null) {
      setText(this.note, text.noSpot);
      this.line.remove();
    } else {
      setText(this.line.querySelector("bdi"), text.spot(this.#spot.name, format.number(price)));
      const at = this.#strikes.findIndex(each => each.strike > price);
      const next = at === -1 ? null : this.rows[at];
      if (this.line.nextElementSibling !== next || !this.line.isConnected) {
        this.body.insertBefore(this.line, next);
      }
    }
    for (const [index, {strike}] of this.#strikes.entries()) {
      this.rows[index].classList.toggle("call-in", price !== null && strike < price);
      this.rows[index].classList.toggle("put-in", price !== null && strike > price);
    }
  }

  tick() {
    this.node.classList.toggle("old", !this.app.currentIn("IMEOption"));
  }
}
