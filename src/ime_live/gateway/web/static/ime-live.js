/**
 * Stream market data to a web page, and call the service over HTTP. The types are in ime-live.d.ts,
 * and docs/browser.md explains each option.
 *
 *     import {connect} from "https://example.org/ime-live.js";
 *
 *     const stream = connect({contractNames: ["ContractA"]});
 *     stream.onUpdates(messages => messages.forEach(each => show(each.contractName, each.data)));
 *     stream.closed.catch(error => show(error.name, error.message));
 *
 * It does the same as the client library for Python, with the same names: see src/ime_live/client.
 */

// -- Errors -------------------------------------------------------------------------------------

/** The base of all errors of this module. */
export class ImeLiveError extends Error {
  get name() { return this.constructor.errorName; }
  static errorName = "ImeLiveError";
}

/** An argument cannot be used. */
export class SettingsError extends ImeLiveError { static errorName = "SettingsError"; }

/** The service cannot be reached, or its answer cannot be used. `status` is an HTTP status. */
export class ServiceError extends ImeLiveError {
  static errorName = "ServiceError";
  constructor(message, status = null) {
    super(message);
    this.status = status;
  }
}

/** The service refuses a stream or a request. `code` is a WebSocket close code or HTTP status. */
export class RefusedError extends ImeLiveError {
  static errorName = "RefusedError";
  constructor(message, code = 1008) {
    super(message);
    this.code = code;
    this.reason = message;
  }
}

/** The token is missing or not accepted. */
export class AuthenticationError extends RefusedError { static errorName = "AuthenticationError"; }

/** A contract is not known; the text names it. */
export class UnknownContractError extends RefusedError {
  static errorName = "UnknownContractError";
}

/** A command was refused as a whole. */
export class ControlError extends RefusedError { static errorName = "ControlError"; }

/** Too many requests; the next one is answered after `retryAfter` seconds. */
export class RateError extends RefusedError {
  static errorName = "RateError";
  constructor(message, retryAfter) {
    super(message, 429);
    this.retryAfter = retryAfter;
  }
}

const UNKNOWN_CONTRACT = "unknown contract: ";
const AUTHENTICATION = new Set([
  "authentication required", "token too long", "invalid token", "invalid claims", "token expired",
  "token not yet valid", "wrong audience", "wrong issuer",
]);
// RFC 6455, 7.4.1, and docs/protocol.md. After any other code another connection may help.
const FINAL_CODES = new Set([1002, 1003, 1007, 1008, 1009]);

/** Return the error for a close code of the service; null if a reconnection may help. */
export function errorOfClose(code, reason) {
  if (!FINAL_CODES.has(code)) return null;
  if (code === 1008 && AUTHENTICATION.has(reason)) return new AuthenticationError(reason);
  if (code === 1008 && reason.startsWith(UNKNOWN_CONTRACT)) return new UnknownContractError(reason);
  const text = `the service cannot serve this stream: it closed with ${code} and no reason`;
  return new RefusedError(reason || text, code);
}

function errorOfFaults(faults) {
  const text = faults.map(fault => fault.error).join("; ");
  if (faults.some(fault => fault.error.startsWith(UNKNOWN_CONTRACT))) {
    return new UnknownContractError(text);
  }
  return faults.some(fault => fault.contract === null) ? new ControlError(text)
    : new RefusedError(text);
}

// -- Arguments ----------------------------------------------------------------------------------

const STREAM = "/live/data/websocket/contract/";
const PARAMETERS = {name: "contract_names", id: "contract_id"};
const CALL_PARAMETERS = {name: "contract_names", id: "contract_ids"};
// Proxies usually accept 8 KiB in a request's first line, and the gateway 4 KiB in a command.
const MOST_CHARACTERS = 6000;
const MOST_BYTES = 3800;
const DEFAULTS = {
  snapshot: true, since: null, maxRate: null, sections: null, skipped: false, openTimeout: 10,
  staleAfter: 20, maxReconnectDelay: 30, firstTimeout: null,
};

function readService(url = new URL(".", import.meta.url).href) {
  let address;
  try {
    address = new URL(url, globalThis.location?.href);
  } catch {
    throw new SettingsError("the service's address must be a URL, such as https://example.org");
  }
  const scheme = /^(?:http|ws)(s?):$/.exec(address.protocol);
  if (!scheme) {
    throw new SettingsError(
      `the service's address must begin with https://, http://, wss:// or ws://, `
      + `got ${address.protocol}; pass url`);
  }
  if (address.search || address.hash || address.username || address.password) {
    throw new SettingsError("the service's address must not have a query, a fragment or a "
      + "password; pass contracts, options and the token as options");
  }
  const path = address.pathname
    .replace(/\/+$/, "")
    .replace(/\/live\/data\/websocket\/contract\/(name|id)$/, "");
  return {
    ws: `ws${scheme[1]}://${address.host}${path}`,
    http: `http${scheme[1]}://${address.host}${path}`,
  };
}

function textsOf(name, value) {
  const given = typeof value === "object" && value !== null ? [...value] : [value ?? []].flat();
  for (const each of given) {
    if (typeof each === "string" || Number.isSafeInteger(each)) continue;
    throw new SettingsError(`${name} must have texts or whole numbers, got ${typeof each}`);
  }
  const texts = given.map(each => String(each).trim());
  if (texts.includes("")) throw new SettingsError(`${name} must not be empty, got an empty text`);
  return [...new Set(texts)];
}

