/** Types of ime-live.js. Prices and values are in rials. */

/** A name of a market of the exchange. */
export type Market =
  | "IMEFutures" | "IMEOption" | "IMEDepositCertificate" | "IMEFund" | "IMEParallelSalaf";
/** A section of a contract's state. */
export type SectionName = "BestLimit" | "Aggregate" | "AllowedPriceRange" | "ContractInfo";

export interface Level {
  buy_quantity: number;
  buy_price: number;
  sell_quantity: number;
  sell_price: number;
}

export interface Aggregate {
  date: string;
  time: string;
  trade_count: number;
  total_volume: number;
  total_value: number;
  closing_price: number;
  last_price: number;
  low_price: number;
  high_price: number;
  open_price: number;
  previous_close: number;
}

/** The complete state of a contract. */
export interface Payload {
  BestLimit: Record<"1" | "2" | "3", Level>;
  Aggregate: Aggregate;
  AllowedPriceRange: {minAllowedPrice: number; maxAllowedPrice: number};
  ContractInfo: {open_interest: number; open_interest_changes: number};
}

/** The state of a contract; with the option `sections`, `Data` is `Partial<Payload>`. */
export interface Message<Data = Payload> {
  /** The contract's key in `latest`: its name, or `id:` and its id, as the program named it. */
  key: string;
  contractName?: string;
  contractId?: string;
  /** Wall clock of Tehran, ISO 8601 with six digits of a second. */
  timestamp: string;
  /** With the option `skipped`: states that the gateway left out since the last message. */
  skipped?: number;
  data: Data;
}

export type FeedState = "live" | "stale" | "closed" | "down" | null;

/** The state of the feed; see docs/protocol.md, Status. */
export interface Status {
  timestamp: string;
  feed: FeedState;
  since: string | null;
  lastBoard: string | null;
  /** Whether the gateway has just compared the contracts with the store. */
  current: boolean;
  markets: Record<string, FeedState>;
  /** The timestamp that each contract should have by now; null without a state. */
  contracts: Record<string, string | null>;
}

/** `paused`: the page is kept in the browser's cache. `idle`: no contract is selected. */
export type ConnectionState = "connecting" | "open" | "reconnecting" | "paused" | "idle" | "closed";

export interface ConnectionEvent {
  state: ConnectionState;
  /** For people; empty when the connection is open. */
  reason: string;
  /** The error that has ended the stream; else null. */
  error: Error | null;
}

/** Contracts that have joined a stream of a market, an underlying or a pattern, or left it. */
export interface Listing {
  added: string[];
  removed: string[];
  errors: {contract: string | null; error: string}[];
}

/** Contracts, by name, id, market or underlying; `*` in a name or id makes it a pattern. */
export interface Contracts {
  contractNames?: Iterable<string> | string;
  contractIds?: Iterable<string | number> | string;
  markets?: Iterable<Market> | Market;
  underlying?: Iterable<string> | string;
  /** Whether messages of a market or an underlying name contracts by name or by id. */
  by?: "name" | "id";
}

/** A JWT, or a function that returns one; it is called again when the token is refused. */
export type Token = string | (() => string | Promise<string>) | null;

export interface StreamOptions extends Contracts {
  /** Address of the service; by default the one that this module came from. */
  url?: string;
  token?: Token;
  /** Whether to send the present state of each contract at once. Default: true. */
  snapshot?: boolean;
  /** Send only states newer than this at the start: a timestamp of a message, unchanged. */
  since?: string | null;
  /** Most messages per second and contract. Default: every change. */
  maxRate?: number | null;
  /** Send only these sections, and only when one of them changes. */
  sections?: Iterable<SectionName> | null;
  skipped?: boolean;
  /** Seconds for connecting, and for the answer to a command. Default: 10. */
  openTimeout?: number;
  /** Seconds of silence after which the gateway is asked whether it is there. Default: 20. */
  staleAfter?: number;
  /** Longest wait in seconds between two attempts. Default: 30. */
  maxReconnectDelay?: number;
  /** Seconds within which the first connection must be made. Default: no limit. */
  firstTimeout?: number | null;
  /** Closes the stream. */
  signal?: AbortSignal | null;
}

/** A stream that reconnects and resumes. Each `on…` returns a function that ends the calls. */
export interface Stream<Data = Payload> {
  readonly state: ConnectionState;
  /** The newest state of the feed; null without a connection. */
  readonly status: Status | null;
  /** Whether the connection is open and the gateway has just compared its states. */
  readonly current: boolean;
  /** The newest message of each contract. */
  readonly latest: ReadonlyMap<string, Message<Data>>;
  /** Resolves when the program closes the stream; rejects with the error that has ended it. */
  readonly closed: Promise<void>;
  /** Seconds since a timestamp, by the gateway's clock; null before the first status. */
  age(timestamp: string): number | null;
  /** Call for every message. */
  onMessage(listener: (message: Message<Data>) => void): () => void;
  /** Call once per animation frame, with the newest message of each contract that has changed. */
  onUpdates(listener: (messages: Message<Data>[]) => void): () => void;
  onStatus(listener: (status: Status) => void): () => void;
  onConnection(listener: (event: ConnectionEvent) => void): () => void;
  onListing(listener: (listing: Listing) => void): () => void;
  /** Add contracts; rejects if some cannot be added, and the others are. */
  add(contracts: Contracts, options?: {snapshot?: boolean}): Promise<void>;
  remove(contracts: Contracts): Promise<void>;
  close(): void;
}

