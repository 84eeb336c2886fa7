// A card per operation or channel. Two of them that differ only in how they name contracts share
// one card, with a toggle between them.

import { element } from "./dom.js";

/** @typedef {import("./main.js").Entry} Entry */
/** @typedef {{id: string, title: string, address: string, badge: HTMLElement,
 *   article: HTMLElement}} Card */

const VARIANT = /\/(name|id)$/;

/**
 * Return the cards of entries, in their order.
 *
 * @param {Entry[]} entries
 * @param {number} level of the cards' headings
 * @returns {Card[]}
 */
export function cardsOf(entries, level) {
  /** @type {Map<string, Entry[]>} */
  const found = new Map();
  for (const entry of entries) {
    const key = `${entry.badge.textContent} ${entry.address.replace(VARIANT, "/*")}`;
    found.set(key, [...(found.get(key) ?? []), entry]);
  }
  return [...found.values()].map((variants) => card(variants, level));
}

/**
 * @param {Entry[]} variants
 * @param {number} level
 * @returns {Card}
 */
function card(variants, level) {
  const [first] = variants;
  if (variants.length === 1) {
    const head = element(`h${level}`, {}, first.title);
    const article = element("article", { id: first.id }, head, ...first.view(level + 1));
    return { ...first, article };
  }
  const id = shared(variants.map((each) => each.id)).replace(/-(by-)?$/, "");
  const title = shared(variants.map((each) => each.title)).replace(/,[^,]*$/, "").trim();
  const panels = variants.map((each, index) =>
    element("div", { id: each.id, hidden: index > 0 }, ...each.view(level + 1)),
  );
  const show = (/** @type {string} */ name) => {
    panels.forEach((panel, index) => {
      panel.hidden = lastOf(variants[index]) !== name;
    });
  };
  const choice = toggle("Contracts by", variants.map(lastOf), (name) => {
    show(name);
    const shown = panels.find((panel) => !panel.hidden);
    history.replaceState(null, "", `#${shown?.id}`);
  });
  const article = element(
    "article",
    { id },
    element("div", { class: "card-head" }, element(`h${level}`, {}, title), choice.element),
    ...panels,
  );
  article.addEventListener("reveal", (event) => {
    const index = panels.findIndex((panel) => panel.contains(/** @type {Node} */ (event.target)));
    if (index >= 0) {
      choice.choose(lastOf(variants[index]));
      show(lastOf(variants[index]));
    }
  });
  return { id, title, address: first.address.replace(VARIANT, ""), badge: first.badge, article };
}

/** @param {Entry} entry */
function lastOf(entry) {
  return entry.address.split("/").pop() ?? "";
}

/** @param {string[]} texts */
function shared([first, ...others]) {
  let length = first.length;
  while (!others.every((each) => each.startsWith(first.slice(0, length)))) {
    length -= 1;
  }
  return first.slice(0, length);
}

/** Go to the element that the address names, and show the card's variant that it is in. */
export function reveal() {
  let id = location.hash.slice(1);
  try {
    id = decodeURIComponent(id);
  } catch {
    // Not percent-encoded: then it may be the name itself.
  }
  const target = id && document.getElementById(id);
  if (target) {
    target.dispatchEvent(new CustomEvent("reveal", { bubbles: true }));
    (target.closest("article") ?? target).scrollIntoView();
  }
}

let count = 0;

/**
 * Make a choice of one value, as buttons beside each other.
 *
 * @param {string} name
 * @param {string[]} values the first one is chosen
 * @param {(value: string) => void} chosen
 */
export function toggle(name, values, chosen) {
  count += 1;
  const group = `toggle-${count}`;
  const buttons = values.map(
    (value, index) =>
      /** @type {HTMLInputElement} */ (
        element("input", {
          type: "radio",
          id: `${group}-${index}`,
          name: group,
          value,
          checked: index === 0,
          onchange: () => chosen(value),
        })
      ),
  );
  const labels = buttons.map((button) => element("label", { for: button.id }, button.value));
  return {
    element: element(
      "fieldset",
      { class: "toggle" },
      element("legend", {}, name),
      ...buttons.flatMap((button, index) => [button, labels[index]]),
    ),
    choose: (/** @type {string} */ value) => {
      buttons.forEach((button) => {
        button.checked = button.value === value;
      });
    },
  };
}
