// The browser module without a browser: a WebSocket, a page and a clock that the tests move.
import assert from "node:assert/strict";
import {test} from "node:test";

import {
  Backoff, Client, Credentials, ResumePoint, connect, errorOfClose,
} from "../../../src/ime_live/gateway/web/static/ime-live.js";

class World {
  time = 0;
  timers = [];
  sockets = [];
  reports = [];
  frames = [];
  events = new EventTarget();
  document = new EventTarget();

  constructor() {
    const world = this;
    this.environment = {
      WebSocket: class {
        sent = [];
        closed = false;
        constructor(url, protocols) {
          this.url = new URL(url);
          this.protocols = protocols;
          world.sockets.push(this);
        }
        send(text) { this.sent.push(JSON.parse(text)); }
        close() { this.closed = true; }
      },
      now: () => this.time,
      random: () => 0.5,
      setTimeout: (call, wait) => {
        const timer = {call, at: this.time + wait};
        this.timers.push(timer);
        return timer;
      },
      clearTimeout: timer => { this.timers = this.timers.filter(each => each !== timer); },
      requestFrame: call => this.frames.push(call),
      cancelFrame: () => {},
      events: this.events,
      document: this.document,
      report: error => this.reports.push(error),
    };
  }

  get socket() { return this.sockets.at(-1); }

  /** Start a stream, and dial. */
  async start(options = {}) {
    const stream = connect({url: "http://a.example/p/", contractNames: ["A", "B"], ...options}, this.environment);
    await this.pass(0);
    return stream;
  }

  /** Let time pass, with all timers that become due. */
  async pass(seconds) {
    const end = this.time + seconds * 1000;
    for (;;) {
      await new Promise(resolve => setImmediate(resolve));
      const next = this.timers.filter(each => each.at <= end).sort((one, other) => one.at - other.at)[0];
      if (!next) break;
      this.time = Math.max(this.time, next.at);
      this.timers = this.timers.filter(each => each !== next);
      next.call();
    }
    this.time = end;
  }

  open() { this.socket.onopen(); }
  message(value) { this.socket.onmessage({data: JSON.stringify(value)}); }
  state(name, second, count = 0) {
    this.message({channel: "IME Stream", contractName: name, timestamp: timestamp(second), data: {count}});
  }
  status(current = true) {
    this.message({channel: "IME Status", timestamp: timestamp(59), data: {feed: "live", current, contracts: {}}});
  }
  answer(data) { this.message({channel: "IME Control", timestamp: timestamp(0), data: {errors: [], contract_ids: [], ...data}}); }
  end(code, reason = "") { this.socket.onclose({code, reason}); }
  page(type, persisted) { this.events.dispatchEvent(Object.assign(new Event(type), {persisted})); }
}

const timestamp = second => `2026-05-23T15:10:${String(second).padStart(2, "0")}.000000`;

test("close codes are errors with names, or null where a reconnection helps", () => {
  for (const code of [1000, 1001, 1006, 1011, 1012, 1013]) assert.equal(errorOfClose(code, "x"), null);
  for (const code of [1002, 1003, 1007, 1008, 1009]) {
    const error = errorOfClose(code, "");
    assert.equal(error.name, "RefusedError");
    assert.equal(error.code, code);
  }
  assert.equal(errorOfClose(1008, "token expired").name, "AuthenticationError");
  assert.equal(errorOfClose(1008, "unknown contract: X").name, "UnknownContractError");
});

test("waits are random below a limit that doubles", () => {
  const backoff = new Backoff(30, () => 0.999);
  const waits = Array.from({length: 50}, () => backoff.next());
  assert.deepEqual(waits.slice(0, 7).map(Math.ceil), [1, 2, 4, 8, 16, 30, 30]);
  assert.ok(waits.every(wait => wait < 30));
  backoff.reset();
  assert.ok(backoff.next() < 1);
});