/** The key of a contract in `latest`: its name, or `id:` and its id, as the program named it. */
const keyOf = (by, text) => (by === "id" ? `id:${text}` : text);

/** Return the contracts and filters of a program: key → selector. */
function selectorsOf({contractNames, contractIds, markets, underlying, by = "name"} = {}) {
  if (!Object.hasOwn(PARAMETERS, by)) throw new SettingsError(`by must be "name" or "id", got ${by}`);
  const filter = {
    markets: textsOf("markets", markets),
    underlying: textsOf("underlying", underlying),
  };
  const given = {
    name: textsOf("contractNames", contractNames),
    id: textsOf("contractIds", contractIds),
  };
  const found = new Map();
  const add = (kind, patterns) => {
    // Sorted, as by the gateway, so that equal choices have equal keys.
    const {markets: wanted, underlying: of} = filter;
    const made = {
      by: kind, markets: wanted.sort(), underlying: of.sort(), patterns: patterns.sort(),
    };
    found.set(selectorKey(made), made);
  };
  let filtered = false;
  for (const [kind, texts] of Object.entries(given)) {
    for (const text of texts) {
      if (!text.includes("*")) found.set(keyOf(kind, text), {by: kind, text});
    }
    const patterns = texts.filter(text => text.includes("*"));
    if (patterns.length) add(kind, patterns);
    filtered ||= patterns.length > 0;
  }
  if (!filtered && (filter.markets.length || filter.underlying.length)) add(by, []);
  return found;
}

const selectorKey = each => (isFilter(each) ? JSON.stringify(each) : keyOf(each.by, each.text));

const isFilter = selector => selector.patterns !== undefined;

/** Return the keys that fit into one URL: one filter, and contracts of its kind. */
function firstFitting(selectors) {
  const filter = [...selectors].find(([, each]) => isFilter(each));
  const by = filter
    ? filter[1].by
    : [...selectors.values()].some(each => each.by === "name")
      ? "name"
      : "id";
  const fitting = filter ? [filter[0]] : [];
  let length = 0;
  for (const [key, selector] of selectors) {
    if (isFilter(selector) || selector.by !== by) continue;
    length += PARAMETERS[by].length + 2 + encodeURIComponent(selector.text).length;
    if (fitting.length && length > MOST_CHARACTERS) break;
    fitting.push(key);
  }
  return {by, fitting};
}

/** Split selectors into portions that fit into one command each; a filter is one of its own. */
function* portionsOf(selectors) {
  const encoder = new TextEncoder();
  let portion = [], size = 0;
  for (const selector of selectors) {
    if (isFilter(selector)) {
      yield [selector];
      continue;
    }
    const cost = encoder.encode(JSON.stringify(selector.text)).length + 1;
    if (portion.length && size + cost > MOST_BYTES) {
      yield portion;
      portion = [], size = 0;
    }
    portion.push(selector);
    size += cost;
  }
  if (portion.length) yield portion;
}

function commandOf(action, selectors, snapshot, id) {
  const texts = by =>
    selectors.filter(each => each.by === by).flatMap(each => each.patterns ?? [each.text]);
  const command = {action, contract_names: texts("name"), contract_ids: texts("id"), id};
  if (action === "subscribe") command.snapshot = snapshot;
  const [first] = selectors;
  if (first && isFilter(first)) {
    Object.assign(command, {market: first.markets, underlying: first.underlying, by: first.by});
  }
  return command;
}

function* batchesOf(change) {
  for (const selectors of portionsOf(change.left.values())) yield {change, selectors};
}

const keysOf = (answer = {}) => [
  ...(answer.contract_names ?? []), ...(answer.contract_ids ?? []).map(text => keyOf("id", text)),
];

function timeOf(name, moment) {
  if (!(moment instanceof Date)) return moment;
  if (Number.isNaN(moment.getTime())) throw new SettingsError(`${name} must be a valid Date`);
  return moment.toISOString();
}

// The gateway reads at most so many days of contracts for one call.
const MOST_DAYS = 100;
const DAY = 24 * 60 * 60 * 1000;
const TEHRAN = 3.5 * 60 * 60 * 1000; // east of UTC, without summer time since 2022

/** Return how many contracts fit into one call for candles between two times; at least one. */
function contractsPerCall(start, end, now = Date.now()) {
  if (start == null) return MOST_DAYS; // one day
  const dayOf = text => {
    const [, year, month, day] = /^\s*(\d{4})-?(\d\d)-?(\d\d)/.exec(text) ?? [];
    return Date.UTC(year, month - 1, day) / DAY;
  };
  const last = end == null ? Math.floor((now + TEHRAN) / DAY) : dayOf(end);
  // A time with an offset may be on the day before or after in Tehran.
  const offsets = [start, end].filter(each => /\d[T ]\d.*(?:z|[+-][\d:]+)$/i.test(each)).length;
  const days = Math.max(1, last - dayOf(start) + 1 + offsets);
  return Math.floor(MOST_DAYS / days) || 1; // of NaN: the service says what is wrong
}

const isObject = value => typeof value === "object" && value !== null;

