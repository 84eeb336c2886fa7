"""The demo: an embedded Valkey, a synthetic market and the gateway, in one command.

Nothing is needed and nothing is kept. It serves this machine only, and so asks for no token.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from ime_live.embedded import EmbeddedValkey
from ime_live.errors import SettingsError, StoreError
from ime_live.feeds.simulator import SyntheticMarket
from ime_live.gateway.http import SERVICES
from ime_live.gateway.server import GatewayConfig, GatewayServer, bind, limit_buffers
from ime_live.logs import configure_logging
from ime_live.publisher import Publisher
from ime_live.settings import AuthMode, DemoSettings, GatewaySettings, StoreSettings, is_loopback
from ime_live.store import Store

log = structlog.get_logger()

_STEP: Final = 0.2  # seconds of the market's clock, which is the wall clock
_DRAIN: Final = 0.2  # seconds: whoever ends a demo does not want to wait
_SHOWN: Final = 3  # contracts of each market named in the greeting


def run(settings: DemoSettings) -> None:
    """Run the demo until Ctrl-C.

    Raises:
        SettingsError: the port is in use, the host is not a loopback address, or the package
            was installed without the demo's parts.
    """
    if not is_loopback(settings.host):
        raise SettingsError(
            f"the demo asks for no token, so it listens on a loopback address only, "
            f"not on {settings.host}"
        )
    configure_logging(settings)
    with bind(settings.host, settings.port) as listener, EmbeddedValkey() as valkey:
        host, port = listener.getsockname()[:2]
        gateway = GatewaySettings(
            redis_url=valkey.url,
            host=settings.host,
            port=port,
            auth=AuthMode.NONE,
            drain=_DRAIN,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
        limit_buffers(listener, gateway)
        config = GatewayConfig(gateway)
        market = SyntheticMarket(settings.seed, datetime.now(UTC))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

        async def work() -> None:
            await _prepare(gateway, market)
            server = GatewayServer(config)
            trading = asyncio.create_task(_trade(gateway, market, stop=server.stop))
            announcing = asyncio.create_task(_announce(server, market, address))
            try:
                await server.serve([listener])
            finally:
                for task in (trading, announcing):
                    task.cancel()
                await asyncio.gather(trading, announcing, return_exceptions=True)

        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(work())


async def _prepare(settings: StoreSettings, market: SyntheticMarket) -> None:
    async with Store(settings) as store, Publisher(settings.redis_url) as publisher:
        await store.import_contracts(market.contracts)
        await publisher.publish_many(market.states())


async def _trade(
    settings: StoreSettings, market: SyntheticMarket, *, stop: Callable[[], None]
) -> None:
    try:
        async with Publisher(settings.redis_url) as publisher:
            while True:
                await asyncio.sleep(_STEP)
                try:
                    await publisher.publish_many(market.step(datetime.now(UTC)))
                except StoreError as error:
                    log.warning("market data cannot be published", error=str(error))
    except Exception:
        log.exception("the synthetic market has failed; stopping")
        stop()


async def _announce(server: GatewayServer, market: SyntheticMarket, address: str) -> None:
    # Whoever copies a URL from the greeting must find its contracts there.
    while not (server.started and server.lifespan.state[SERVICES].directory.loaded):  # noqa: ASYNC110 - uvicorn has no event
        await asyncio.sleep(0.01)
    print(greeting(market, address), flush=True)


def _python() -> str:
    """This Python, as one would type it here: it has the library that the line needs."""
    path = Path(sys.executable)
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))


def greeting(market: SyntheticMarket, address: str) -> str:
    """What the demo says when it is up.

    Args:
        market: names the contracts.
        address: host and port.
    """
    examples = []
    for name in dict.fromkeys(contract.market for contract in market.contracts):
        codes = [c.contract_name for c in market.contracts if c.market == name]
        examples.append(f"    {', '.join(codes[:_SHOWN])}, … ({len(codes)} {name})")
    stream = f"ws://{address}/live/data/websocket/contract"
    return f"""
ime-live demo: {len(market.contracts)} contracts of a synthetic market. All data is made up.

  by name  {stream}/name?contract_names=ContractA
  by id    {stream}/id?contract_id=12345
  state    http://{address}/ready   http://{address}/metrics

Contracts:
{chr(10).join(examples)}

Try it in another terminal (no token is asked for, since only this machine can connect):

  {_python()} -m websockets "{stream}/name?contract_names=ContractA&snapshot=true"

Stop with Ctrl-C.
"""