test("resume point takes the smallest timestamp, or all states if one is missing", () => {
  const selectors = new Map([["A", {by: "name", text: "A"}], ["B", {by: "name", text: "B"}]]);
  const point = new ResumePoint({snapshot: false, since: null});
  assert.deepEqual(point.resumption(selectors), {});
  point.begin();
  assert.ok(point.take("A", timestamp(2)));
  assert.ok(!point.take("A", timestamp(2)));
  assert.ok(!point.take("A", timestamp(1)));
  assert.deepEqual(point.resumption(selectors), {snapshot: true});
  assert.ok(point.take("B", timestamp(1)));
  assert.deepEqual(point.resumption(selectors), {since: timestamp(1)});
  selectors.set("{", {by: "name", markets: ["IMEOption"], underlying: [], patterns: []});
  assert.deepEqual(point.resumption(selectors), {snapshot: true});
  const later = new ResumePoint({snapshot: true, since: timestamp(3)});
  later.begin();
  assert.deepEqual(later.resumption(selectors), {since: timestamp(3)});
});

test("a token function is called again once after a refusal, and by itself for no other reason", async () => {
  let calls = 0, time = 0;
  const credentials = new Credentials(() => `t${++calls}`, () => time);
  assert.deepEqual(await Promise.all([credentials.get(), credentials.get()]), ["t1", "t1"]);
  assert.ok(credentials.refused("invalid token"));
  assert.equal(await credentials.get(), "t2");
  assert.ok(!credentials.refused("invalid token"));
  credentials.accepted();
  assert.ok(credentials.refused("token expired"));
  time = 6000;
  assert.ok(!credentials.refused("token expired"));
  await assert.rejects(new Credentials(() => "a b", () => 0).get(), {name: "SettingsError"});
});

test("options that cannot be used are refused at once", () => {
  const {environment} = new World();
  for (const options of [
    {}, {contractNames: []}, {contractNames: null}, {contractNames: [null]}, {contractIds: 1.5},
    {contractIds: [2 ** 53]}, {contractNames: [" "]}, {contractNames: ["A"], maxRate: 0},
    {contractNames: ["A"], openTimeout: NaN}, {contractNames: ["A"], url: "file:///x"},
    {contractNames: ["A"], url: "https://u:p@a.example"}, {contractNames: ["A"], token: "a b"},
    {contractNames: ["A"], token: ""}, {contractNames: ["A"], since: "yesterday"},
    {markets: ["IMEOption"], by: "title"}, {contractNames: ["A"], url: "https://a.example/?token=x"},
  ]) {
    assert.throws(
      () => connect({url: "http://a.example", ...options}, environment), {name: "SettingsError"},
      JSON.stringify(options));
  }
});

test("the address has the prefix, contracts in UTF-8 and options; the token is a subprotocol", async () => {
  const world = new World();
  await world.start({contractNames: ["سكه"], token: "a.b", maxRate: 2, sections: ["Aggregate"], skipped: true});
  assert.deepEqual(world.socket.protocols, ["ime-live", "token.a.b"]);
  assert.equal(world.socket.url.pathname, "/p/live/data/websocket/contract/name");
  assert.equal(world.socket.url.search, "?contract_names=%D8%B3%D9%83%D9%87&snapshot=true&max_rate=2"
    + "&sections=Aggregate&skipped=true&status=true");
  await world.start({contractNames: undefined, markets: "IMEOption", underlying: ["KASH"], by: "id"});
  assert.equal(world.socket.url.pathname, "/p/live/data/websocket/contract/id");
  assert.match(world.socket.url.search, /^\?market=IMEOption&underlying=KASH&snapshot=true/);
});

test("a stream reconnects with full jitter, and resumes without duplicates", async () => {
  const world = new World();
  const seen = [];
  const stream = await world.start();
  stream.onMessage(message => seen.push(message.data.count));
  world.open();
  world.state("A", 1, 1);
  world.state("B", 2, 2);
  world.status();
  assert.ok(stream.current);
  world.end(1006);
  assert.deepEqual([stream.state, stream.current, stream.status], ["reconnecting", false, null]);
  await world.pass(0.4);
  assert.equal(world.sockets.length, 1);
  await world.pass(0.2);
  assert.equal(world.sockets.length, 2);
  assert.equal(world.socket.url.searchParams.get("since"), timestamp(1));
  world.open();
  world.state("B", 2, 2); // again
  world.state("A", 3, 3);
  assert.deepEqual(seen, [1, 2, 3]);
});