/** Return a message of the service; null if it cannot be used. Unknown channels may come. */
function messageOf(text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(message) || typeof message.channel !== "string") return null;
  const {channel, timestamp, data} = message;
  const contract = message.contractName ?? message.ContractId;
  if (!["IME Stream", "IME Status", "IME Control"].includes(channel)) return message;
  if (typeof timestamp !== "string" || !isObject(data)) return null;
  if (channel === "IME Stream" && typeof contract !== "string") return null;
  if (channel === "IME Control" && !Array.isArray(data.errors)) return null;
  return message;
}

const queryOf = pairs =>
  pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");

/** A timestamp of the service as milliseconds of its own wall clock; only differences mean much. */
const millisecondsOf = timestamp => Date.parse(`${timestamp.slice(0, 23)}Z`);

function checkPositive(name, value) {
  if (!Number.isFinite(value) || value <= 0)
    throw new SettingsError(`${name} must be a number above 0, got ${value}`);
}

function checkOptions(options) {
  for (const name of [
    "maxRate",
    "openTimeout",
    "staleAfter",
    "maxReconnectDelay",
    "firstTimeout",
  ]) {
    const value = options[name];
    if (value !== null || DEFAULTS[name] !== null) checkPositive(name, value);
  }
  if (options.since !== null && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/.test(options.since)) {
    throw new SettingsError(
      `since must be a timestamp of a message, unchanged, got ${options.since}`,
    );
  }
}

// -- Resumption, waits and tokens ---------------------------------------------------------------

/** The newest timestamp that was received per contract. It decides where a stream resumes. */
export class ResumePoint {
  #seen = new Map();
  #begun = false;
  #snapshot;
  #since;

  constructor({snapshot, since, keys = []}) {
    this.#snapshot = snapshot;
    this.#since = since;
    if (since !== null) for (const key of keys) this.#seen.set(key, since);
  }

