"""``python -m benchmarks.rolling_restart [--clients N]``: 2,000 clients behind HAProxy.

It takes a minute, and writes the figures into `docs/operations.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.__main__ import register
from benchmarks.processes import ROOT, free_port
from benchmarks.report import machine, versions
from benchmarks.rolling_restart.gateway_process import GatewayProcess
from benchmarks.rolling_restart.load import NOTICED, RollingRestart
from benchmarks.rolling_restart.outcome import Outcome, table, with_figures
from ime_live.local.embedded import EmbeddedValkey

CLIENTS: Final = 2_000

_DOCUMENT: Final = ROOT / "docs" / "operations.md"


def haproxy_without_tls(port: int, gateways: Sequence[int]) -> str:
    """The configuration of `deploy/haproxy` for clients without TLS.

    Args:
        port: where it listens.
        gateways: ports of the two gateways.
    """
    text = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
    text = re.sub(r"\n +bind :443.*", "", text)
    text = re.sub(r"\n +http-request redirect.*", "", text)
    text = text.replace("bind :80", f"bind 127.0.0.1:{port}")
    text = text.replace("maxconn 60000", "maxconn 5000")
    for number, gateway in enumerate(gateways, 1):
        text = text.replace(f"127.0.0.1:800{number}", f"127.0.0.1:{gateway}")
    return text


def _start_haproxy(folder: Path, port: int, gateways: Sequence[int]) -> subprocess.Popen[bytes]:
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("HAProxy is needed (Debian: apt install haproxy)")
    config = folder / "haproxy.cfg"
    config.write_text(haproxy_without_tls(port, gateways))
    with (folder / "haproxy.log").open("wb") as log:
        return subprocess.Popen([program, "-db", "-f", str(config)], stdout=log, stderr=log)  # noqa: S603


async def measure(clients: int) -> Outcome:
    """Run everything, with the defaults of a gateway."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A line per client and connection tells nothing here.
    logging.getLogger("ime_live.client").setLevel(logging.ERROR)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey = stack.enter_context(EmbeddedValkey())
        await register(valkey.url)
        gateways = [GatewayProcess(folder, valkey.url) for _ in range(2)]
        for gateway in gateways:
            stack.callback(gateway.kill)
            await gateway.start()
        port = free_port()
        proxy = _start_haproxy(folder, port, [gateway.port for gateway in gateways])
        stack.enter_context(proxy)
        stack.callback(proxy.kill)
        await asyncio.sleep(NOTICED)
        load = RollingRestart(gateways, valkey.url, url=f"ws://127.0.0.1:{port}", clients=clients)
        async with load:
            # A collection among the objects of all clients takes 0.8 s, after which those that
            # have waited for it would all reconnect together.
            gc.freeze()
            gc.disable()
            return await load.run()


def main() -> None:
    """Run a rolling restart, and write its figures into docs/operations.md."""
    parser = argparse.ArgumentParser(prog="rolling_restart", description=main.__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    clients: int = parser.parse_args().clients
    outcome = asyncio.run(measure(clients))
    print(table(outcome))
    if clients >= CLIENTS:
        measured_on = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}. {versions()}."
        text = _DOCUMENT.read_text(encoding="utf-8")
        _DOCUMENT.write_text(with_figures(text, outcome, measured_on), encoding="utf-8")
    if outcome.missed or outcome.disordered or outcome.away or outcome.most_made > clients / 10:
        sys.exit("a state was missed, or more than a tenth of the clients reconnected in a second")


if __name__ == "__main__":
    main()