test("events of a connection that was given up are ignored", async () => {
  const world = new World();
  const stream = await world.start();
  const [old] = world.sockets;
  await world.pass(10.1); // openTimeout
  assert.ok(old.closed);
  assert.equal(stream.state, "reconnecting");
  old.onopen();
  old.onmessage({data: "nonsense"});
  old.onclose({code: 1008, reason: "invalid token"});
  await world.pass(1);
  assert.equal(world.sockets.length, 2);
  assert.notEqual(stream.state, "closed");
});

test("a final refusal rejects closed, and pending changes", async () => {
  const world = new World();
  const stream = await world.start();
  const adding = assert.rejects(stream.add({contractNames: ["C"]}), {name: "AuthenticationError"});
  const events = [];
  stream.onConnection(event => events.push(event));
  world.open();
  world.end(1008, "authentication required");
  await assert.rejects(stream.closed, {name: "AuthenticationError", message: "authentication required", code: 1008});
  await adding;
  assert.equal(events.at(-1).state, "closed");
  await assert.rejects(stream.add({contractNames: ["C"]}), {name: "ServiceError"});
  await world.pass(100);
  assert.equal(world.sockets.length, 1);
});

test("the newest message of each contract comes once per frame, or by a timer in a hidden tab", async () => {
  const world = new World();
  const batches = [];
  const stream = await world.start();
  const stop = stream.onUpdates(batch => batches.push(batch.map(each => [each.key, each.data.count])));
  world.open();
  for (let count = 1; count < 30; count++) world.state(count % 2 ? "A" : "B", count, count);
  assert.equal(world.frames.length, 1);
  world.frames.pop()();
  assert.deepEqual(batches, [[["A", 29], ["B", 28]]]);
  world.state("A", 40, 40);
  await world.pass(1.1); // no frame is drawn
  assert.deepEqual(batches[1], [["A", 40]]);
  stop();
  world.state("A", 41, 41);
  await world.pass(1.1);
  assert.equal(batches.length, 2);
  assert.equal(stream.latest.get("A").data.count, 41);
});

test("a listener's exception is reported, and the stream goes on", async () => {
  const world = new World();
  const stream = await world.start();
  const seen = [];
  stream.onMessage(() => { throw new Error("mine"); });
  stream.onMessage(message => seen.push(message.key));
  world.open();
  world.state("A", 1);
  assert.deepEqual(world.reports.map(String), ["Error: mine"]);
  assert.deepEqual(seen, ["A"]);
});

test("silence leads to a question, and no answer to a reconnection", async () => {
  const world = new World();
  const stream = await world.start({staleAfter: 20, openTimeout: 5});
  world.open();
  world.status();
  await world.pass(19);
  assert.equal(world.socket.sent.length, 0);
  await world.pass(2);
  assert.equal(world.socket.sent.length, 1);
  world.answer({id: "probe", contract_names: ["A", "B"]});
  await world.pass(19);
  assert.equal(stream.state, "open");
  await world.pass(10);
  assert.equal(stream.state, "reconnecting");
  assert.ok(world.sockets[0].closed);
});

test("online asks at once, and ends a wait for the next attempt", async () => {
  const world = new World();
  await world.start();
  world.open();
  world.status();
  await world.pass(2);
  world.page("online");
  assert.equal(world.socket.sent.length, 1);
  await world.pass(11);
  assert.equal(world.sockets.length, 2);
  for (let attempt = 0; attempt < 6; attempt++) {
    world.end(1006);
    await world.pass(40);
  }
  world.end(1006);
  const before = world.sockets.length;
  world.page("online");
  await world.pass(0);
  assert.equal(world.sockets.length, before + 1);
});

test("a page in the browser's cache has no connection, and resumes when it is shown again", async () => {
  const world = new World();
  const stream = await world.start();
  world.open();
  world.state("A", 1);
  world.state("B", 2);
  world.page("pagehide", true);
  assert.equal(stream.state, "paused");
  assert.ok(world.socket.closed);
  await world.pass(1000);
  assert.equal(world.sockets.length, 1);
  world.page("pageshow", true);
  await world.pass(0);
  assert.equal(world.socket.url.searchParams.get("since"), timestamp(1));
});

