// Bun: a topic of µWebSockets for each contract, and one shared subscription to Redis.
//
// usage: REDIS_URL=… bun run bun_topics.js <port>

const PREFIX = "bench:";
// Bun's client subscribes to no pattern (its psubscribe takes no listener), so to every contract.
const CHANNELS = Array.from({ length: 500 }, (_, n) => `${PREFIX}B${String(n).padStart(4, "0")}`);

const commands = new Bun.RedisClient(process.env.REDIS_URL);
const subscriber = new Bun.RedisClient(process.env.REDIS_URL);
await commands.connect();
await subscriber.connect();

// The two texts are objects of JSON: the second's fields follow the first's.
function merged(fixed, last) {
  return fixed && last ? `${fixed.slice(0, -1)},${last.slice(1)}` : "null";
}

async function overview(names) {
  const keys = names.flatMap((name) => [`bench:static:${name}`, `bench:last:${name}`]);
  const found = await commands.mget(...keys);
  const data = names.map((name, n) => `"${name}":${merged(found[2 * n], found[2 * n + 1])}`);
  const status =
    `{"State":true,"ServerTimeStamp":${Date.now() / 1000},"Version":"1.0",` +
    `"Author":"somebody","Description":{"fa":"موفق","en":"successful"},"StatusCode":200}`;
  return new Response(`{"Data":{${data.join(",")}},"Status":${status}}`, {
    headers: { "Content-Type": "application/json" },
  });
}

function namesIn(url) {
  return new URLSearchParams(url.slice(url.indexOf("?") + 1)).getAll("contract_names");
}

let server;
await subscriber.subscribe(CHANNELS, (message, channel) => {
  server?.publish(channel.slice(PREFIX.length), message, false);
});

server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const names = namesIn(request.url);
    if (request.url.includes("/live/data/overview/")) return overview(names);
    if (server.upgrade(request, { data: names })) return undefined;
    return new Response("a WebSocket handshake is expected", { status: 400 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 120,
    open(socket) {
      for (const name of socket.data) socket.subscribe(name);
      socket.data = undefined;
    },
    message() {},
  },
});
