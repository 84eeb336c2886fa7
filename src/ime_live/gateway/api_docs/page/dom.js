// Make elements from names, attributes and children. Nothing in this page makes markup from text:
// text of a document or a message stays text.

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] `on…` are listeners; `true` is an attribute
 *   without a value; `false` and `null` are none.
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      made.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    } else if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children) {
    if (child) {
      made.append(child);
    }
  }
  return made;
}

/**
 * Return the text of a document (the part of CommonMark that ours use) as elements: paragraphs,
 * lists, `code`, **strong** and links.
 *
 * @param {string | undefined} text
 * @returns {HTMLElement[]}
 */
export function prose(text) {
  const blocks = (text ?? "").trim().split(/\n\s*\n/).filter(Boolean);
  return blocks.map((block) => {
    const lines = block.split("\n");
    if (lines.every((line) => /^([-*] |\s)/.test(line))) {
      const items = block.split(/^[-*] /m).filter((item) => item.trim());
      return element("ul", {}, ...items.map((item) => element("li", {}, ...inline(item))));
    }
    return element("p", {}, ...inline(block));
  });
}

const INLINE = /(`+)(.+?)\1|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/s;

/**
 * Return a line of such text.
 *
 * @param {string | undefined} text
 * @returns {(Node | string)[]}
 */
export function inline(text) {
  let rest = (text ?? "").replace(/\s+/g, " ");
  const made = [];
  for (let found = INLINE.exec(rest); found; found = INLINE.exec(rest)) {
    const [whole, , code, strong, label, target] = found;
    made.push(rest.slice(0, found.index));
    if (code !== undefined) {
      made.push(element("code", {}, code));
    } else if (strong !== undefined) {
      made.push(element("strong", {}, strong));
    } else {
      // A document may link to any address, even one that is a script.
      made.push(/^(https?:|[#./])/.test(target) ? element("a", { href: target }, label) : label);
    }
    rest = rest.slice(found.index + whole.length);
  }
  made.push(rest);
  return made.filter(Boolean);
}

/**
 * Return a path as code that may break only after each of its parts.
 *
 * @param {string} path
 */
export function pathView(path) {
  const parts = path.split(/(?<=[/])/);
  return element("code", { class: "path" }, ...parts.flatMap((part) => [part, element("wbr")]));
}

/**
 * Return the name of the anchor of a heading.
 *
 * @param {string} text
 */
export function slug(text) {
  return text.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase();
}