test("commands wait for their answers, and are sent again after a break", async () => {
  const world = new World();
  const stream = await world.start();
  world.open();
  world.status();
  let added = false;
  const adding = stream.add({contractNames: ["C"]}).then(() => { added = true; });
  assert.deepEqual(world.socket.sent, [
    {action: "subscribe", contract_names: ["C"], contract_ids: [], id: 1, snapshot: true}]);
  world.end(1001);
  await world.pass(1);
  assert.equal(world.socket.url.searchParams.getAll("contract_names").join(), "A,B");
  world.open();
  assert.equal(world.socket.sent[0].id, 2);
  assert.ok(!added);
  world.answer({id: 2, contract_names: ["A", "B", "C"]});
  await adding;
  world.end(1001);
  await world.pass(1);
  assert.equal(world.socket.url.searchParams.getAll("contract_names").join(), "A,B,C");
  await assert.doesNotReject(Promise.all([stream.remove({contractNames: ["A"]}), (async () => {
    world.open();
    world.answer({id: world.socket.sent[0].id, contract_names: ["B", "C"]});
  })()]));
});

test("a refused contract rejects its own change, and the others are added", async () => {
  const world = new World();
  const stream = await world.start();
  world.open();
  world.status();
  const adding = assert.rejects(stream.add({contractNames: ["C", "X"]}), {name: "UnknownContractError"});
  world.answer({id: 1, contract_names: ["A", "B", "C"], errors: [{contract: "X", error: "unknown contract: X"}]});
  await adding;
  world.end(1006);
  await world.pass(1);
  assert.equal(world.socket.url.searchParams.getAll("contract_names").join(), "A,B,C");
});

test("a removed contract leaves no state behind, and a listing names what has joined and left", async () => {
  const world = new World();
  const stream = await world.start({contractNames: ["GC*"]});
  const listings = [];
  stream.onListing(listing => listings.push(listing));
  world.open();
  world.state("GC1", 1);
  world.state("GC2", 1);
  world.answer({action: "listing", contract_names: [], added: {contract_names: ["GC3"], contract_ids: []},
    removed: {contract_names: ["GC1"], contract_ids: []}});
  assert.deepEqual(listings, [{added: ["GC3"], removed: ["GC1"], errors: []}]);
  assert.deepEqual([...stream.latest.keys()], ["GC2"]);
  const removing = stream.remove({contractNames: "GC*"});
  world.answer({id: 1, contract_names: []});
  await removing;
  assert.equal(stream.latest.size, 0);
  world.end(1006);
  await world.pass(1);
  assert.equal(stream.state, "idle");
  const adding = stream.add({contractIds: [7]});
  await world.pass(0);
  assert.match(world.socket.url.href, /contract\/id\?contract_id=7&/);
  world.open();
  world.answer({id: world.socket.sent[0].id, contract_names: [], contract_ids: ["7"]});
  await adding;
});

test("contracts that do not fit into the address follow by commands, at a pace", async () => {
  const world = new World();
  await world.start({contractNames: Array.from({length: 20_000}, (_, n) => `CONTRACT${n}`)});
  assert.ok(world.socket.url.href.length < 8000);
  world.open();
  const burst = world.socket.sent.length;
  assert.ok(burst <= 40);
  await world.pass(9);
  const named = world.socket.sent.flatMap(each => each.contract_names);
  assert.equal(new Set([...named, ...world.socket.url.searchParams.getAll("contract_names")]).size, 20_000);
  assert.ok(world.socket.sent.every(each => JSON.stringify(each).length <= 4096));
});

test("an aborted signal closes the stream", async () => {
  for (const early of [true, false]) {
    const world = new World();
    const controller = new AbortController();
    if (early) controller.abort();
    const stream = await world.start({signal: controller.signal});
    controller.abort();
    await stream.closed;
    await world.pass(10);
    assert.equal(world.sockets.length, early ? 0 : 1);
    assert.equal(stream.state, "closed");
    assert.deepEqual(world.timers, []);
  }
});

