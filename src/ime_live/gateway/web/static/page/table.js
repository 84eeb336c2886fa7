/** The table of contracts: rows of one height, of which only those in view exist and are painted. */

import {h, setAttribute, setText} from "./dom.js";
import {preferences} from "./preferences.js";

const COLUMNS = ["name", "last", "percent", "bid", "ask", "volume", "interest", "age"];
const LABELS = {name: "contract"};
const fieldOf = column => (column === "age" ? "timestamp" : column);
const SPARE = 4; // rows above and below those in view
const FLASH = {duration: 600, easing: "ease-out"};
const CALM = 1000; // milliseconds between two flashes of a row
const RESORT = 5000; // milliseconds between two orders by a number that changes

/** The elements of one visible row, which shows one contract after the other. */
class Line {
  #flashed = -Infinity;

  constructor(table) {
    const cell = (name, ...children) => h("div", {role: "gridcell", class: `cell ${name}`}, ...children);
    this.star = h("button", {class: "star", tabindex: "-1", type: "button"}, "★");
    this.code = h("bdi", {class: "code"});
    this.title = h("bdi", {class: "about"});
    this.last = h("span");
    this.percent = h("span");
    this.bid = h("span");
    this.bidQuantity = h("span", {class: "quantity"});
    this.ask = h("span");
    this.askQuantity = h("span", {class: "quantity"});
    this.volume = h("span");
    this.interest = h("span");
    this.age = h("span");
    this.node = h("div", {role: "row", class: "row"},
      cell("name", this.star, this.code, this.title),
      cell("last number", this.last), cell("percent number", this.percent),
      cell("bid pair", this.bid, this.bidQuantity), cell("ask pair", this.ask, this.askQuantity),
      cell("volume number", this.volume), cell("interest number", this.interest),
      cell("age number", this.age));
    this.row = null;
    this.node.addEventListener("click", event => {
      if (event.target === this.star) table.toggleStar(this.row);
      else table.open(this.row);
    });
  }

  show(row, table) {
    const {format, text} = table.app;
    const same = this.row === row;
    const before = same ? this.shownLast : null;
    this.row = row;
    setText(this.code, row.name);
    setText(this.title, row.title);
    setText(this.last, format.number(row.last));
    setText(this.percent, arrowed(format.percent(row.percent), row.percent));
    setText(this.bid, format.number(row.bid));
    setText(this.bidQuantity, row.bid === null ? "" : `×${format.quantity(row.bidQuantity)}`);
    setText(this.ask, format.number(row.ask));
    setText(this.askQuantity, row.ask === null ? "" : `×${format.quantity(row.askQuantity)}`);
    setText(this.volume, format.quantity(row.volume));
    setText(this.interest, format.quantity(row.interest));
    const direction = !row.percent ? null : row.percent > 0 ? "up" : "down";
    setAttribute(this.node, "data-direction", direction);
    setAttribute(this.node, "id", `contract-${row.id}`);
    const starred = preferences.starred(row.id);
    setAttribute(this.star, "aria-pressed", String(starred));
    setAttribute(this.star, "aria-label", `${text.star}: ${row.name}`);
    this.shownLast = row.last;
    if (same && before !== null && row.last !== null && before !== row.last) {
      this.#flash(row.last > before ? "var(--flash-up)" : "var(--flash-down)", table);
    }
    if (!same) {
      this.last.parentElement.getAnimations().forEach(each => each.cancel());
      this.#flashed = -Infinity;
    }
    this.mark(table);
  }

  mark(table) {
    const old = !table.app.currentIn(this.row.market);
    this.node.classList.toggle("old", old);
    setText(this.age, table.app.format.age(table.app.age(this.row)));
    const chosen = this.row === table.app.chosen;
    setAttribute(this.node, "aria-selected", String(chosen));
    this.node.classList.toggle("active", this.row === table.active);
  }

  #flash(color, table) {
    const now = performance.now();
    if (now - this.#flashed < CALM || table.app.calm.matches) return;
    this.#flashed = now;
    this.last.parentElement.animate(
      [{backgroundColor: color}, {backgroundColor: "transparent"}], FLASH);
  }
}

const arrowed = (text, value) => (value ? `${text} ${value > 0 ? "▲" : "▼"}` : text);

export class Table {
  #lines = [];
  #rows = [];
  #sort = null;
  #sorted = 0;
  #frame = null;

