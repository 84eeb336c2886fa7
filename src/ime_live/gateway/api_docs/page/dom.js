// Elements: names, attributes and children come in, elements go out. Nothing here, and nothing in
// this page, makes markup of text: what a document or a message says is never more than text.

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
 * Text of a document (CommonMark, as far as ours use it) as elements: paragraphs, lists, `code`,
 * **strong** and links.
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
 * A line of such text.
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
      // A document may name any address, also one that is a script.
      made.push(/^(https?:|[#./])/.test(target) ? element("a", { href: target }, label) : label);
    }
    rest = rest.slice(found.index + whole.length);
  }
  made.push(rest);
  return made.filter(Boolean);
}

/**
 * A path as code, which may break after each of its parts, and not elsewhere.
 *
 * @param {string} path
 */
export function pathView(path) {
  const parts = path.split(/(?<=[/])/);
  return element("code", { class: "path" }, ...parts.flatMap((part) => [part, element("wbr")]));
}

/**
 * The same once more, for a second place in the page.
 *
 * @param {(Node | string)[]} parts
 */
export function copied(parts) {
  return parts.map((part) => (typeof part === "string" ? part : part.cloneNode(true)));
}

/**
 * What an anchor to a heading is called.
 *
 * @param {string} text
 */
export function slug(text) {
  return text.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase();
}