test("no connection within firstTimeout, and an error of the token function, end the stream", async () => {
  const world = new World();
  const late = await world.start({firstTimeout: 3});
  const seen = assert.rejects(late.closed, {name: "ServiceError", message: "cannot connect within 3 s"});
  await world.pass(4);
  await seen;
  const broken = connect(
    {url: "http://a.example", contractNames: ["A"], token: () => { throw new TypeError("mine"); }}, world.environment);
  const thrown = assert.rejects(broken.closed, {name: "TypeError", message: "mine"});
  await world.pass(0);
  await thrown;
});

test("age is measured by the gateway's clock", async () => {
  const world = new World();
  const stream = await world.start();
  assert.equal(stream.age(timestamp(0)), null);
  world.open();
  world.status();
  await world.pass(2);
  assert.equal(stream.age(timestamp(0)), 61);
  assert.equal(stream.age("2027-01-01T00:00:00.000000"), 0);
});

test("calls ask their own paths, and return Data", async context => {
  const asked = [];
  context.mock.method(globalThis, "fetch", async url => {
    asked.push(decodeURIComponent(url.replace("https://example.org", "")));
    return Response.json({Status: {}, Data: url.includes("/live/") ? {ContractA: []} : []});
  });
  const client = new Client({url: "https://example.org"});
  assert.deepEqual(await client.candles({contractNames: ["ContractA"]}), {ContractA: []});
  await client.candles(
    {markets: ["IMEFund"], by: "id"},
    {interval: "1d", start: "2026-11-27", end: new Date(Date.UTC(2026, 10, 28, 9, 30))});
  assert.deepEqual(await client.optionChain("سکه طلا"), []);
  await client.optionChain("GC", {expiration: "2027-01-05"});
  await client.markets();
  await client.search("IMEOption");
  assert.deepEqual(asked, [
    "/live/data/candles/contract/name?contract_names=ContractA&interval=1m",
    "/live/data/contract-info/contract/id?market=IMEFund",
    "/live/data/candles/contract/id?contract_ids=ContractA&interval=1d&from=2026-11-27"
      + "&to=2026-11-28T09:30:00.000Z",
    "/static/data/contract/option-chain?underlying=سکه طلا",
    "/static/data/contract/option-chain?underlying=GC&expiration=2027-01-05",
    "/static/data/market",
    "/static/data/contract/search?market=IMEOption&Search_char=",
  ]);
  await assert.rejects(client.candles({}), {name: "SettingsError"});
  await assert.rejects(client.optionChain(" "), {name: "SettingsError"});
});

test("an aborted call rejects with the signal's reason, and a call that is missing with its status",
  async context => {
    context.mock.method(globalThis, "fetch", async (_, {signal}) => {
      signal.throwIfAborted();
      return Response.json({detail: "Not Found"}, {status: 404});
    });
    const client = new Client({url: "https://example.org"});
    const reason = new Error("enough");
    const signal = AbortSignal.abort(reason);
    await assert.rejects(client.candles({contractIds: [1]}, {signal}), reason);
    await assert.rejects(client.optionChain("GC", {signal}), reason);
    await assert.rejects(client.markets(), {name: "ServiceError", status: 404});
  });

/** Answer calls for candles as the gateway does, and note the contracts of each. */
function answering(context, listed = []) {
  const asked = [];
  context.mock.method(globalThis, "fetch", async address => {
    const url = new URL(address);
    const texts = [...url.searchParams.entries()]
      .filter(([name]) => name.startsWith("contract_")).map(([, text]) => text);
    if (url.pathname.includes("candles")) asked.push(texts);
    const found = texts.length ? texts : listed;
    return Response.json({Status: {}, Data: Object.fromEntries(found.map(each => [each, []]))});
  });
  return asked;
}

