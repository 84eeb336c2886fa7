/** The head of the page: state, dates, choices, search and the tabs of markets. */

import {h, setAttribute, setText} from "./dom.js";
import {chooseLanguage, chooseTheme, preferences, themeNow} from "./preferences.js";

const PATIENCE = 600; // milliseconds of typing before a screen reader hears the count

export class Bar {
  #said = null;
  #timer = null;

  constructor(app) {
    this.app = app;
    const {text} = app;
    this.dot = h("span", {class: "dot", "aria-hidden": "true"});
    this.kind = h("span", {class: "kind"});
    this.detail = h("span", {class: "phrase"});
    this.state = h("p", {class: "state"}, this.dot, this.kind, this.detail);
    this.spoken = h("p", {class: "unseen", role: "status"});
    this.clock = h("p", {class: "clock"});
    this.theme = h("button", {type: "button", onclick: () => {
      chooseTheme(themeNow() === "dark" ? "light" : "dark");
      this.nameTheme();
    }});
    this.language = h("button", {type: "button", lang: app.format.language === "fa" ? "en" : "fa",
      onclick: () => {
        chooseLanguage(app.format.language === "fa" ? "en" : "fa");
        app.build();
        app.view.bar.language.focus();
      }}, text.language);
    this.forget = h("button", {type: "button", class: "forget", onclick: () => app.forgetToken()},
      text.forget);
    this.search = h("input", {type: "search", "aria-label": text.searchLabel,
      placeholder: text.searchHint, autocomplete: "off", spellcheck: "false",
      enterkeyhint: "search", oninput: () => this.#seek(), onkeydown: event => this.#key(event)});
    this.search.value = app.query;
    this.slash = h("kbd", {"aria-hidden": "true"}, "/");
    this.tabs = h("div", {class: "tabs", role: "group", "aria-label": text.market});
    this.note = h("p", {class: "demo", hidden: true}, text.demo);
    this.missing = h("p", {class: "demo", role: "status"});
    this.node = h("header", {class: "bar"},
      h("div", {class: "line"}, h("h1", {}, "ime-live"), this.state, this.clock,
        h("div", {class: "choices"}, this.language, this.theme,
          h("a", {href: "docs"}, text.docs), this.forget)),
      this.spoken, this.note, this.missing,
      h("div", {class: "line find"}, h("div", {class: "search"}, this.search, this.slash), this.tabs));
    this.nameTheme();
    this.arrange();
  }

  destroy() { clearTimeout(this.#timer); }

  nameTheme() {
    const dark = themeNow() === "dark";
    setText(this.theme, dark ? "☀" : "☾");
    setAttribute(this.theme, "aria-label", dark ? this.app.text.light : this.app.text.dark);
    setAttribute(this.theme, "title", dark ? this.app.text.light : this.app.text.dark);
  }

  /** Tell that a contract of the address is not listed, or no longer; null for none. */
  miss(name) { setText(this.missing, name === null ? "" : this.app.text.absent(name)); }

  /** Make the tabs again: contracts or favourites have changed. */
  arrange() {
    const {app} = this;
    const {market, text, format} = app;
    const tabs = ["all", ...market.markets, "starred"].map(tab => {
      const count = market.count(tab);
      const label = tab === "starred" ? "★" : text[tab] ?? tab;
      return h("button", {type: "button", "aria-pressed": String(tab === app.tab),
        "aria-label": tab === "starred" ? `${text.starred} ${format.number(count)}` : null,
        onclick: () => app.selectTab(tab)},
      label, " ", h("span", {class: "count"}, format.number(count)));
    });
    const focused = [...this.tabs.children].indexOf(document.activeElement);
    this.tabs.replaceChildren(...tabs);
    tabs[focused]?.focus();
  }

  /** Once a second, and when the state changes. */
  tick() {
    const {app} = this;
    const {text, format} = app;
    const {kind, detail, seconds} = app.describe();
    this.node.dataset.state = kind;
    setText(this.kind, text[kind]);
    let phrase = "";
    if (detail === "opens") {
      const opening = app.opening();
      phrase = opening === null ? "" : text.opens(format.moment(opening, app.now()));
    } else if (detail !== null) {
      phrase = typeof text[detail] !== "function" ? text[detail]
        : seconds === null ? "" : text[detail](spell(seconds, format));
    } else if (seconds !== null) phrase = format.seconds(seconds);
    setText(this.detail, phrase && ` · ${phrase}`);
    if (this.#said !== kind) {
      this.#said = kind; // only the kind is spoken: an age that counts would not stop
      setText(this.spoken, text[kind]);
    }
    const now = app.now();
    setText(this.clock, `${format.weekday(now)} ${format.jalali(now)} · ${format.gregorian(now)}`
      + ` · ${format.time(now)} ${text.tehran}`);
    this.note.hidden = !app.synthetic;
    this.forget.hidden = preferences.token === null;
  }

  #seek() {
    const {app} = this;
    app.query = this.search.value;
    // An empty field has the page's direction, for the hint in it.
    setAttribute(this.search, "dir", app.query ? "auto" : null);
    const count = app.arrange();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => setText(this.spoken,
      count ? app.text.found(app.format.number(count)) : app.text.nothing), PATIENCE);
  }

  #key(event) {
    if (event.key === "Escape") {
      event.stopPropagation();
      if (this.search.value === "") this.search.blur();
      this.search.value = "";
      this.#seek();
    } else this.app.view.table.key(event);
  }
}

const spell = (seconds, format) =>
  (seconds < 100 ? format.seconds(seconds) : format.age(seconds));
