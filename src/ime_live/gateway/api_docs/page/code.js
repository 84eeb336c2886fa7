// Programs that make a call or read a stream, in the languages of most readers.

import { toggle } from "./card.js";
import { element } from "./dom.js";

/** @typedef {import("./main.js").Access} Access */
/** @typedef {{base: string, path: string, url: string, headers: Record<string, string>,
 *   query: [string, string][], guarded: boolean}} Request
 *   `headers` without the token; `guarded` says that one is sent. */

const LANGUAGES = ["curl", "Python", "JavaScript"];

/**
 * Return a view of programs. Who chooses a language in one view has chosen it in all.
 *
 * @param {() => Record<string, string>} programs language → text
 * @param {Access} access
 */
export function codeView(programs, access) {
  let language = LANGUAGES[0];
  const code = element("pre", { tabindex: "0", dir: "ltr", "aria-label": "Program" });
  const show = () => {
    code.textContent = programs()[language];
  };
  const choice = toggle("Language", LANGUAGES, (chosen) => {
    access.events.dispatchEvent(new CustomEvent("language", { detail: chosen }));
  });
  access.events.addEventListener("language", (event) => {
    language = /** @type {CustomEvent} */ (event).detail;
    choice.choose(language);
    show();
  });
  access.events.addEventListener("token", show);
  const copy = element(
    "button",
    {
      type: "button",
      class: "copy",
      // Only pages with TLS, or of this machine, may write to the clipboard.
      hidden: !navigator.clipboard,
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(code.textContent ?? "");
          copy.textContent = "Copied";
        } catch {
          copy.textContent = "Not copied";
        }
        setTimeout(() => {
          copy.textContent = "Copy";
        }, 2000);
      },
    },
    "Copy",
  );
  return {
    element: element(
      "div",
      { class: "code" },
      element("div", { class: "code-head" }, choice.element, copy),
      code,
    ),
    show,
  };
}

/** @param {unknown} value */
const text = (value) => JSON.stringify(value);

/** @param {string} value */
const shell = (value) => `'${value.replaceAll("'", "'\\''")}'`;

/**
 * @param {Request} request
 * @param {string} [options]
 */
function curl({ url, headers, guarded }, options = "") {
  const given = Object.entries(headers).map(([name, value]) => `-H ${shell(`${name}: ${value}`)} `);
  if (guarded) {
    given.unshift('-H "Authorization: Bearer $TOKEN" ');
  }
  return `curl ${options}${given.join("")}${shell(url)}`;
}

/** @param {Request} request */
function pythonRequest({ url, headers, guarded }) {
  const given = Object.entries(headers).map(([name, value]) => `${text(name)}: ${text(value)}`);
  if (guarded) {
    given.unshift(`"Authorization": "Bearer " + os.environ["TOKEN"]`);
  }
  return given.length
    ? `request = Request(\n    ${text(url)},\n    headers={${given.join(", ")}},\n)\n`
    : `request = Request(${text(url)})\n`;
}

const TOKEN = 'const token = "…"; // your token\n';

/**
 * Return programs that make a call.
 *
 * @param {Request} request
 * @param {"data" | "json" | "text"} kind of the answer: an object with `Data`, other JSON, or text
 * @returns {Record<string, string>}
 */
export function callPrograms(request, kind) {
  const { base, path, url, headers, query, guarded } = request;
  const imports = `${kind === "text" ? "" : "import json\n"}${guarded ? "import os\n" : ""}`;
  const printed = {
    data: 'json.load(response)["Data"]',
    json: "json.load(response)",
    text: "response.read().decode()",
  }[kind];
  const python =
    `${imports}from urllib.request import Request, urlopen\n\n${pythonRequest(request)}` +
    `with urlopen(request) as response:\n    print(${printed})`;
  /** @type {Record<string, unknown>} */
  const parameters = {};
  for (const [name, value] of query) {
    parameters[name] = name in parameters ? [parameters[name], value].flat() : value;
  }
  const own = Object.entries(headers);
  const sent = guarded
    ? [["Authorization", "`Bearer ${token}`"], ...own.map(([name, value]) => [name, text(value)])]
    : own.map(([name, value]) => [name, text(value)]);
  const given = sent.map(([name, value]) => `${text(name)}: ${value}`).join(", ");
  const module =
    `import {Client} from ${text(`${base}ime-live.js`)};\n\n${guarded ? TOKEN : ""}` +
    `const client = new Client(${guarded ? "{token}" : ""});\n` +
    `const data = await client.get(${[text(path), ...(query.length ? [text(parameters)] : [])].join(
      ", ",
    )});\nconsole.log(data);`;
  const plain =
    `${guarded ? TOKEN : ""}const response = await fetch(${text(url)}` +
    `${given ? `, {headers: {${given}}}` : ""});\n` +
    `console.log(await response.${kind === "text" ? "text" : "json"}());`;
  return {
    curl: curl(request),
    Python: python,
    JavaScript: kind === "data" && !own.length ? module : plain,
  };
}

