// Show the channels of the AsyncAPI document as articles, each with a form to try it.

import { copied, element, inline, pathView, prose, slug } from "./dom.js";
import { live } from "./live.js";
import { exampleView, parametersView, resolved, schemaView } from "./schema.js";

/** @typedef {import("./calls.js").Entry} Entry */
/** @typedef {import("./calls.js").Access} Access */

/**
 * Return an article per channel.
 *
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @returns {Entry[]}
 */
export function streams(whole, access) {
  return Object.entries(whole.channels ?? {}).map(([name, given]) => {
    const channel = resolved(whole, given);
    const operations = Object.values(whole.operations ?? {}).filter(
      (operation) => resolved(whole, operation.channel) === channel,
    );
    const server = resolved(whole, channel.servers?.[0]);
    return stream(whole, access, name, channel, operations, server);
  });
}

/**
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @param {string} name
 * @param {any} channel
 * @param {any[]} operations
 * @param {any} server
 * @returns {Entry}
 */
function stream(whole, access, name, channel, operations, server) {
  const isWebSocket = /^wss?$/.test(server.protocol ?? "");
  const id = slug(name.replace(/([A-Z])/g, "-$1"));
  const query = queryOf(channel, operations);
  const parameters = Object.entries(query.properties ?? {}).map(([key, schema]) => ({
    name: key,
    schema,
    required: neededIn(query).includes(key),
  }));
  const label = [
    element("span", { class: `method ${isWebSocket ? "ws" : "sse"}` }, isWebSocket ? "WS" : "SSE"),
    " ",
    pathView(channel.address),
  ];
  const sent = operations.find((operation) => operation.action === "receive");
  const article = element(
    "article",
    { id },
    element("h3", {}, ...copied(label)),
    channel.title ? element("p", { class: "summary" }, ...inline(channel.title)) : null,
    ...prose(channel.description),
    live({
      whole,
      access,
      isWebSocket,
      address: channel.address,
      // Another spelling of a parameter needs no field of its own.
      parameters: parameters.filter(
        (each) => each.name !== "token" && !each.schema["x-alias-of"],
      ),
      requests: sent ? examplesOf(whole, sent) : [],
      codes: channel["x-close-codes"] ?? [],
    }),
    parameters.length ? element("h4", {}, "Parameters") : null,
    parameters.length ? parametersView(whole, parameters) : null,
    ...operations.flatMap((operation) => operationView(whole, operation)),
    ...closeCodes(channel["x-close-codes"]),
  );
  return { id, label, article };
}

/**
 * Return the schema of the query: the channel has it for WebSocket, the operation for HTTP.
 *
 * @param {any} channel
 * @param {any[]} operations
 */
function queryOf(channel, operations) {
  return (
    channel.bindings?.ws?.query ??
    operations.map((operation) => operation.bindings?.http?.query).find(Boolean) ??
    {}
  );
}

/** @param {any} query */
function neededIn(query) {
  return query.required ?? query.anyOf?.[0]?.required ?? [];
}

/**
 * @param {Record<string, any>} whole
 * @param {any} operation
 * @returns {(HTMLElement | null)[]}
 */
function operationView(whole, operation) {
  const answers = operation.reply?.messages ?? [];
  return [
    element("h4", {}, operation.title ?? operation.action),
    ...prose(operation.summary),
    ...prose(operation.description),
    ...(operation.messages ?? []).map((each) => messageView(whole, resolved(whole, each))),
    answers.length ? element("p", {}, "The answer:") : null,
    ...answers.map((each) => messageView(whole, resolved(whole, each))),
  ];
}

/**
 * @param {Record<string, any>} whole
 * @param {any} message
 */
function messageView(whole, message) {
  return element(
    "details",
    { class: "message" },
    element("summary", {}, ...inline(message.title ?? message.name)),
    ...prose(message.description),
    schemaView(whole, message.payload ?? {}),
    ...(message.examples ?? []).map((example, index, all) =>
      exampleView(all.length > 1 ? `Example ${index + 1}` : "Example", example.payload),
    ),
  );
}

/**
 * @param {Record<string, any>} whole
 * @param {any} operation
 * @returns {unknown[]}
 */
function examplesOf(whole, operation) {
  return operation.messages
    .map((each) => resolved(whole, each))
    .flatMap((message) => message.examples ?? [])
    .map((example) => example.payload);
}

/**
 * @param {{code: number, name: string, description: string}[] | undefined} codes
 * @returns {HTMLElement[]}
 */
function closeCodes(codes) {
  if (!codes?.length) {
    return [];
  }
  return [
    element(
      "details",
      { class: "codes" },
      element("summary", {}, "How a stream ends: the close codes"),
      element(
        "dl",
        {},
        ...codes.flatMap(({ code, description }) => [
          element("dt", {}, element("code", {}, String(code))),
          element("dd", {}, ...inline(description)),
        ]),
      ),
    ),
  ];
}
