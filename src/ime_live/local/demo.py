"""Demo: run an embedded Valkey, a market and the gateway in one command.

The market is synthetic, a recording in a loop, or a recording that is played once with its own
times. It needs no set-up and keeps no data. On a loopback address it requires no token. On other
addresses it requires a token, which it creates and prints at each start.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog

from ime_live.bars.aggregator import BarAggregator
from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import FeedError
from ime_live.feeds.pipeline.leadership import Leadership, holder_name
from ime_live.gateway.auth.tokens import create_token
from ime_live.gateway.http_protocol import CONTEXT
from ime_live.gateway.server import GatewayConfig, GatewayServer, limit_connections
from ime_live.local.demo_market import DemoMarket, market_of
from ime_live.local.embedded import EmbeddedValkey
from ime_live.local.playback import OnGap
from ime_live.logs import configure_logging
from ime_live.process.listener import bind
from ime_live.settings import (
    LOOPBACK,
    AuthMode,
    BarsSettings,
    DemoSettings,
    GatewaySettings,
    StoreSettings,
    is_loopback,
    url_host,
)
from ime_live.status import FeedState, FeedStatus, MarketStatus, TradingSession
from ime_live.store.lease import Lease

log = structlog.get_logger()

_POLL_INTERVAL: Final = 0.01  # seconds between two looks at what the gateway is doing
_SHUTDOWN_SPREAD: Final = 0.2  # seconds: a demo should stop quickly
_ALWAYS: Final = dict.fromkeys(
    ("sat", "sun", "mon", "tue", "wed", "thu", "fri"), (TradingSession("00:00", "24:00"),)
)
"""The hours of a market that never closes."""
_SHOWN: Final = 3  # contracts of each market named in the greeting
_DAYS: Final = 365.0  # of the token, which no demo accepts any more when this one has ended

# An address of each family from the ranges for documentation; nothing is sent to it.
_ELSEWHERE: Final = {"0.0.0.0": "192.0.2.1", "::": "2001:db8::1"}  # noqa: S104 - bound by others


def run(settings: DemoSettings, frames: Sequence[Path] = ()) -> None:
    """Run the demo until Ctrl-C.

    Args:
        settings: address to listen on, and source of the market.
        frames: recordings to replay, with the source ``replay``.

    Raises:
        FeedError: a recording is damaged where it is played.
        SettingsError: the port is in use, a recording cannot be read, or the package was installed
            without the demo's parts.
    """
    configure_logging(settings)
    market = market_of(settings, frames)
    secret = token = ""
    if not is_loopback(settings.host):
        secret = secrets.token_urlsafe(48)
        token = create_token(secret, "demo", _DAYS, now=SYSTEM_CLOCK.time())
    with bind(settings.host, settings.port) as listener, EmbeddedValkey() as valkey:
        host, port = listener.getsockname()[:2]
        gateway = GatewaySettings(
            redis_url=valkey.url,
            host=settings.host,
            port=port,
            auth=AuthMode.JWT if token else AuthMode.NONE,
            jwt_secret=secret,
            # For pages in development on this machine.
            cors_origins=LOOPBACK,
            shutdown_grace=0.0,
            shutdown_spread=_SHUTDOWN_SPREAD,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
        limit_connections(listener, gateway)
        config = GatewayConfig(gateway, market.clock)
        address = f"{url_host(_reachable_address(host))}:{port}"

        async def work() -> None:
            await market.open(gateway)
            server = GatewayServer(config)
            aggregator = BarAggregator(BarsSettings(redis_url=valkey.url), clock=market.clock)
            keeping = asyncio.create_task(_keep_bars(aggregator))

            async def trade() -> None:
                # A bar of a played minute cannot be made later.
                while not (aggregator.follows or keeping.done()):  # noqa: ASYNC110 - looks at two things
                    await asyncio.sleep(_POLL_INTERVAL)
                await _run_market(gateway, market, server, aggregator.note_gap, wait=settings.wait)

            tasks = [
                keeping,
                asyncio.create_task(trade()),
                asyncio.create_task(_write_status(gateway, market)),
                asyncio.create_task(_announce(server, market, address, token)),
            ]
            try:
                await server.serve([listener])
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, FeedError):
                    raise result

        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(work())


async def _run_market(
    settings: StoreSettings,
    market: DemoMarket,
    server: GatewayServer,
    on_gap: OnGap,
    *,
    wait: bool,
) -> None:
    try:
        await _wait_until_ready(server)
        while wait and not server.lifespan.state[CONTEXT].metrics.connections:  # noqa: ASYNC110 - the gateway has no event for it
            await asyncio.sleep(_POLL_INTERVAL)
        await market.trade(settings, on_gap)
    except FeedError:
        server.stop()
        raise
    except Exception:
        log.exception("the demo's market has failed; stopping")
        server.stop()


async def _write_status(settings: StoreSettings, market: DemoMarket) -> None:
    """Write the status of an open market, so that the demo's clients see the feed's state."""
    since: dict[FeedState, int] = {}
    listed = Counter(
        contract.market for contract in market.contracts if contract.market is not None
    )

    def status() -> FeedStatus:
        now, state = market.clock.time_us(), market.state
        markets = {
            name: MarketStatus(state, last_board=now, contracts=count, hours=_ALWAYS)
            for name, count in listed.items()
        }
        return FeedStatus(
            state,
            since.setdefault(state, now),
            last_board=now,
            markets=markets,
            source=market.name,
            written=now,
            holidays=(),
        )

    try:
        async with Lease(settings, holder_name()) as lease:
            await Leadership(lease, status, on_lead=lambda: None).run()
    except Exception:
        log.exception("the demo's feed state has failed; everything else continues")


async def _keep_bars(aggregator: BarAggregator) -> None:
    try:
        await aggregator.run()
    except Exception:
        log.exception("the demo's bars have failed; everything else continues")


async def _announce(server: GatewayServer, market: DemoMarket, address: str, token: str) -> None:
    # The contracts must be loaded when the greeting shows URLs with them.
    await _wait_until_ready(server)
    print(greeting(market, address, token), flush=True)


async def _wait_until_ready(server: GatewayServer) -> None:
    while not (server.started and server.lifespan.state[CONTEXT].contract_cache.loaded):  # noqa: ASYNC110 - uvicorn has no event
        await asyncio.sleep(_POLL_INTERVAL)


def _reachable_address(host: str) -> str:
    """Return ``host``, or an address that others can connect to if ``host`` is a wildcard."""
    if host not in _ELSEWHERE:
        return host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_ELSEWHERE[host], 9))  # sets a route, and sends nothing
            address: str = probe.getsockname()[0]
            return address
    except OSError:  # no network
        return "::1" if ":" in host else "127.0.0.1"


def _python_command() -> str:
    """Return the command that runs this Python, which has the package websockets."""
    path = Path(sys.executable)
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))


def greeting(market: DemoMarket, address: str, token: str = "") -> str:
    """Return the text that the demo prints when it is up.

    Args:
        market: market with the contracts.
        address: host and port.
        token: the token that clients need; empty if they need none.
    """
    examples = []
    for market_name in dict.fromkeys(contract.market for contract in market.contracts):
        codes = [c.contract_name for c in market.contracts if c.market == market_name]
        examples.append(f"    {', '.join(codes[:_SHOWN])}, … ({len(codes)} {market_name})")
    # The documentation's example if the market has it; else a name of ASCII characters.
    ordered = sorted(
        market.contracts,
        key=lambda c: (c.contract_name != "ContractA", not c.contract_name.isascii()),
    )
    name, contract_id = quote(ordered[0].contract_name), ordered[0].contract_id
    stream = f"ws://{address}/live/data/websocket/contract"
    events = f"http://{address}/live/data/sse/contract/name?contract_names={name}"
    last = f"&token={token}" if token else ""
    if token:
        # The browser does not send what follows the #.
        page = f"/#token={token}"
        need = f"""
Token, for everything but /docs, /ready and /metrics; it is valid until the demo ends:

  {token}

It is sent without TLS, so use the demo only in a network that you trust.
"""
        how = f"""Try it in another terminal, or the second line on another machine:

  {_python_command()} -m websockets "{stream}/name?contract_names={name}&snapshot=true{last}"
  curl -N "{events}&snapshot=true{last}"
"""
    else:
        page, need = "/", ""
        how = f"""\
Try it in another terminal (no token is needed, because only this machine can connect):

  {_python_command()} -m websockets "{stream}/name?contract_names={name}&snapshot=true"
"""
    return f"""
ime-live demo: {len(market.contracts)} contracts {market.about}

  market   http://{address}{page}
  by name  {stream}/name?contract_names={name}{last}
  by id    {stream}/id?contract_id={contract_id}{last}
  events   {events}{last}
  all      http://{address}/docs
  state    http://{address}/ready   http://{address}/metrics

Contracts:
{chr(10).join(examples)}
{need}
{how}
Stop with Ctrl-C.
"""
