// Show the calls of the OpenAPI document, each with a form to try it.

import { element, inline, pathView, prose, slug } from "./dom.js";
import { exampleView, parametersView, resolved, schemaView, shownExample } from "./schema.js";
import { trial } from "./trial.js";

const METHODS = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/** @typedef {import("./main.js").Access} Access */
/** @typedef {import("./main.js").Entry} Entry */
/** @typedef {import("./main.js").Group} Group */

/**
 * Return the operations, in the order of the document, grouped by tag.
 *
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @returns {Group[]}
 */
export function calls(whole, access) {
  const tags = (whole.tags ?? []).map((tag) => ({ title: tag.name, ...tag }));
  /** @type {Group[]} */
  const groups = [...tags, { title: "Other calls" }].map(({ title, description }) => ({
    title,
    description,
    entries: [],
  }));
  for (const [path, given] of Object.entries(whole.paths ?? {})) {
    const item = resolved(whole, given);
    for (const method of METHODS.filter((each) => item[each])) {
      // HEAD beside GET adds nothing.
      if (!(method === "head" && item.get)) {
        const [tag] = item[method].tags ?? [];
        const group = groups.find((each) => each.title === tag) ?? groups[groups.length - 1];
        group.entries.push(call(whole, access, path, method, item));
      }
    }
  }
  return groups.filter((group) => group.entries.length);
}

/**
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @param {string} path
 * @param {string} method
 * @param {any} item
 * @returns {Entry}
 */
function call(whole, access, path, method, item) {
  const operation = item[method];
  const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])]
    .map((each) => resolved(whole, each))
    .map((each) => ({ ...each, schema: each.schema ?? {} }))
    // The token comes from the page's own field.
    .filter((each) => !(each.in === "header" && each.name.toLowerCase() === "authorization"));
  const badge = element("span", { class: `method ${method}` }, method.toUpperCase());
  const responses = Object.entries(operation.responses ?? {}).map(
    /** @returns {[string, any]} */ ([status, given]) => [status, resolved(whole, given)],
  );
  const [, success] = responses.find(([status]) => /^2/.test(status)) ?? [];
  const [content] = Object.values(success?.content ?? {});
  const view = (/** @type {number} */ level) => [
    element("p", { class: "endpoint" }, badge.cloneNode(true), " ", pathView(path)),
    operation.deprecated ? element("p", { class: "needed" }, "Deprecated.") : null,
    ...prose(operation.description === operation.summary ? "" : operation.description),
    element(
      "div",
      { class: "beside" },
      element(
        "div",
        { class: "side" },
        trial(whole, access, { method, path, operation, parameters, content }),
        ...exampleAnswer(content, level),
      ),
      element(
        "div",
        {},
        parameters.length ? element(`h${level}`, {}, "Parameters") : null,
        parameters.length ? parametersView(whole, parameters) : null,
        element(`h${level}`, {}, "Answers"),
        ...responses.map(([status, response]) => answer(whole, status, response)),
      ),
    ),
  ];
  return {
    id: slug(`${method} ${path}`),
    address: path,
    title: operation.summary ?? path,
    badge,
    view,
  };
}

/**
 * @param {any} content
 * @param {number} level
 */
function exampleAnswer(content, level) {
  const [first] = Object.values(content?.examples ?? {});
  const value = content?.example ?? first?.value;
  return value === undefined ? [] : shownExample("Example answer", value, level);
}

/**
 * @param {Record<string, any>} whole
 * @param {string} status
 * @param {any} response
 */
function answer(whole, status, response) {
  const [[type, content] = []] = Object.entries(response.content ?? {});
  const head = [element("code", {}, status), " ", ...inline(response.description)];
  if (!content) {
    return element("p", { class: "answer" }, ...head);
  }
  const examples = Object.entries(content.examples ?? {}).map(([name, given]) => {
    const example = resolved(whole, given);
    return exampleView(`Example: ${example.summary ?? name}`, example.value);
  });
  return element(
    "details",
    { class: "answer" },
    element("summary", {}, ...head),
    element("p", { class: "type" }, element("code", {}, type)),
    schemaView(whole, content.schema ?? {}),
    ...examples,
  );
}