/** Start a stream. Throws a `SettingsError`; all later errors reject `closed`. */
export function connect(
  options: StreamOptions & {sections: Iterable<SectionName>}): Stream<Partial<Payload>>;
export function connect(options: StreamOptions): Stream;

export interface CallOptions {
  signal?: AbortSignal | null;
}

/** Static fields of a contract, by the names of docs/http.md. */
export type StaticFields = Record<string, unknown>;

/** Static fields and, if it has a state, all sections of a contract. */
export type ContractOverview = StaticFields & {[Name in SectionName]: Payload[Name] | null};

/** The call and the put of one strike price and expiration; null for a side that is not there. */
export interface OptionPair {
  strikePrice: number | null;
  /** Last trading day, `YYYY-MM-DD`. */
  ExpirationDate: string | null;
  call: ContractOverview | null;
  put: ContractOverview | null;
}

export type Weekday = "sat" | "sun" | "mon" | "tue" | "wed" | "thu" | "fri";

/** Trading hours and holidays of a market; null if the service does not know them. */
export interface MarketInfo {
  market: Market;
  timeZone: string;
  /** `begins` and `ends` are `HH:MM`. */
  sessions: Record<Weekday, {begins: string; ends: string}[]> | null;
  /** `YYYY-MM-DD`. */
  holidays: string[] | null;
}

/** The trades of a contract in an interval; see docs/history.md, Candles. */
export interface Candle {
  /** Start of the interval on Tehran's clock, ISO 8601. */
  time: string;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  value: number;
  trades: number;
  open_interest: number;
  bid: number;
  ask: number;
  /** Whether it may hold trades of earlier minutes, which nobody saw. */
  gap: boolean;
}

export interface CandleOptions extends CallOptions {
  /** Default: `1m`. */
  interval?: "1m" | "5m" | "15m" | "1h" | "1d";
  /** Date or time in ISO 8601, without an offset on Tehran's clock; null for the day of `end`. */
  start?: string | Date | null;
  /** Time before which candles begin, or a date for the end of it; null for the end of today. */
  end?: string | Date | null;
}

/** The REST calls. Each rejects with an error of this module, or the signal's reason. */
export class Client {
  constructor(options?: {url?: string; token?: Token; timeout?: number});
  /** One section of contracts; null for those that do not exist or have no state. */
  snapshot<Name extends SectionName>(
    section: Name, contracts: Contracts, options?: CallOptions,
  ): Promise<Record<string, Payload[Name] | null>>;
  /** Static fields and all sections of contracts. */
  overview(
    contracts: Contracts, options?: CallOptions,
  ): Promise<Record<string, ContractOverview | null>>;
  /** Static fields of contracts, in the order asked; null for those that do not exist. */
  contracts(
    contracts: Contracts, options?: CallOptions,
  ): Promise<(StaticFields | null)[]>;
  /** Candles of contracts, the oldest first; null for contracts that do not exist. */
  candles(contracts: Contracts, options?: CandleOptions): Promise<Record<string, Candle[] | null>>;
  /** The contracts of a market whose name or title holds a text; without one, all of them. */
  search(market: Market, text?: string, options?: CallOptions): Promise<StaticFields[]>;
  /** The options of an underlying, by its id, name or title: calls and puts side by side. */
  optionChain(
    underlying: string, options?: CallOptions & {expiration?: string | null},
  ): Promise<OptionPair[]>;
  /** Trading hours and holidays of all markets. */
  markets(options?: CallOptions): Promise<MarketInfo[]>;
  /** The state of the feed and the age of contracts; see docs/protocol.md, Status over HTTP. */
  status(
    contracts?: Pick<Contracts, "contractNames" | "contractIds">, options?: CallOptions,
  ): Promise<Record<string, unknown>>;
  /** `Data` of any other call: a path, and its parameters; null and undefined are left out. */
  get(path: string, parameters?: Record<string, unknown>, options?: CallOptions): Promise<unknown>;
}

export class ImeLiveError extends Error {}
/** An argument cannot be used. */
export class SettingsError extends ImeLiveError {}
/** The service cannot be reached, or its answer cannot be used. */
export class ServiceError extends ImeLiveError {
  readonly status: number | null;
}
/** The service refuses a stream or a request. */
export class RefusedError extends ImeLiveError {
  /** A WebSocket close code, or an HTTP status. */
  readonly code: number;
  readonly reason: string;
}
/** The token is missing or not accepted. */
export class AuthenticationError extends RefusedError {}
/** A contract is not known; the text names it. */
export class UnknownContractError extends RefusedError {}
/** A command was refused as a whole. */
export class ControlError extends RefusedError {}
/** Too many requests. */
export class RateError extends RefusedError {
  /** Seconds after which the next request is answered. */
  readonly retryAfter: number;
}
