// The page: load both documents from beside this page, and show what they describe.

import { calls } from "./calls.js";
import { element, prose } from "./dom.js";
import { streams } from "./streams.js";

/** @typedef {import("./calls.js").Entry} Entry */
/** @typedef {import("./calls.js").Access} Access */
/** @typedef {{id: string, title: string, address: string,
 *   entries: (whole: Record<string, any>, access: Access) => Entry[]}} Part */

/** @type {Part[]} */
const PARTS = [
  { id: "calls", title: "Calls", address: "openapi.json", entries: calls },
  { id: "streams", title: "Streams", address: "asyncapi.json", entries: streams },
];

const tokenField = /** @type {HTMLInputElement} */ (document.getElementById("token"));

/** @type {Access} */
const access = {
  // Addresses are relative to this page, so that any prefix of a proxy works.
  base: new URL(".", location.href),
  token: () => tokenField.value.trim(),
};

/**
 * Read one document, and return its section, or one that says why it cannot be shown.
 *
 * @param {Part} part
 * @returns {Promise<{section: HTMLElement, links: HTMLElement}>}
 */
async function read({ id, title, address, entries }) {
  const section = element("section", { id, "aria-labelledby": `${id}-title` });
  section.append(element("h2", { id: `${id}-title` }, title));
  const links = element("div", {}, element("a", { href: `#${id}`, class: "part" }, title));
  try {
    const answer = await fetch(new URL(address, access.base));
    if (!answer.ok) {
      throw new Error(`the gateway answered ${answer.status}`);
    }
    const whole = await answer.json();
    section.append(element("p", { class: "note" }, versionIn(whole, address)));
    section.append(...prose(whole.info?.description));
    const list = element("ul");
    for (const { id: anchor, label, article } of entries(whole, access)) {
      section.append(article);
      list.append(element("li", {}, element("a", { href: `#${anchor}` }, ...label)));
    }
    links.append(list);
  } catch (error) {
    const text = `${address} cannot be shown: ${/** @type {Error} */ (error).message}`;
    section.append(element("p", { class: "state bad", role: "alert" }, text));
  }
  return { section, links };
}

/**
 * @param {Record<string, any>} whole
 * @param {string} address
 */
function versionIn(whole, address) {
  const kind = whole.openapi ? `OpenAPI ${whole.openapi}` : `AsyncAPI ${whole.asyncapi}`;
  return `${address}: ${kind}, version ${whole.info?.version ?? "unknown"}`;
}

async function show() {
  const content = /** @type {HTMLElement} */ (document.getElementById("content"));
  const contents = /** @type {HTMLDetailsElement} */ (document.getElementById("contents"));
  if (matchMedia("(max-width: 60rem)").matches) {
    contents.open = false;
  }
  document.getElementById("access")?.addEventListener("submit", (event) => event.preventDefault());
  const parts = await Promise.all(PARTS.map(read));
  document.getElementById("links")?.append(...parts.map((part) => part.links));
  document.getElementById("loading")?.remove();
  content.append(...parts.map((part) => part.section));
  // The browser looked for the anchor before it existed.
  if (location.hash) {
    document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  }
  document.documentElement.dataset.shown = "true";
}

await show();
