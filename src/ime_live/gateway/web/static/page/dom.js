/** Make and change elements. Text goes in as text nodes only, never as markup. */

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter(each => each !== null && each !== undefined));
  return node;
}

/** Make an element: `h("p", {class: "note", onclick: call}, "text", child)`. */
export const h = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** Make an element of a picture. */
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Set a node's text, and return whether it has changed. An equal text costs no layout. */
export function setText(node, text) {
  if (node.shown === text) return false;
  node.shown = text;
  node.textContent = text;
  return true;
}

/** Set an attribute, unless it is so already; null removes it. */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}