test("a call for candles is divided so that contracts times days is at most 100", async context => {
  const asked = answering(context);
  const client = new Client({url: "https://example.org"});
  const contractNames = Array.from({length: 250}, (_, n) => `C${n}`);
  for (const [times, most] of [
    [{}, 100],
    [{start: "2026-11-27", end: "2026-11-27"}, 100],
    [{start: "2026-11-27T09:00:00", end: "2026-11-28T09:00"}, 50],
    [{start: "20261108", end: "20261127"}, 5],
    [{start: new Date(Date.UTC(2026, 10, 26)), end: "2026-11-27T09:00+03:30"}, 25],
    [{start: "2026-11-27 10:00:00Z", end: "2026-11-27"}, 50],
    [{start: "2020-01-01"}, 1],
    [{start: "yesterday"}, 1],
    [{start: "2026-11-27", end: "2026-11-01"}, 100],
  ]) {
    asked.length = 0;
    const found = await client.candles({contractNames}, times);
    assert.deepEqual(Object.keys(found), contractNames);
    assert.deepEqual(asked.flat(), contractNames);
    assert.equal(Math.max(...asked.map(each => each.length)), most, JSON.stringify(times));
  }
  await assert.rejects(
    client.candles({contractNames}, {start: new Date(NaN)}), {name: "SettingsError", message: /^start /});
});

test("candles of a filter are asked for by the names that it matches", async context => {
  const listed = [...Array.from({length: 150}, (_, n) => `C${n}`), "id:7"];
  const asked = answering(context, listed);
  const client = new Client({url: "https://example.org"});
  const found = await client.candles({markets: "IMEFutures"});
  assert.deepEqual(Object.keys(found).sort(), listed.toSorted());
  assert.deepEqual(asked.map(each => each.length), [100, 50, 1]);
  assert.deepEqual(asked.at(-1), ["7"]);
  assert.deepEqual(
    Object.keys(await client.candles({markets: "IMEFutures", contractIds: [7]})).sort(),
    [...listed, "7"].sort());
  answering(context);
  assert.deepEqual(await client.candles({underlying: "none"}), {});
});

test("an answer that cannot be used is a ServiceError, and not an empty one", async context => {
  let answer;
  context.mock.method(globalThis, "fetch", async () => answer());
  const client = new Client({url: "https://example.org"});
  for (const [body, status] of [
    ["<html>Log in</html>", 200], ["null", 200], ["1", 200], ["", 200], ["{}", 200],
    ["null", 500], ['{"detail": ["x"]}', 404], ["[]", 502], ["<html>", 403],
  ]) {
    answer = () => new Response(body, {status});
    const name = status === 403 ? "RefusedError" : "ServiceError";
    for (const call of [
      client.snapshot("Aggregate", {contractNames: "A"}), client.contracts({contractIds: 1}),
      client.markets(),
    ]) await assert.rejects(call, error => error.name === name, `${status} ${body}`);
    if (body !== "{}") await assert.rejects(client.status(), {name});
  }
});

test("a wrong argument of a call is refused before anything is sent", async context => {
  const {mock} = context.mock.method(globalThis, "fetch", async () => Response.json({Data: []}));
  const client = new Client({url: "https://example.org", token: "a.b"});
  for (const path of [".evil.example/", "live/status", "@evil.example", undefined])
    await assert.rejects(client.get(path), {name: "SettingsError"});
  await assert.rejects(client.snapshot("toString", {contractNames: "A"}), {name: "SettingsError"});
  await assert.rejects(client.overview({markets: "IMEFund", by: "toString"}), {name: "SettingsError"});
  assert.equal(mock.callCount(), 0);
  for (const timeout of [0, -1, NaN, "5", null, Infinity])
    assert.throws(() => new Client({url: "https://example.org", timeout}), {name: "SettingsError"});
});

test("a message that cannot be read ends the stream, and one of an unknown channel does not", async () => {
  for (const text of [
    "{", "null", "[]", "1", "{}", '{"channel": 1}', '{"channel": "IME Stream"}',
    `{"channel": "IME Stream", "contractName": "A", "timestamp": "${timestamp(1)}"}`,
    `{"channel": "IME Stream", "timestamp": "${timestamp(1)}", "data": {}}`,
    '{"channel": "IME Status", "data": {}}', `{"channel": "IME Status", "timestamp": "${timestamp(1)}", "data": null}`,
    `{"channel": "IME Control", "timestamp": "${timestamp(1)}", "data": {}}`, new Blob(["{}"]),
  ]) {
    const world = new World();
    const stream = await world.start();
    world.open();
    world.message({channel: "IME News", data: null});
    world.state("A", 0);
    assert.equal(stream.state, "open");
    world.socket.onmessage({data: text});
    await assert.rejects(stream.closed, {name: "ServiceError", message: /must be as in/}, String(text));
    assert.ok(world.socket.closed);
    assert.equal(stream.latest.size, 1);
  }
});

