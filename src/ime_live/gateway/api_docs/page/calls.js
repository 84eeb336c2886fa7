// Show the calls of the OpenAPI document as articles, each with a form to try it.

import { copied, element, inline, pathView, prose, slug } from "./dom.js";
import { parameterForm } from "./form.js";
import { laidOut } from "./json.js";
import { exampleView, parametersView, resolved, schemaView } from "./schema.js";

const METHODS = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/** @typedef {{id: string, label: (Node | string)[], article: HTMLElement}} Entry */
/** @typedef {{base: URL, token: () => string}} Access */

/**
 * Return an article per operation, in the order of the document, grouped by tag.
 *
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @returns {Entry[]}
 */
export function calls(whole, access) {
  const found = [];
  for (const [path, given] of Object.entries(whole.paths ?? {})) {
    const item = resolved(whole, given);
    for (const method of METHODS.filter((each) => item[each])) {
      // HEAD beside GET adds nothing.
      if (!(method === "head" && item.get)) {
        found.push({ path, method, operation: item[method], shared: item.parameters ?? [] });
      }
    }
  }
  const tags = (whole.tags ?? []).map((tag) => tag.name);
  const order = (entry) => tags.indexOf(entry.operation.tags?.[0]) + 1 || tags.length + 1;
  return found
    .map((entry, index) => ({ entry, index }))
    .sort((a, b) => order(a.entry) - order(b.entry) || a.index - b.index)
    .map(({ entry }) => call(whole, access, entry));
}

/**
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @param {{path: string, method: string, operation: any, shared: any[]}} entry
 * @returns {Entry}
 */
function call(whole, access, { path, method, operation, shared }) {
  const id = slug(`${method} ${path}`);
  const parameters = [...shared, ...(operation.parameters ?? [])]
    .map((each) => resolved(whole, each))
    .map((each) => ({ ...each, schema: each.schema ?? {} }))
    // The token comes from the page's own field.
    .filter((each) => !(each.in === "header" && each.name.toLowerCase() === "authorization"));
  const title = [
    element("span", { class: `method ${method}` }, method.toUpperCase()),
    " ",
    pathView(path),
  ];
  const article = element(
    "article",
    { id },
    element("h3", {}, ...copied(title)),
    operation.deprecated ? element("p", { class: "needed" }, "Deprecated.") : null,
    operation.summary ? element("p", { class: "summary" }, ...inline(operation.summary)) : null,
    ...prose(operation.description === operation.summary ? "" : operation.description),
    trial(whole, access, method, path, parameters),
    parameters.length ? element("h4", {}, "Parameters") : null,
    parameters.length ? parametersView(whole, parameters) : null,
    element("h4", {}, "Answers"),
    ...Object.entries(operation.responses ?? {}).map(([status, given]) =>
      answer(whole, status, resolved(whole, given)),
    ),
  );
  return { id, label: title, article };
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
  if ("example" in content) {
    examples.push(exampleView("Example", content.example));
  }
  return element(
    "details",
    { class: "answer" },
    element("summary", {}, ...head),
    element("p", { class: "type" }, element("code", {}, type)),
    schemaView(whole, content.schema ?? {}),
    ...examples,
  );
}

/**
 * Return the form that makes the call.
 *
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @param {string} method
 * @param {string} path
 * @param {any[]} parameters
 */
function trial(whole, access, method, path, parameters) {
  const form = parameterForm(whole, parameters.filter((each) => each.name !== "token"));
  const command = element("code", { class: "address", dir: "ltr" });
  const state = element("p", { role: "status", class: "state" });
  const body = element("pre", { tabindex: "0", "aria-label": "Answer", hidden: true });

  const request = () => requestOf(access, method, path, form.pairs());
  const show = () => {
    const { url, headers } = request();
    const given = Object.entries(headers).map(([name, value]) =>
      name === "Authorization" ? `-H "Authorization: Bearer $TOKEN" ` : `-H '${name}: ${value}' `,
    );
    command.textContent = `curl ${given.join("")}'${url}'`;
  };
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    show();
    const { url, headers } = request();
    state.textContent = "Asking…";
    const started = performance.now();
    try {
      const got = await fetch(url, { method, headers, cache: "no-store" });
      const text = await got.text();
      const took = Math.round(performance.now() - started);
      state.textContent = `${got.status} ${got.statusText}, ${took} ms`;
      state.className = got.ok ? "state good" : "state bad";
      body.textContent = laidOut(text);
      body.hidden = false;
    } catch (error) {
      state.textContent = `No answer: ${/** @type {Error} */ (error).message}`;
      state.className = "state bad";
      body.hidden = true;
    }
  };
  show();
  return element(
    "details",
    { class: "trial", ontoggle: show },
    element("summary", {}, "Try it"),
    element(
      "form",
      { onsubmit: send, oninput: show, autocomplete: "off" },
      form.element,
      element("p", {}, command),
      element("button", { type: "submit" }, "Send"),
      state,
      body,
    ),
  );
}

/**
 * @param {Access} access
 * @param {string} method
 * @param {string} path
 * @param {[any, string][]} pairs
 */
function requestOf(access, method, path, pairs) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (access.token()) {
    headers.Authorization = `Bearer ${access.token()}`;
  }
  const query = new URLSearchParams();
  let filled = path;
  for (const [parameter, value] of pairs) {
    if (parameter.in === "path") {
      filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(value));
    } else if (parameter.in === "header") {
      headers[parameter.name] = value;
    } else {
      query.append(parameter.name, value);
    }
  }
  const url = new URL(filled.replace(/^\//, ""), access.base);
  url.search = query.toString();
  return { url: url.href, headers, method };
}