  constructor(app) {
    this.app = app;
    this.active = null;
    const {text} = app;
    this.heads = COLUMNS.map(key => {
      const label = text[LABELS[key] ?? key];
      const button = h("button", {type: "button", tabindex: "-1", onclick: () => this.#sortBy(key)},
        label, h("span", {class: "order", "aria-hidden": "true"}));
      return h("div", {role: "columnheader", class: `cell ${key}`, "aria-sort": "none"}, button);
    });
    this.body = h("div", {role: "rowgroup", class: "rows"});
    this.grid = h("div", {
      role: "grid", class: "grid", tabindex: "0", "aria-label": text.contracts,
      "aria-describedby": "keys",
    }, h("div", {role: "rowgroup", class: "heads"},
      h("div", {role: "row", class: "head", "aria-rowindex": "1"}, ...this.heads)), this.body);
    this.note = h("p", {class: "note"}, text.loading);
    this.node = h("section", {class: "table", "aria-label": text.title}, this.grid, this.note);
    this.grid.addEventListener("scroll", () => this.#soon(), {passive: true});
    this.grid.addEventListener("keydown", event => this.key(event));
    this.grid.addEventListener("focus", () => {
      if (this.active === null && this.#rows.length) this.#activate(0);
    });
    this.resized = new ResizeObserver(() => this.#soon());
    this.resized.observe(this.grid);
    this.#sort = app.sort;
  }

  destroy() {
    this.resized.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  get height() { return this.app.narrow.matches ? 56 : 32; }

  open(row) { this.app.choose(row); }

  toggleStar(row) { this.app.toggleStar(row); }

  /** Select and order again: another tab, query, favourite or listing. */
  arrange() {
    const {app} = this;
    this.#rows = app.market.select(app.tab, app.query, this.#sort);
    this.#sorted = performance.now();
    if (!this.#rows.includes(this.active)) this.active = app.query ? this.#rows[0] ?? null : null;
    setAttribute(this.grid, "aria-rowcount", this.#rows.length + 1);
    const empty = app.market.rows.size === 0 ? (app.market.loaded ? "empty" : "loading")
      : app.tab === "starred" && !app.query ? "noStars" : "nothing";
    this.note.hidden = this.#rows.length > 0;
    setText(this.note, app.text[empty]);
    this.body.style.height = `${this.#rows.length * this.height}px`;
    for (const [index, head] of this.heads.entries()) {
      const chosen = this.#sort?.key === fieldOf(COLUMNS[index]);
      setAttribute(head, "aria-sort", chosen ? (this.#sort.down ? "descending" : "ascending") : "none");
      setText(head.querySelector(".order"), chosen ? (this.#sort.down ? "↓" : "↑") : "");
    }
    this.paint(null);
    return this.#rows.length;
  }

  /** Paint the rows in view: all of them, or those that have changed. */
  paint(changed) {
    const {height} = this;
    const top = Math.max(0, Math.floor(this.grid.scrollTop / height) - SPARE);
    const count = Math.min(
      this.#rows.length - top, Math.ceil(this.grid.clientHeight / height) + 2 * SPARE);
    // A row in view keeps its elements while the table scrolls, so a flash does not jump.
    const wanted = new Map();
    for (let index = top; index < top + count; index++) wanted.set(this.#rows[index], index);
    const free = [];
    const kept = new Map();
    for (const line of this.#lines) {
      if (wanted.has(line.row)) kept.set(line.row, line);
      else free.push(line);
    }
    for (const [row, index] of wanted) {
      let line = kept.get(row);
      const fresh = line === undefined;
      if (fresh) {
        line = free.pop();
        if (line === undefined) {
          line = new Line(this);
          this.#lines.push(line);
          this.body.append(line.node);
        }
        line.node.hidden = false;
      }
      if (fresh || changed === null || changed.has(row)) line.show(row, this);
      if (line.index !== index || line.height !== height) {
        line.index = index;
        line.height = height;
        line.node.style.transform = `translateY(${index * height}px)`;
        setAttribute(line.node, "aria-rowindex", index + 2);
        line.node.classList.toggle("odd", index % 2 === 1);
      }
    }
    for (const line of free) {
      line.node.hidden = true;
      line.node.removeAttribute("id");
      line.row = null;
    }
    setAttribute(this.grid, "aria-activedescendant",
      this.active !== null && wanted.has(this.active) ? `contract-${this.active.id}` : null);
  }

  /** Once a second: ages, and what has become old. */
  tick() {
    for (const line of this.#lines) if (line.row !== null) line.mark(this);
    const moving = this.#sort !== null && this.#sort.key !== "name";
    // Rows do not move under a pointer or a keyboard's focus.
    const held = this.grid.matches(":hover") || this.grid.matches(":focus-within");
    if (moving && !held && performance.now() - this.#sorted > RESORT) this.arrange();
  }

  /** Move, open, mark and close by keys; also those of the search. */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / this.height) - 2);
    const last = this.#rows.length - 1;
    const at = this.#rows.indexOf(this.active);
    const inSearch = event.target.tagName === "INPUT";
    const moves = {ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page,
      ...(inSearch ? {} : {Home: 0, End: last})};
    if (event.key in moves) {
      this.#activate(Math.min(last, Math.max(0, moves[event.key])));
    } else if (event.key === "Enter" && this.active !== null) {
      this.open(this.active);
    } else return;
    event.preventDefault();
  }

  #activate(index) {
    if (index < 0 || index >= this.#rows.length) return;
    this.active = this.#rows[index];
    const {height} = this;
    const head = this.heads[0].parentElement.offsetHeight;
    const {scrollTop, clientHeight} = this.grid;
    if (index * height < scrollTop) this.grid.scrollTop = index * height;
    else if ((index + 1) * height > scrollTop + clientHeight - head) {
      this.grid.scrollTop = (index + 1) * height - clientHeight + head;
    }
    this.paint(null);
  }

  #sortBy(key) {
    const own = fieldOf(key);
    const first = own !== "name"; // the largest number first
    if (this.#sort?.key !== own) this.#sort = {key: own, down: first};
    else this.#sort = this.#sort.down === first ? {key: own, down: !first} : null;
    this.app.sort = this.#sort;
    this.arrange();
  }

  #soon() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.paint(new Set());
      const wanted = `${this.#rows.length * this.height}px`;
      if (this.body.style.height !== wanted) this.body.style.height = wanted;
    });
  }
}
