// A form that connects to a stream and shows its messages as they arrive, newest first.

import { codeView, eventPrograms, webSocketPrograms } from "./code.js";
import { openEvents, openWebSocket } from "./connection.js";
import { element } from "./dom.js";
import { parameterForm } from "./form.js";
import { laidOut } from "./json.js";

// Messages that are kept; a busy contract sends hundreds a second.
const KEPT = 100;

/** @typedef {import("./connection.js").Connection} Connection */

/**
 * Make the form.
 *
 * @param {{whole: Record<string, any>, access: import("./main.js").Access, isWebSocket: boolean,
 *   guarded: boolean, address: string, events: string | null, parameters: any[],
 *   requests: unknown[], codes: {code: number, description: string}[]}} stream
 * @returns {HTMLElement}
 */
export function live(stream) {
  const { whole, access, isWebSocket, address, parameters, requests, codes } = stream;
  const form = parameterForm(whole, parameters, access);
  const state = element("p", { role: "status", class: "state" }, "Not connected.");
  const counted = element("p", { class: "counted" });
  const log = logOf(counted);
  const connect = button("submit", "Connect");
  const disconnect = button("button", "Disconnect", () => connection?.close());
  const clear = button("button", "Clear", () => log.clear());
  disconnect.disabled = true;

  /** @type {Connection | null} */
  let connection = null;

  const addressOf = (/** @type {string} */ path) => {
    const made = new URL(path.replace(/^\//, ""), access.base);
    made.search = new URLSearchParams(query()).toString();
    return made;
  };
  const query = () =>
    form.pairs().map(([{ name }, value]) => /** @type {[string, string]} */ ([name, value]));
  const url = () => {
    const made = addressOf(address);
    if (isWebSocket) {
      made.protocol = made.protocol === "https:" ? "wss:" : "ws:";
    }
    return made.href;
  };
  const { element: code, show } = codeView(() => {
    const request = (/** @type {string} */ path) => ({
      base: access.base.href,
      path,
      url: addressOf(path).href,
      headers: {},
      query: query(),
      guarded: stream.guarded || Boolean(access.token()),
    });
    return isWebSocket
      ? webSocketPrograms(request(address), stream.events && request(stream.events))
      : eventPrograms(request(address));
  }, access);
  const say = (/** @type {string} */ text, kind = "") => {
    state.textContent = text;
    state.className = `state ${kind}`;
  };
  const running = (/** @type {boolean} */ yes) => {
    connect.disabled = yes;
    disconnect.disabled = !yes;
    if (!yes) {
      command.hidden = true;
    }
  };
  const command = commandForm(requests, (text) => connection?.send(text));

  const start = (/** @type {Event} */ event) => {
    event.preventDefault();
    log.clear();
    say("Connecting…");
    running(true);
    const open = isWebSocket ? openWebSocket : openEvents;
    connection = open(url(), access.token(), {
      opened: () => {
        say("Connected. Messages come when something changes.", "good");
        command.hidden = !requests.length;
      },
      received: (text) => log.add(text),
      ended: (end) => {
        connection = null;
        running(false);
        const advice = codes.find((each) => each.code === end.code)?.description;
        const code = end.code === undefined ? "" : `${end.code} `;
        const text = end.asked
          ? "Disconnected."
          : `Ended: ${code}${end.reason || "without a reason"}. ${advice ?? ""}`;
        say(text, end.asked ? "" : "bad");
      },
    });
  };
  show();
  form.onchange(show);
  return element(
    "div",
    {},
    element(
      "form",
      { class: "trial", onsubmit: start, autocomplete: "off" },
      form.element,
      element("p", { class: "buttons" }, connect, disconnect, clear),
      state,
    ),
    command,
    counted,
    log.element,
    code,
  );
}

/**
 * @param {string} type
 * @param {string} text
 * @param {() => void} [onclick]
 */
function button(type, text, onclick) {
  return /** @type {HTMLButtonElement} */ (
    element("button", { type, ...(onclick ? { onclick } : {}) }, text)
  );
}

/**
 * Return the form for commands, which is shown while the stream is open.
 *
 * @param {unknown[]} requests
 * @param {(text: string) => void} send
 */
function commandForm(requests, send) {
  const field = /** @type {HTMLTextAreaElement} */ (
    element("textarea", { rows: "2", dir: "ltr", spellcheck: "false" })
  );
  field.value = JSON.stringify(requests[0] ?? {});
  const examples = requests.map((request, index) =>
    button("button", `Example ${index + 1}`, () => {
      field.value = JSON.stringify(request);
    }),
  );
  return element(
    "form",
    {
      class: "dialog",
      hidden: true,
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        send(field.value);
      },
    },
    element("label", {}, "A command to send", field),
    element("p", { class: "buttons" }, button("submit", "Send"), ...examples),
  );
}

/**
 * The newest messages. They are put into the page once per frame, however many arrive.
 *
 * @param {HTMLElement} counted
 */
function logOf(counted) {
  const name = "Messages, newest first";
  const list = element("ol", { class: "messages", "aria-label": name, hidden: true });
  /** @type {string[]} */
  let waiting = [];
  let count = 0;
  let asked = false;

  const draw = () => {
    asked = false;
    for (const text of waiting) {
      list.prepend(entry(text));
    }
    waiting = [];
    while (list.children.length > KEPT) {
      list.lastElementChild?.remove();
    }
    list.hidden = !count;
    const kept = count > KEPT ? `, the newest ${KEPT} of them here` : "";
    counted.textContent = count ? `${count} ${count === 1 ? "message" : "messages"}${kept}.` : "";
  };
  return {
    element: list,
    add: (/** @type {string} */ text) => {
      count += 1;
      waiting.push(text);
      // A hidden page draws no frames.
      waiting = waiting.slice(-KEPT);
      if (!asked) {
        asked = true;
        requestAnimationFrame(draw);
      }
    },
    clear: () => {
      waiting = [];
      count = 0;
      list.replaceChildren();
      draw();
    },
  };
}

/** @param {string} text */
function entry(text) {
  return element(
    "li",
    {},
    element(
      "details",
      {},
      element("summary", {}, ...headOf(text)),
      element("pre", { tabindex: "0" }, laidOut(text)),
    ),
  );
}

/**
 * @param {string} text
 * @returns {(Node | string)[]}
 */
function headOf(text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return [text.slice(0, 80)];
  }
  const name = message.contractName ?? message.ContractId;
  const last = message.data?.Aggregate?.last_price;
  return [
    element("time", {}, String(message.timestamp ?? "").slice(11, 23)),
    " ",
    element("bdi", {}, String(name ?? message.channel ?? "")),
    element("span", { class: "note" }, noteOf(message, last)),
  ];
}

/**
 * @param {any} message
 * @param {unknown} last
 */
function noteOf(message, last) {
  if (message.channel === "IME Status") {
    return ` ${message.data?.feed ?? "no feed"}${message.data?.current ? ", current" : ""}`;
  }
  return last === undefined ? "" : ` last ${last}`;
}
