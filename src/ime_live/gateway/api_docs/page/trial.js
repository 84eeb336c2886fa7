// A form that makes a call and shows the answer, and programs that make the same call.

import { callPrograms, codeView } from "./code.js";
import { element } from "./dom.js";
import { parameterForm } from "./form.js";
import { laidOut } from "./json.js";
import { merged } from "./schema.js";

/** @typedef {import("./main.js").Access} Access */

/**
 * Return the form that makes the call.
 *
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @param {{method: string, path: string, operation: any, parameters: any[], content: any}} call
 */
export function trial(whole, access, { method, path, operation, parameters, content }) {
  const form = parameterForm(whole, parameters.filter((each) => each.name !== "token"), access);
  const state = element("p", { role: "status", class: "state" });
  const body = element("pre", { tabindex: "0", "aria-label": "Answer", hidden: true });
  const schema = merged(whole, content?.schema ?? {});
  const kind = schema.properties?.Data ? "data" : schema.type === "string" ? "text" : "json";

  const request = () => requestOf(access, path, form.pairs());
  const { element: code, show } = codeView(() => {
    const guarded = Boolean(access.token() || operation.security?.length);
    return callPrograms({ ...request(), base: access.base.href, path, guarded }, kind);
  }, access);
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const { url, headers } = request();
    if (access.token()) {
      headers.Authorization = `Bearer ${access.token()}`;
    }
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
  form.onchange(show);
  return element(
    "div",
    {},
    element(
      "form",
      { class: "trial", onsubmit: send, autocomplete: "off" },
      form.element,
      element("button", { type: "submit" }, "Try it"),
      state,
      body,
    ),
    code,
  );
}

/**
 * @param {Access} access
 * @param {string} path
 * @param {[any, string][]} pairs
 */
function requestOf(access, path, pairs) {
  /** @type {Record<string, string>} */
  const headers = {};
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
  return { url: url.href, headers, query: [...query] };
}
