// Show the channels of the AsyncAPI document, each with a form to try it.

import { element, inline, pathView, prose, slug } from "./dom.js";
import { live } from "./live.js";
import { exampleView, parametersView, resolved, schemaView, shownExample } from "./schema.js";

/** @typedef {import("./main.js").Access} Access */
/** @typedef {import("./main.js").Entry} Entry */
/** @typedef {import("./main.js").Group} Group */

/**
 * Return all channels as one group.
 *
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @returns {Group[]}
 */
export function streams(whole, access) {
  const entries = Object.entries(whole.channels ?? {}).map(([name, given]) => {
    const channel = resolved(whole, given);
    const operations = Object.values(whole.operations ?? {}).filter(
      (operation) => resolved(whole, operation.channel) === channel,
    );
    return stream(whole, access, name, channel, operations);
  });
  return [{ title: "", entries }];
}

/**
 * @param {Record<string, any>} whole
 * @param {any} channel
 */
function isWebSocket(whole, channel) {
  return /^wss?$/.test(resolved(whole, channel.servers?.[0]).protocol ?? "");
}

/**
 * Return the address at which the same stream comes as events; null if there is none.
 *
 * @param {Record<string, any>} whole
 * @param {string} address
 */
function eventsOf(whole, address) {
  const last = address.split("/").pop();
  const found = Object.values(whole.channels).find(
    (each) => !isWebSocket(whole, each) && each.address.split("/").pop() === last,
  );
  return found?.address ?? null;
}

/**
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @param {string} name
 * @param {any} channel
 * @param {any[]} operations
 * @returns {Entry}
 */
function stream(whole, access, name, channel, operations) {
  const webSocket = isWebSocket(whole, channel);
  const query = queryOf(channel, operations);
  const parameters = Object.entries(query.properties ?? {}).map(([key, schema]) => ({
    name: key,
    schema,
    required: neededIn(query).includes(key),
    // Then something arrives at once, also when nothing is traded.
    prefill: key === "snapshot" ? "true" : undefined,
  }));
  const kind = webSocket ? "WS" : "SSE";
  const badge = element("span", { class: `method ${kind.toLowerCase()}` }, kind);
  const commands = operations.find((operation) => operation.action === "receive");
  const sent = operations.find((operation) => operation.action === "send");
  const [example] = sent ? examplesOf(whole, sent) : [];
  const view = (/** @type {number} */ level) => [
    element("p", { class: "endpoint" }, badge.cloneNode(true), " ", pathView(channel.address)),
    ...prose(channel.description),
    element(
      "div",
      { class: "beside" },
      element(
        "div",
        { class: "side" },
        live({
          whole,
          access,
          isWebSocket: webSocket,
          guarded: Boolean(resolved(whole, channel.servers?.[0]).security?.length),
          address: channel.address,
          events: eventsOf(whole, channel.address),
          // Another spelling of a parameter needs no field of its own.
          parameters: parameters.filter(
            (each) => each.name !== "token" && !each.schema["x-alias-of"],
          ),
          requests: commands ? examplesOf(whole, commands) : [],
          codes: channel["x-close-codes"] ?? [],
        }),
        ...(example ? shownExample("Example message", example, level) : []),
      ),
      element(
        "div",
        {},
        parameters.length ? element(`h${level}`, {}, "Parameters") : null,
        parameters.length ? parametersView(whole, parameters) : null,
        ...operations.flatMap((operation) => operationView(whole, operation, level)),
        ...closeCodes(channel["x-close-codes"]),
      ),
    ),
  ];
  const id = slug(name.replace(/([A-Z])/g, "-$1"));
  return { id, address: channel.address, title: channel.title ?? name, badge, view };
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
 * @param {number} level
 * @returns {(HTMLElement | null)[]}
 */
function operationView(whole, operation, level) {
  const answers = operation.reply?.messages ?? [];
  return [
    element(`h${level}`, {}, operation.title ?? operation.action),
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