  /** Whether contracts that a command adds need their present states. */
  get wantsStates() { return this.#begun || this.#snapshot || this.#since !== null; }

  /** Note that a connection is open: from now on no state may be missed. */
  begin() { this.#begun = true; }

  /** Note a message, and return whether it is newer than the last one of its contract. */
  take(key, timestamp) {
    if (timestamp <= (this.#seen.get(key) ?? "")) return false;
    this.#seen.set(key, timestamp);
    return true;
  }

  forget(key) { this.#seen.delete(key); }

  /** Return the parameters of the next connection, so that no state of `selectors` is missed. */
  resumption(selectors) {
    if (!this.#begun) {
      return this.#since !== null ? {since: this.#since} : this.#snapshot ? {snapshot: true} : {};
    }
    // A filter may match contracts that were listed meanwhile, which have no timestamp.
    if ([...selectors].some(([, each]) => isFilter(each)))
      return this.#since !== null ? {since: this.#since} : {snapshot: true};
    const timestamps = [...selectors].map(([key]) => this.#seen.get(key));
    if (!timestamps.length || timestamps.includes(undefined)) return {snapshot: true};
    return {since: timestamps.reduce((one, other) => (one < other ? one : other))};
  }
}

/** Waits between two attempts: random, from 0 to a limit that doubles (full jitter). */
export class Backoff {
  #failures = 0;

  constructor(limit, random) {
    this.limit = limit;
    this.random = random;
  }

  reset() { this.#failures = 0; }

  /** Note a failure, and return the seconds to wait. */
  next() { return this.random() * Math.min(this.limit, 2 ** Math.min(this.#failures++, 32)); }
}

const TOKEN_PATIENCE = 5; // seconds; clocks and caches of tokens are a second or two behind
const TOKEN_WAIT = 2;

/** A token, fetched on first use and again when it is refused. */
export class Credentials {
  #source;
  #token = null;
  #renewed = false;
  #refusedSince = null;

  constructor(source, now) {
    this.now = now;
    this.#source = typeof source === "function" ? source : null;
    if (this.#source === null && source != null)
      this.#token = Promise.resolve(Credentials.check(source));
  }

  get renewable() { return this.#source !== null; }

  static check(token) {
    const text = typeof token === "string" ? token.trim().replace(/^bearer /i, "") : "";
    // RFC 9110, 5.6.2: other characters cannot be in a subprotocol.
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(text)) {
      throw new SettingsError(
        "a token must be a text of letters, digits and -._~, got something else",
      );
    }
    return text;
  }

  /** Resolve to the token; null without one. Calls at the same time share one fetch. */
  get() {
    if (this.#token === null && this.#source !== null) {
      const fetched = Promise.resolve().then(this.#source).then(Credentials.check);
      this.#token = fetched;
      fetched.catch(() => { if (this.#token === fetched) this.#token = null; });
    }
    return this.#token ?? Promise.resolve(null);
  }

  accepted() {
    this.#renewed = false;
    this.#refusedSince = null;
  }

  /** Note a refusal, and return whether another attempt makes sense. */
  refused(reason = "") {
    if (this.#source !== null) this.#token = null;
    if (reason.startsWith("token expired") || reason.startsWith("token not yet valid")) {
      this.#refusedSince ??= this.now();
      return this.now() - this.#refusedSince < TOKEN_PATIENCE * 1000;
    }
    const worth = this.#source !== null && !this.#renewed;
    this.#renewed = true; // a function with a bad token is not called forever
    return worth;
  }
}

/** The pace of commands: 8 per second and 40 at once; the gateway allows a little more. */
class CommandRate {
  #left = 40;
  #at = null;

  /** Count one command, and return the milliseconds to wait before it is sent. */
  wait(now) {
    if (this.#at !== null) this.#left = Math.min(40, this.#left + 8 * (now - this.#at) / 1000);
    this.#at = now;
    this.#left -= 1;
    return Math.max(0, -this.#left / 8 * 1000);
  }
}

// -- Streams ------------------------------------------------------------------------------------

// Tests replace it. A browser calls no frame for a hidden tab, so a timer stands behind each.
const ENVIRONMENT = {
  WebSocket: globalThis.WebSocket,
  now: () => performance.now(),
  random: Math.random,
  setTimeout: (call, wait) => setTimeout(call, wait),
  clearTimeout: timer => clearTimeout(timer),
  requestFrame: call => globalThis.requestAnimationFrame?.(call),
  cancelFrame: frame => globalThis.cancelAnimationFrame?.(frame),
  events: globalThis,
  document: globalThis.document,
  report: error => queueMicrotask(() => { throw error; }),
};
const LASTING = 1000; // milliseconds; a connection that lasted longer resets the backoff
const FRAME = 16;
const HIDDEN_FRAME = 1000;

/** A stream that reconnects and resumes; `connect` makes it. */
export class Stream {
  #options;
  #environment;
  #service;
  #credentials;
  #resumePoint;
  #backoff;
  #held;
  #connection = null;
  #changes = [];
  #asked = new Map();
  #unsent = [];
  #number = 0;
  #pending = new Map();
  #flushing = null;
  #retry = null;
  #first = null;
  #clock = null;
  #listeners = {
    message: new Set(),
    updates: new Set(),
    status: new Set(),
    connection: new Set(),
    listing: new Set(),
  };
  #settle;
  #unhook = [];

  constructor(options, environment) {
    this.#environment = environment;
    this.#options = {...DEFAULTS};
    for (const [name, value] of Object.entries(options)) {
      if (value !== undefined) this.#options[name] = value;
    }
    checkOptions(this.#options);
    const {sections} = this.#options;
    // As a list: each connection sends them, and an iterator can be read only once.
    if (sections !== null) this.#options.sections = textsOf("sections", sections);
    this.#service = readService(options.url);
    this.#held = selectorsOf(options);
    if (!this.#held.size) {
      throw new SettingsError("at least one contract must be given, got none; pass contractNames, "
        + "contractIds, markets or underlying");
    }
    this.#credentials = new Credentials(options.token, environment.now);
    this.#resumePoint = new ResumePoint({...this.#options, keys: this.#held.keys()});
    this.#backoff = new Backoff(this.#options.maxReconnectDelay, environment.random);
    this.state = "connecting";
    this.status = null;
    this.latest = new Map();
    this.closed = new Promise((resolve, reject) => { this.#settle = {resolve, reject}; });
    this.#listen();
    if (this.state !== "closed") this.#retry = environment.setTimeout(() => this.#open(), 0);
    if (this.#options.firstTimeout !== null) {
      const text = `cannot connect within ${this.#options.firstTimeout} s`;
      this.#first = environment.setTimeout(
        () => this.#end(new ServiceError(text)), this.#options.firstTimeout * 1000);
    }
  }

  // What a program sees

  get current() { return this.state === "open" && this.status?.current === true; }

  age(timestamp) {
    return this.#clock === null ? null
      : Math.max(0, (this.#environment.now() + this.#clock - millisecondsOf(timestamp)) / 1000);
  }

  onMessage(listener) { return this.#on("message", listener); }
  onUpdates(listener) { return this.#on("updates", listener); }
  onStatus(listener) { return this.#on("status", listener); }
  onConnection(listener) { return this.#on("connection", listener); }
  onListing(listener) { return this.#on("listing", listener); }

  add(contracts, {snapshot = this.#options.snapshot} = {}) {
    return this.#change("subscribe", contracts, snapshot);
  }

  remove(contracts) { return this.#change("unsubscribe", contracts, false); }

  close() { this.#end(null); }

  // Connections

  #open() {
    if (this.#connection !== null || this.state === "closed" || this.state === "paused") return;
    this.#environment.clearTimeout(this.#retry);
    this.#asked.clear();
    this.#changes = this.#changes.filter(change => !change.restoring);
    for (const change of [...this.#changes]) {
      if (change.action === "unsubscribe") this.#dropFromSelection(change);
      else change.snapshot ||= change.sent; // it may have been done before the break
    }
    let wanted = this.#held;
    const adding = this.#changes.find(change => change.action === "subscribe");
    if (!wanted.size && adding) wanted = new Map([...adding.left].slice(0, 1));
    if (!wanted.size) return this.#tell("idle", "no contract is selected");
    const {by, fitting} = firstFitting(wanted);
    const rest = [...wanted].filter(([key]) => !fitting.includes(key));
    if (rest.length) {
      this.#changes.unshift({
        action: "subscribe",
        left: new Map(rest),
        snapshot: this.#resumePoint.wantsStates,
        faults: [],
        restoring: true,
      });
    }
    this.#unsent = this.#changes.flatMap(change => [...batchesOf(change)]);
    const connection = {
      socket: null,
      arrived: null,
      opened: null,
      probed: null,
      watch: null,
      rate: new CommandRate(),
      timers: new Set(),
    };
    this.#connection = connection;
    const current = call => (...given) => { if (this.#connection === connection) call(...given); };
    this.#credentials.get().then(
      current(token =>
        this.#dial(
          connection,
          this.#address(
            by,
            fitting.map(key => wanted.get(key)),
          ),
          token,
          current,
        ),
      ),
      current(error => this.#end(error)),
    );
  }

  #address(by, selectors) {
    const {maxRate, sections, skipped} = this.#options;
    const pairs = [];
    for (const each of selectors) {
      pairs.push(...(each.markets ?? []).map(text => ["market", text]));
      pairs.push(...(each.underlying ?? []).map(text => ["underlying", text]));
      pairs.push(...(each.patterns ?? [each.text]).map(text => [PARAMETERS[by], text]));
    }
    pairs.push(...Object.entries(this.#resumePoint.resumption(this.#held)));
    if (maxRate !== null) pairs.push(["max_rate", maxRate]);
    if (sections !== null) pairs.push(["sections", sections.join(",")]);
    if (skipped) pairs.push(["skipped", true]);
    return `${this.#service.ws}${STREAM}${by}?${queryOf([...pairs, ["status", true]])}`;
  }

  #dial(connection, address, token, current) {
    let socket;
    try {
      socket = new this.#environment.WebSocket(
        address,
        token === null ? [] : ["ime-live", `token.${token}`],
      );
    } catch (error) {
      // as on a page of https, which may open no ws://
      return this.#end(new ServiceError(`the browser cannot open the stream: ${error.message}`));
    }
    connection.socket = socket;
    this.#timer(connection, this.#options.openTimeout * 1000, () => {
      if (connection.arrived === null) {
        this.#lose(`no answer within ${this.#options.openTimeout} s`);
      }
    });
    socket.onopen = current(() => {
      connection.opened = this.#environment.now();
      this.#resumePoint.begin();
      this.#send();
    });
    socket.onmessage = current(event => this.#receive(connection, event.data));
    socket.onclose = current(event => this.#onClose(event.code, event.reason));
  }

  #onClose(code, reason) {
    const error = errorOfClose(code, reason);
    const text = reason || `the connection broke (${code})`;
    if (error === null) return this.#lose(text);
    if (error instanceof AuthenticationError && this.#credentials.refused(reason)) {
      return this.#lose(text, TOKEN_WAIT);
    }
    if (error instanceof UnknownContractError && this.#leaveOut(reason)) return this.#lose(text, 0);
    this.#end(error);
  }

  /** Give up the connection, and make the next one after a wait. */
  #lose(reason, longest = Infinity) {
    const {opened} = this.#connection;
    this.#hangUp();
    if (opened !== null && this.#environment.now() - opened >= LASTING) this.#backoff.reset();
    const wait = Math.min(this.#backoff.next(), longest);
    this.#retry = this.#environment.setTimeout(() => this.#open(), wait * 1000);
    this.#tell("reconnecting", reason);
  }

  #hangUp() {
    const connection = this.#connection;
    this.#connection = null;
    this.status = null;
    if (connection === null) return;
    connection.timers.forEach(timer => this.#environment.clearTimeout(timer));
    connection.socket?.close(); // its events come too late to count
  }

  #end(error) {
    if (this.state === "closed") return;
    this.#flush(); // what was received is not lost
    if (this.state === "closed") return; // a listener has closed the stream
    this.#hangUp();
    this.#environment.clearTimeout(this.#retry);
    this.#environment.clearTimeout(this.#first);
    this.#unhook.forEach(call => call());
    const ended = error ?? new ServiceError("the stream cannot be changed: it has ended");
    for (const change of this.#changes.splice(0)) change.reject?.(ended);
    if (error === null) this.#settle.resolve();
    else this.#settle.reject(error);
    this.#tell("closed", error?.message ?? "the stream was closed", error);
  }

  // Messages

  #receive(connection, text) {
    const message = messageOf(text);
    if (message === null) {
      return this.#end(
        new ServiceError("the service's message must be as in docs/protocol.md, got something else"));
    }
    const first = connection.arrived === null;
    connection.arrived = this.#environment.now();
    if (first) {
      // Only a message proves that the token was accepted: a refusal comes after the handshake.
      this.#credentials.accepted();
      this.#environment.clearTimeout(this.#first);
      this.#watch(connection);
      this.#tell("open", "");
      if (this.#connection !== connection) return; // a listener has closed the stream
    }
    if (message.channel === "IME Stream") this.#take(message);
    else if (message.channel === "IME Status") this.#takeStatus(message);
    else if (message.channel === "IME Control") this.#takeAnswer(message.data);
  }

  #take({contractName, ContractId, ...rest}) {
    const key = contractName === undefined ? keyOf("id", ContractId) : contractName;
    if (!this.#resumePoint.take(key, rest.timestamp)) return;
    const named = contractName === undefined ? {contractId: ContractId} : {contractName};
    const message = {key, ...named, ...rest};
    this.latest.set(key, message);
    if (this.#listeners.updates.size) {
      this.#pending.set(key, message);
      this.#flushing ??= {
        frame: this.#environment.requestFrame(() => this.#flush()),
        timer: this.#environment.setTimeout(
          () => this.#flush(), globalThis.requestAnimationFrame ? HIDDEN_FRAME : FRAME),
      };
    }
    this.#emit("message", message);
  }

  #flush() {
    if (this.#flushing === null) return;
    this.#environment.cancelFrame(this.#flushing.frame);
    this.#environment.clearTimeout(this.#flushing.timer);
    this.#flushing = null;
    const batch = [...this.#pending.values()];
    this.#pending.clear();
    if (batch.length) this.#emit("updates", batch);
  }

  #takeStatus({timestamp, data}) {
    this.status = {timestamp, ...data};
    this.#clock = millisecondsOf(timestamp) - this.#environment.now();
    this.#emit("status", this.status);
  }

  /**
   * Reconnect a connection that has died silently: a browser shows a script no pings. After a
   * while without a message ask for one, and expect it within openTimeout.
   */
  #watch(connection, quiet = this.#options.staleAfter * 1000) {
    const now = this.#environment.now();
    const {staleAfter, openTimeout} = this.#options;
    if (connection.probed !== null && connection.arrived > connection.probed)
      connection.probed = null;
    if (connection.probed === null && now >= connection.arrived + quiet) {
      connection.probed = now;
      connection.rate.wait(now);
      connection.socket.send(JSON.stringify(commandOf("subscribe", [], false, "probe")));
    }
    const end =
      connection.probed === null
        ? connection.arrived + staleAfter * 1000
        : connection.probed + openTimeout * 1000;
    if (connection.probed !== null && now >= end)
      return this.#lose(`no answer within ${openTimeout} s`);
    this.#environment.clearTimeout(connection.watch);
    connection.watch = this.#timer(connection, Math.max(50, end - now), () =>
      this.#watch(connection),
    );
  }

  // The selection

  #change(action, contracts, snapshot) {
    return new Promise((resolve, reject) => {
      if (this.state === "closed")
        throw new ServiceError("the stream cannot be changed: it has ended");
      const change = {action, left: selectorsOf(contracts), snapshot, faults: [], resolve, reject};
      if (!change.left.size) return resolve();
      this.#changes.push(change);
      if (this.#connection === null) {
        if (this.state === "idle") this.#open();
      } else {
        this.#unsent.push(...batchesOf(change));
        if (this.#connection.opened !== null) this.#send();
      }
    });
  }

  #send() {
    const connection = this.#connection;
    for (const {change, selectors} of this.#unsent.splice(0)) {
      const id = ++this.#number;
      this.#asked.set(id, {change, selectors});
      change.sent = true;
      const wait = connection.rate.wait(this.#environment.now());
      const text = JSON.stringify(commandOf(change.action, selectors, change.snapshot, id));
      const send = () => {
        connection.socket.send(text);
        this.#timer(connection, this.#options.openTimeout * 1000, () => this.#overdue(id));
      };
      if (wait > 0) this.#timer(connection, wait, send);
      else send();
    }
  }

  #overdue(id) {
    const change = this.#asked.get(id)?.change;
    if (change === undefined) return;
    const {openTimeout} = this.#options;
    const text = `the gateway must answer a command within ${openTimeout} s, got none`;
    if (change.restoring) return this.#lose(text);
    this.#changes = this.#changes.filter(each => each !== change);
    change.reject(new ServiceError(text)); // it may be done all the same, and a late answer counts
  }

  #takeAnswer(answer) {
    if (answer.action === "listing") {
      for (const key of keysOf(answer.removed)) this.#forget(key);
      return this.#emit("listing", {
        added: keysOf(answer.added),
        removed: keysOf(answer.removed),
        errors: answer.errors,
      });
    }
    const asked = this.#asked.get(answer.id);
    if (asked === undefined) return;
    this.#asked.delete(answer.id);
    const failed = new Set(answer.errors.map(fault => fault.contract));
    for (const selector of asked.selectors) {
      const key = selectorKey(selector);
      asked.change.left.delete(key);
      if (failed.has(null) || failed.has(selector.text)) continue;
      if (asked.change.action === "subscribe") this.#held.set(key, selector);
      else this.#held.delete(key);
    }
    asked.change.faults.push(...answer.errors);
    if (!this.#asked.size && !this.#unsent.length) {
      const left = new Set([...keysOf(answer), ...keysOf(answer.matching)]);
      for (const key of [...this.latest.keys()]) if (!left.has(key)) this.#forget(key);
    }
    this.#finish(asked.change);
  }

  #finish(change) {
    if (change.left.size) return;
    this.#changes = this.#changes.filter(each => each !== change);
    const error = change.faults.length ? errorOfFaults(change.faults) : null;
    if (error === null) change.resolve?.();
    else if (change.restoring) this.#end(error); // a contract does not disappear silently
    else change.reject(error);
  }

  /** Do without a command what the next connection does by not asking for it. */
  #dropFromSelection(change) {
    for (const key of change.left.keys()) this.#held.delete(key);
    change.left.clear();
    if (![...this.#held.values()].some(isFilter)) {
      for (const key of [...this.latest.keys()]) if (!this.#held.has(key)) this.#forget(key);
    }
    this.#finish(change);
  }

  /** Take out of a change the contract that the reason of a refused handshake is about. */
  #leaveOut(reason) {
    for (const change of this.#changes) {
      for (const [key, selector] of change.left) {
        if (change.restoring || this.#held.has(key) || reason !== UNKNOWN_CONTRACT + selector.text)
          continue;
        change.left.delete(key);
        change.faults.push({contract: selector.text, error: reason});
        this.#finish(change);
        return true;
      }
    }
    return false;
  }

  #forget(key) {
    this.latest.delete(key);
    this.#pending.delete(key);
    this.#resumePoint.forget(key);
  }

  // The page around it

  #listen() {
    const {events, document} = this.#environment;
    const hook = (target, type, call) => {
      target?.addEventListener?.(type, call);
      this.#unhook.push(() => target?.removeEventListener?.(type, call));
    };
    const look = () => {
      const connection = this.#connection;
      if (connection !== null && connection.arrived !== null) this.#watch(connection, LASTING);
      else if (this.state === "reconnecting" && connection === null) {
        this.#backoff.reset();
        this.#open();
      }
    };
    hook(events, "online", look);
    hook(document, "resume", look);
    hook(document, "visibilitychange", () => {
      if (document.visibilityState === "visible") look();
    });
    // A page that is kept to be shown again (bfcache) must have no open connection.
    hook(events, "pagehide", event => {
      if (!event.persisted || this.state === "closed") return;
      this.#hangUp();
      this.#environment.clearTimeout(this.#retry);
      this.#tell("paused", "the page is hidden");
    });
    hook(events, "pageshow", event => {
      if (!event.persisted || this.state !== "paused") return;
      this.#tell("reconnecting", "the page is shown again");
      this.#open();
    });
    const {signal} = this.#options;
    if (signal?.aborted) this.close();
    hook(signal, "abort", () => this.close());
  }

  #timer(connection, wait, call) {
    const timer = this.#environment.setTimeout(() => {
      connection.timers.delete(timer);
      call();
    }, wait);
    connection.timers.add(timer);
    return timer;
  }

  #tell(state, reason, error = null) {
    this.state = state;
    this.#emit("connection", {state, reason, error});
  }

  #on(kind, listener) {
    if (typeof listener !== "function")
      throw new SettingsError(`a listener must be a function, got ${typeof listener}`);
    const own = value => listener(value); // so that one function can be added twice
    this.#listeners[kind].add(own);
    return () => { this.#listeners[kind].delete(own); };
  }

  #emit(kind, value) {
    for (const listener of [...this.#listeners[kind]]) {
      try {
        listener(value);
      } catch (error) {
        this.#environment.report(error); // to window.onerror; the stream goes on
      }
    }
  }
}

/**
 * Start a stream; it connects in the background, and reconnects until it is closed.
 *
 * @throws {SettingsError} an option cannot be used. All later errors reject `closed`.
 */
export function connect(options = {}, environment = ENVIRONMENT) {
  return new Stream(options, environment);
}

// -- Calls over HTTP ----------------------------------------------------------------------------

const SECTION_PATHS = {
  BestLimit: "best-limit", Aggregate: "aggregate", AllowedPriceRange: "allowed-price-range",
  ContractInfo: "contract-info",
};

const TRIES = 5;
const LONGEST_WAIT = 5; // seconds

/** Wait for some seconds, or reject with the reason of a signal. */
function passed(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, {once: true});
  });
}

/** The REST calls of the service. */
export class Client {
  #service;
  #credentials;
  #timeout;

  constructor({url, token, timeout = 10} = {}) {
    checkPositive("timeout", timeout);
    this.#service = readService(url);
    this.#credentials = new Credentials(token, ENVIRONMENT.now);
    this.#timeout = timeout;
  }

  async snapshot(section, contracts, options) {
    if (!Object.hasOwn(SECTION_PATHS, section)) {
      throw new SettingsError(
        `section must be one of ${Object.keys(SECTION_PATHS).join(", ")}, got ${section}`,
      );
    }
    return this.#live(SECTION_PATHS[section], selectorsOf(contracts), options);
  }

  async overview(contracts, options) {
    return this.#live("overview", selectorsOf(contracts), options);
  }

  async candles(contracts, {interval = "1m", start, end, ...options} = {}) {
    const [from, to] = [timeOf("start", start), timeOf("end", end)];
    const selectors = selectorsOf(contracts);
    const chosen = new Map([...selectors].filter(([, each]) => !isFilter(each)));
    const byId = []; // of a filter by name: contracts whose name another one has
    for (const [key, filter] of selectors) {
      if (chosen.has(key)) continue;
      // The names are needed to divide the call; this is the shortest answer that has them.
      const wanted = new Map([[key, filter]]);
      for (const name of Object.keys(await this.#live("contract-info", wanted, options))) {
        const taken = filter.by === "name" && name.startsWith("id:");
        if (taken) byId.push(name);
        const text = taken ? name.slice(3) : name;
        const by = taken ? "id" : filter.by;
        chosen.set(keyOf(by, text), {by, text});
      }
    }
    if (selectors.size && !chosen.size) return {};
    const most = contractsPerCall(from, to);
    const found = await this.#live("candles", chosen, options, {interval, from, to}, most);
    for (const name of byId) {
      found[name] = found[name.slice(3)];
      if (!selectors.has(name)) delete found[name.slice(3)];
    }
    return found;
  }

  async #live(section, selectors, options, parameters, most) {
    const path = `/live/data/${section}/contract/`;
    const answers = await this.#each(path, selectors, options, parameters, most);
    return Object.assign({}, ...answers);
  }

  async contracts(contracts, options) {
    return (await this.#each("/static/data/contract/", selectorsOf(contracts), options)).flat();
  }

  search(market, text = "", options) {
    return this.get("/static/data/contract/search", {market, Search_char: text}, options);
  }

  async optionChain(underlying, {expiration, ...options} = {}) {
    const [wanted, ...others] = textsOf("underlying", underlying);
    if (wanted === undefined || others.length)
      throw new SettingsError("underlying must be one text, such as GC");
    const parameters = {underlying: wanted, expiration};
    return this.get("/static/data/contract/option-chain", parameters, options);
  }

  markets(options) { return this.get("/static/data/market", {}, options); }

  async status(contracts = {}, options) {
    const selectors = new Map();
    for (const text of textsOf("contractNames", contracts.contractNames))
      selectors.set(keyOf("name", text), {by: "name", text});
    for (const text of textsOf("contractIds", contracts.contractIds))
      selectors.set(keyOf("id", text), {by: "id", text});
    const answers = [];
    do { // also without a contract: then it is the state of all
      const {by, fitting} = firstFitting(selectors);
      const texts = fitting.map(key => selectors.get(key).text);
      fitting.forEach(key => selectors.delete(key));
      const query = {[CALL_PARAMETERS[by]]: texts};
      await this.#next(answers, () => this.#fetch("/live/status", query, options), options);
    } while (selectors.size);
    return {
      ...answers.at(-1),
      contracts: Object.assign({}, ...answers.map(each => each.contracts)),
    };
  }

  /** Return `Data` of any call, as of those that are newer than this module. */
  async get(path, parameters = {}, options) {
    const body = await this.#fetch(path, parameters, options);
    if (body.Data === undefined)
      throw new ServiceError(`the answer of ${path} must have Data, got none`, 200);
    return body.Data;
  }

  /**
   * Make calls one after the other, each for as many contracts as fit into a URL, and at most
   * `most`. Takes the selectors out of the map.
   */
  async #each(path, selectors, options, parameters, most) {
    if (!selectors.size) throw new SettingsError("a call must name contracts or a market, got none");
    const answers = [];
    while (selectors.size) {
      const {by, fitting: keys} = firstFitting(selectors);
      const fitting = keys.slice(0, most);
      const texts = {[CALL_PARAMETERS[by]]: fitting.flatMap(key => {
        const each = selectors.get(key);
        return each.patterns ?? [each.text];
      })};
      const filter = fitting.map(key => selectors.get(key)).find(isFilter);
      const query = {
        ...texts, market: filter?.markets, underlying: filter?.underlying, ...parameters,
      };
      await this.#next(answers, () => this.get(path + by, query, options), options);
      fitting.forEach(key => selectors.delete(key));
    }
    return answers;
  }

  /** Add the answer of the next part of a divided call, which may be one too many for the rate. */
  async #next(answers, call, {signal} = {}) {
    for (let tries = 1; ; tries++) {
      try {
        return answers.push(await call());
      } catch (error) {
        const {retryAfter: wait} = error;
        if (!answers.length || !(error instanceof RateError) || tries === TRIES) throw error;
        if (!(wait <= LONGEST_WAIT)) throw error;
        signal?.throwIfAborted();
        await passed(Math.max(1, wait), signal);
      }
    }
  }

  async #fetch(path, parameters, {signal} = {}, again = false) {
    // Another text would become a part of the host, which gets the token.
    if (!String(path).startsWith("/"))
      throw new SettingsError(`a path must start with "/", got ${path}`);
    const pairs = Object.entries(parameters).flatMap(
      ([name, value]) => (value == null ? [] : [value].flat().map(each => [name, each])));
    const query = queryOf(pairs);
    const token = await this.#credentials.get();
    const late = AbortSignal.timeout(this.#timeout * 1000);
    let response, body;
    try {
      response = await fetch(`${this.#service.http}${path}${query && "?"}${query}`, {
        headers: token === null ? {} : {Authorization: `Bearer ${token}`},
        signal: signal ? AbortSignal.any([signal, late]) : late,
        credentials: "omit",
      });
      body = await response.json().catch(error => {
        if (error instanceof SyntaxError) return null;
        throw error;
      });
    } catch (error) {
      signal?.throwIfAborted();
      const text = late.aborted ? `no answer within ${this.#timeout} s` : error.message;
      throw new ServiceError(`${path} cannot be reached: ${text}`);
    }
    if (response.ok) {
      // A page of a proxy, or of an address that is wrong, must not look like an empty market.
      if (body === null || typeof body !== "object") {
        throw new ServiceError(
          `${path} must be answered with a JSON object, got something else`, response.status);
      }
      this.#credentials.accepted();
      return body;
    }
    const detail = body?.detail;
    const reason = typeof detail === "string" ? detail
      : `${path} was answered with HTTP ${response.status}`;
    if (response.status === 401) {
      if (this.#credentials.refused(reason) && this.#credentials.renewable && !again) {
        return this.#fetch(path, parameters, {signal}, true);
      }
      throw new AuthenticationError(reason, 401);
    }
    if (response.status === 429)
      throw new RateError(reason, Number(response.headers.get("Retry-After")));
    if (response.status === 404 && reason.startsWith(UNKNOWN_CONTRACT))
      throw new UnknownContractError(reason, 404);
    if (response.status === 403 || response.status === 422)
      throw new RefusedError(reason, response.status);
    throw new ServiceError(reason, response.status);
  }
}