test("status takes every iterable of contracts, and divides a long selection", async context => {
  const asked = [];
  context.mock.method(globalThis, "fetch", async address => {
    const {searchParams, href} = new URL(address);
    assert.ok(href.length < 8000);
    asked.push(href.replace("https://example.org/live/status", ""));
    const names = [...searchParams.getAll("contract_names"), ...searchParams.getAll("contract_ids")];
    return Response.json({feed: "live", contracts: Object.fromEntries(names.map(each => [each, {}]))});
  });
  const client = new Client({url: "https://example.org"});
  assert.deepEqual(await client.status(), {feed: "live", contracts: {}});
  const chosen = {contractNames: new Set([" A ", "B"]), contractIds: [7].values()};
  assert.deepEqual((await client.status(chosen)).contracts, {A: {}, B: {}, 7: {}});
  assert.deepEqual(asked, ["", "?contract_names=A&contract_names=B", "?contract_ids=7"]);
  const many = Array.from({length: 2000}, (_, n) => `CONTRACT${n}`);
  assert.deepEqual(Object.keys((await client.status({contractNames: many})).contracts), many);
  await assert.rejects(client.status({contractNames: [null]}), {name: "SettingsError"});
});

test("sections that can be read only once are sent by each connection", async () => {
  const world = new World();
  await world.start({sections: ["Aggregate", "BestLimit"].values()});
  for (let attempt = 0; attempt < 2; attempt++) {
    assert.equal(world.socket.url.searchParams.get("sections"), "Aggregate,BestLimit");
    world.end(1006);
    await world.pass(1);
  }
  await world.start({sections: "Aggregate"});
  assert.equal(world.socket.url.searchParams.get("sections"), "Aggregate");
  for (const sections of [[null], 5.5, [""]]) {
    assert.throws(
      () => connect({url: "http://a.example", contractNames: "A", sections}, world.environment),
      {name: "SettingsError"});
  }
});

test("a listener that closes the stream at its end is told of the end once", async () => {
  const world = new World();
  const stream = await world.start();
  const states = [];
  stream.onUpdates(() => stream.close());
  stream.onConnection(({state}) => states.push(state));
  world.open();
  world.state("A", 1);
  world.end(1008, "invalid token");
  await stream.closed;
  assert.deepEqual(states, ["open", "closed"]);
});

test("a divided call waits when one of its calls is one too many", async context => {
  context.mock.timers.enable({apis: ["setTimeout"]});
  const names = Array.from({length: 4}, (_, n) => `C${n}`);
  const times = {start: "2026-09-01", end: "2026-11-27"}; // one contract in each call
  let calls = 0, refusals = new Set(), after = "2";
  context.mock.method(globalThis, "fetch", async address => {
    const name = new URL(address).searchParams.get("contract_names");
    if (!refusals.has(calls++)) return Response.json({Data: {[name]: []}});
    return Response.json({detail: "too many requests"}, {status: 429, headers: {"Retry-After": after}});
  });
  const client = new Client({url: "https://example.org"});
  const run = async options => {
    calls = 0;
    const got = client.candles({contractNames: names}, {...times, ...options})
      .then(Object.keys, error => error.name ?? error);
    for (let turn = 0; turn < 30; turn++) {
      for (let tick = 0; tick < 20; tick++) await new Promise(resolve => setImmediate(resolve));
      context.mock.timers.tick(1000);
    }
    return got;
  };
  refusals = new Set([1, 2, 4]);
  assert.deepEqual(await run(), names);
  assert.equal(calls, 7);
  refusals = new Set([0]); // the whole call is too many
  assert.equal(await run(), "RateError");
  assert.equal(calls, 1);
  refusals = new Set(Array.from({length: 50}, (_, n) => n + 1));
  assert.equal(await run(), "RateError");
  assert.equal(calls, 6);
  after = "60";
  assert.equal(await run(), "RateError");
  assert.equal(calls, 2);
  after = "5";
  const controller = new AbortController();
  const running = run({signal: controller.signal});
  setImmediate(() => setImmediate(() => controller.abort("enough")));
  assert.equal(await running, "enough");
});