// Parameter of a stream → the option of both client libraries, with the form of its value.
const lists = (/** @type {string[]} */ values) => values;
const number = (/** @type {string[]} */ [value]) => Number(value);
const words = (/** @type {string[]} */ [value]) => value;
const flag = (/** @type {string[]} */ [value]) => value === "true";
/** @type {Record<string, [string, string | null, (values: string[]) => unknown]>} */
const OPTIONS = {
  contract_name: ["contract_names", "contractNames", lists],
  contract_names: ["contract_names", "contractNames", lists],
  contract_id: ["contract_ids", "contractIds", lists],
  contract_ids: ["contract_ids", "contractIds", lists],
  market: ["markets", "markets", lists],
  underlying: ["underlying", "underlying", lists],
  snapshot: ["snapshot", "snapshot", flag],
  since: ["since", "since", words],
  max_rate: ["max_rate", "maxRate", number],
  sections: ["sections", "sections", lists],
  skipped: ["skipped", "skipped", flag],
  // The browser module always asks for it.
  status: ["status", null, flag],
};

/**
 * Return programs that read a stream by WebSocket.
 *
 * @param {Request} request
 * @param {Request | null} events the same stream as server-sent events
 * @returns {Record<string, string>}
 */
export function webSocketPrograms({ base, query, guarded }, events) {
  /** @type {Map<string, string[]>} */
  const values = new Map();
  for (const [name, value] of query) {
    values.set(name, [...(values.get(name) ?? []), value]);
  }
  // The libraries ask for the present states unless told otherwise.
  if (!values.has("snapshot")) {
    values.set("snapshot", ["false"]);
  } else if (values.get("snapshot")?.[0] === "true") {
    values.delete("snapshot");
  }
  const python = [text(base)];
  const script = [];
  for (const [name, given] of values) {
    const [option, property, form] = OPTIONS[name] ?? [];
    const value = form?.(given);
    if (option && value !== undefined) {
      const literal = typeof value === "boolean" ? (value ? "True" : "False") : text(value);
      python.push(`${option}=${literal}`);
    }
    if (property) {
      script.push(`${property}: ${text(value)}`);
    }
  }
  if (guarded) {
    python.push('token=os.environ["TOKEN"]');
    script.push("token");
  }
  return {
    curl: events
      ? `# curl reads the same messages as server-sent events.\n${curl(events, "-N ")}`
      : "# curl reads no WebSocket.",
    Python:
      `${guarded ? "import os\n\n" : ""}import ime_live\n\n` +
      `with ime_live.connect(\n${python.map((each) => `    ${each},\n`).join("")}) as stream:\n` +
      "    for message in stream:\n        print(message)",
    JavaScript:
      `import {connect} from ${text(`${base}ime-live.js`)};\n\n${guarded ? TOKEN : ""}` +
      `const stream = connect({${script.join(", ")}});\n` +
      "stream.onMessage(message => console.log(message));\n" +
      "stream.closed.catch(error => console.error(error.message));",
  };
}

/**
 * Return programs that read a stream of events.
 *
 * @param {Request} request
 * @returns {Record<string, string>}
 */
export function eventPrograms(request) {
  const { url, guarded } = request;
  // EventSource sends no header.
  const address = guarded
    ? `${text(`${url}${url.includes("?") ? "&" : "?"}token=`)} + token`
    : text(url);
  return {
    curl: curl(request, "-N "),
    Python:
      `import json\n${guarded ? "import os\n" : ""}from urllib.request import Request, urlopen\n\n` +
      `${pythonRequest(request)}with urlopen(request) as events:\n    for line in events:\n` +
      '        if line.startswith(b"data:"):\n            print(json.loads(line[5:]))',
    JavaScript:
      `${guarded ? TOKEN : ""}const events = new EventSource(${address});\n` +
      "events.onmessage = event => console.log(JSON.parse(event.data));",
  };
}
