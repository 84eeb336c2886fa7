// The page: load both documents from beside this page, and show what they describe.

import { calls } from "./calls.js";
import { cardsOf, reveal } from "./card.js";
import { contents } from "./contents.js";
import { contractsOf } from "./contracts.js";
import { element, inline, prose } from "./dom.js";
import { streams } from "./streams.js";

/** @typedef {{base: URL, token: () => string, events: EventTarget,
 *   known: Record<string, string>}} Access
 *   `events` tells of `token`, `contracts` and `language`; `known` has values for parameters. */
/** @typedef {{id: string, address: string, title: string, badge: HTMLElement,
 *   view: (level: number) => (Node | null)[]}} Entry */
/** @typedef {{title: string, description?: string, entries: Entry[]}} Group */
/** @typedef {{id: string, title: string, address: string,
 *   groups: (whole: Record<string, any>, access: Access) => Group[]}} Part */

/** @type {Part[]} */
const PARTS = [
  { id: "streams", title: "Streams", address: "asyncapi.json", groups: streams },
  { id: "calls", title: "Calls", address: "openapi.json", groups: calls },
];

const tokenField = /** @type {HTMLInputElement} */ (document.getElementById("token"));

/** @type {Access} */
const access = {
  // Addresses are relative to this page, so that any prefix of a proxy works.
  base: new URL(".", location.href),
  token: () => tokenField.value.trim(),
  events: new EventTarget(),
  known: {},
};

/**
 * Read one document, and return its section, or one that says why it cannot be shown.
 *
 * @param {Part} part
 */
async function read({ id, title, address, groups }) {
  const section = element("section", { id, "aria-labelledby": `${id}-title` });
  section.append(element("h2", { id: `${id}-title` }, title));
  const shown = [];
  let whole = null;
  try {
    const answer = await fetch(new URL(address, access.base));
    if (!answer.ok) {
      throw new Error(`the gateway answered ${answer.status}`);
    }
    whole = await answer.json();
    section.append(element("p", { class: "note" }, versionIn(whole, address)));
    section.append(...prose(whole.info?.description));
    for (const group of groups(whole, access)) {
      if (group.title) {
        section.append(element("h3", { class: "group" }, group.title));
        section.append(element("p", { class: "note" }, ...inline(group.description)));
      }
      const cards = cardsOf(group.entries, group.title ? 4 : 3);
      section.append(...cards.map((card) => card.article));
      shown.push({ title: group.title, cards });
    }
  } catch (error) {
    const text = `${address} cannot be shown: ${/** @type {Error} */ (error).message}`;
    section.append(element("p", { class: "state bad", role: "alert" }, text));
  }
  return { id, title, whole, section, groups: shown };
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
  const box = /** @type {HTMLDetailsElement} */ (document.getElementById("contents"));
  if (matchMedia("(max-width: 60rem)").matches) {
    box.open = false;
  }
  document.getElementById("access")?.addEventListener("submit", (event) => event.preventDefault());
  const parts = await Promise.all(PARTS.map(read));
  document.getElementById("links")?.append(...contents(parts));
  document.getElementById("loading")?.remove();
  content.append(...parts.map((part) => part.section));
  // The browser looked for the anchor before it existed.
  reveal();
  addEventListener("hashchange", reveal);

  const prefill = async () => {
    const calls = parts.find((part) => part.whole?.openapi);
    access.known = calls ? await contractsOf(calls.whole, access) : {};
    access.events.dispatchEvent(new Event("contracts"));
  };
  tokenField.addEventListener("input", () => access.events.dispatchEvent(new Event("token")));
  tokenField.addEventListener("change", prefill);
  await prefill();
  document.documentElement.dataset.shown = "true";
}

await show();
