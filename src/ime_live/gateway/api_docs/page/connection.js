// Connect to a stream by WebSocket or server-sent events, behind one interface.

/** @typedef {{code?: number, reason: string, asked: boolean}} End */
/** @typedef {{opened: () => void, received: (text: string) => void,
 *   ended: (end: End) => void}} Listener */
/** @typedef {{close: () => void, send: (text: string) => void}} Connection */

const NORMAL = 1000;

/**
 * Connect by WebSocket. A script cannot set a header, so the token goes as a subprotocol.
 *
 * @param {string} url
 * @param {string} token
 * @param {Listener} listener
 * @returns {Connection}
 */
export function openWebSocket(url, token, listener) {
  let asked = false;
  let socket;
  try {
    socket = new WebSocket(url, token ? ["ime-live", `token.${token}`] : ["ime-live"]);
  } catch {
    // A subprotocol may only have the characters of an HTTP token.
    queueMicrotask(() => listener.ended({ reason: "that is no token", asked }));
    return { close: () => {}, send: () => {} };
  }
  socket.onopen = listener.opened;
  socket.onmessage = (event) => listener.received(event.data);
  socket.onclose = (event) => listener.ended({ code: event.code, reason: event.reason, asked });
  return {
    close: () => {
      asked = true;
      socket.close(NORMAL);
    },
    send: (text) => socket.send(text),
  };
}

/**
 * Read server-sent events, without EventSource: it cannot set headers, and does not report why
 * it was refused.
 *
 * @param {string} url
 * @param {string} token
 * @param {Listener} listener
 * @returns {Connection}
 */
export function openEvents(url, token, listener) {
  const controller = new AbortController();
  /** @type {Record<string, string>} */
  const headers = { Accept: "text/event-stream" };
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  const { signal } = controller;
  readEvents(url, headers, signal, listener).then(
    (end) => listener.ended({ ...end, asked: signal.aborted }),
    (error) => listener.ended({ reason: error.message, asked: signal.aborted }),
  );
  return { close: () => controller.abort(), send: () => {} };
}

/**
 * @param {string} url
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 * @param {Listener} listener
 * @returns {Promise<{code?: number, reason: string}>}
 */
async function readEvents(url, headers, signal, listener) {
  const answer = await fetch(url, { headers, signal, cache: "no-store" });
  if (!answer.ok || !answer.body) {
    const text = await answer.text();
    return { code: answer.status, reason: detailIn(text) ?? answer.statusText };
  }
  listener.opened();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return { reason: "the connection was closed" };
    }
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const { kind, data } = eventIn(block);
      if (kind === "end") {
        return JSON.parse(data);
      }
      if (data) {
        listener.received(data);
      }
    }
  }
}

/** @param {string} block */
function eventIn(block) {
  const event = { kind: "message", data: "" };
  const lines = [];
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === "event") {
      event.kind = value;
    } else if (field === "data") {
      lines.push(value);
    }
  }
  event.data = lines.join("\n");
  return event;
}

/** @param {string} text */
function detailIn(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return undefined;
  }
}
