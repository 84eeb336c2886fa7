// A program that uses every part of the browser module's types; only compiled.
import {
  AuthenticationError, Client, ImeLiveError, RateError, RefusedError, connect,
  type Contracts, type Message, type Payload, type Status, type Stream,
} from "./ime-live.js";

const stream: Stream = connect({
  url: "https://example.org", contractNames: ["ContractA", "GC*"], markets: ["IMEOption"],
  underlying: "KASH", by: "name", token: async () => "a.b.c", snapshot: true, maxRate: 2,
  signal: new AbortController().signal,
});
const stop: () => void = stream.onUpdates(messages => {
  for (const message of messages) {
    const price: number = message.data.Aggregate.last_price + message.data.BestLimit["1"].buy_price;
    console.log(message.key, message.contractName ?? message.contractId, price);
  }
});
stop();
stream.onStatus((status: Status) => console.log(status.feed === "live", status.markets));
stream.onConnection(({state, reason, error}) => console.log(state === "open", reason, error?.name));
stream.onListing(listing => console.log(listing.added.length, listing.errors[0]?.error));
stream.onMessage((message: Message) => console.log(stream.age(message.timestamp)?.toFixed(1)));
const newest: Payload | undefined = stream.latest.get("ContractA")?.data;
console.log(newest, stream.current);

const parts = connect({contractIds: [12345, "67890"], sections: ["Aggregate"]});
parts.onMessage(message => console.log(message.data.Aggregate?.last_price));
connect({
  contractNames: new Set(["A"]), since: "2026-05-23T15:10:00.000000", skipped: true, openTimeout: 5,
  staleAfter: 10, maxReconnectDelay: 5, firstTimeout: null, sections: null, token: null, signal: null,
});
// @ts-expect-error with sections, a section may be missing
parts.onMessage(message => console.log(message.data.BestLimit["1"]));
// @ts-expect-error there is no such option
connect({contractName: ["ContractA"]});

async function calls(chosen: Contracts): Promise<void> {
  const client = new Client({token: "a.b.c", timeout: 5});
  try {
    const found = await client.snapshot("Aggregate", chosen, {signal: AbortSignal.timeout(1000)});
    console.log(found["ContractA"]?.last_price);
    await stream.add({contractNames: ["SAFOR01"]}, {snapshot: false});
    await stream.remove(chosen);
    console.log(await client.search("IMEFutures", ""), await client.get("/a", {b: ["c"], d: null}));
    const chain = await client.optionChain("KA", {expiration: "2027-01-05"});
    console.log(chain[0]?.call?.Aggregate?.last_price, chain[0]?.put?.contractName);
    const candles = await client.candles(chosen, {interval: "5m", start: new Date(), end: null});
    console.log(candles["ContractA"]?.at(-1)?.close.toFixed(), await client.search("IMEFund"));
    console.log((await client.markets())[0]?.sessions?.sat[0]?.begins);
    console.log(await client.overview(chosen), await client.contracts(chosen), await client.status());
  } catch (error) {
    if (error instanceof RateError) console.log(error.retryAfter.toFixed());
    else if (error instanceof AuthenticationError) console.log(error.code, error.reason);
    else if (error instanceof RefusedError || error instanceof ImeLiveError) console.log(error.name);
  }
  stream.close();
  await stream.closed;
}
void calls({contractNames: "ContractA"});
