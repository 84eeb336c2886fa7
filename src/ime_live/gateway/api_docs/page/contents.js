// The contents of the page: a link per card, and a filter.

import { element } from "./dom.js";

/** @typedef {import("./card.js").Card} Card */
/** @typedef {{id: string, title: string,
 *   groups: {title: string, cards: Card[]}[]}} Part */

/**
 * Return the filter and the links.
 *
 * @param {Part[]} parts
 * @returns {HTMLElement[]}
 */
export function contents(parts) {
  /** @type {{item: HTMLElement, text: string}[]} */
  const items = [];
  const blocks = parts.map(({ id, title, groups }) =>
    element(
      "div",
      {},
      element("a", { href: `#${id}`, class: "part" }, title),
      ...groups.map((group) => groupView(group, items)),
    ),
  );
  const found = element("p", { role: "status", class: "note" });
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { item, text } of items) {
      item.hidden = !words.every((word) => text.includes(word));
    }
    for (const group of blocks.flatMap((block) => [...block.querySelectorAll("div")])) {
      group.hidden = !group.querySelector("li:not([hidden])");
    }
    const count = items.filter(({ item }) => !item.hidden).length;
    found.textContent = words.length ? `${count} of ${items.length}` : "";
  };
  const field = /** @type {HTMLInputElement} */ (
    element("input", {
      id: "filter",
      type: "search",
      autocomplete: "off",
      spellcheck: "false",
      oninput: filter,
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        const first = items.find(({ item }) => !item.hidden)?.item.querySelector("a");
        if (event.key === "Enter" && field.value && first) {
          first.click();
        }
      },
    })
  );
  return [element("div", { class: "filter" }, label(), field, found), ...blocks];
}

function label() {
  return element("label", { for: "filter" }, "Filter");
}

/**
 * @param {{title: string, cards: Card[]}} group
 * @param {{item: HTMLElement, text: string}[]} items
 */
function groupView({ title, cards }, items) {
  const links = cards.map((card) => {
    const link = element(
      "a",
      { href: `#${card.id}` },
      card.badge.cloneNode(true),
      element("span", {}, card.title),
    );
    const item = element("li", {}, link);
    const words = `${title} ${card.title} ${card.address} ${card.badge.textContent}`;
    items.push({ item, text: words.toLowerCase() });
    return item;
  });
  const head = title ? element("p", { class: "note" }, title) : null;
  return element("div", {}, head, element("ul", {}, ...links));
}
